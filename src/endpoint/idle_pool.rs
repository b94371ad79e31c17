//! Idle connections to endpoints, kept by each worker for its next requests, whichever carrier they come by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config;
use crate::net::descriptors::{Descriptors, IdleStore, oldest};
use crate::net::stream::Stream;
use crate::pool::{Endpoint, IdleConnections};
use crate::tls::ClientTls;

/// An open connection to an endpoint.
pub struct Connection {
    pub stream: Stream,
    /// What TLS it was opened with.
    pub tls: Option<Arc<ClientTls>>,
    pub opened: Instant,
    /// It has served a request before.
    pub reused: bool,
}

struct Idle {
    stream: Stream,
    tls: Option<Arc<ClientTls>>,
    opened: Instant,
    since: Instant,
    until: Instant,
}

/// Those of one endpoint; its address is the key, and so it must be nobody else's while they are here.
struct OfEndpoint {
    idle: VecDeque<Idle>,
    counted: IdleConnections,
}

/// Hardly anybody else's, so the lock is nearly always free: another worker takes it where there is no descriptor left. It
/// lets futures of the other carrier hold them, too.
#[derive(Default)]
pub struct IdlePool {
    all: Mutex<AHashMap<usize, OfEndpoint>>,
    pub descriptors: Arc<Descriptors>,
    /// There are some again.
    kept: Notify,
}

impl IdlePool {
    /// Those of one worker.
    pub fn new(descriptors: Arc<Descriptors>) -> Arc<Self> {
        let kept = Arc::new(Self { descriptors, ..Self::default() });
        let store: Arc<dyn IdleStore> = kept.clone();
        kept.descriptors.watch(Arc::downgrade(&store));
        kept
    }

    /// The one used last: it is the least likely to have been closed.
    ///
    /// One that was opened with other settings of TLS than these is closed.
    pub fn take(
        &self,
        endpoint: &Arc<Endpoint>,
        tls: &Option<Arc<ClientTls>>,
        now: Instant,
    ) -> Option<Connection> {
        self.all.lock().get_mut(&key(endpoint))?.take(tls, now)
    }

    /// Keeps a connection that may serve other requests, for as long as its pool allows.
    pub fn keep(&self, endpoint: &Arc<Endpoint>, connection: Connection, pool: &config::Pool, now: Instant) {
        let Connection { stream, tls, opened, .. } = connection;
        let limits = &pool.connections;
        let too_old = limits.age.is_some_and(|age| now.duration_since(opened) >= age);
        if too_old || limits.idle == 0 {
            return;
        }
        let mut all = self.all.lock();
        if all.is_empty() {
            self.kept.notify_one();
        }
        let kept = all.entry(key(endpoint)).or_insert_with(|| OfEndpoint::new(endpoint.clone()));
        let until = now + pool.timeouts.keep_alive;
        kept.keep(Idle { stream, tls, opened, since: now, until }, limits.idle);
    }

    /// Returns as soon as there may be something to sweep.
    pub async fn some(&self) {
        if self.all.lock().is_empty() {
            self.kept.notified().await;
        }
    }

    /// Closes those that are over their time, and those that the endpoint has closed.
    pub fn sweep(&self, now: Instant) {
        self.all.lock().retain(|_, kept| {
            kept.sweep(now);
            !kept.idle.is_empty()
        });
    }
}

impl IdleStore for IdlePool {
    fn close_oldest(&self) -> usize {
        let mut all = self.all.lock();
        let since = |(key, kept): (&usize, &OfEndpoint)| {
            let key = *key;
            kept.idle.iter().map(move |idle| (idle.since, key)).collect::<Vec<_>>()
        };
        let idle = all.iter().flat_map(since).collect();
        // Those of one endpoint are in this order, too.
        let closed: Vec<_> = oldest(idle).filter_map(|key| all.get_mut(&key)?.drop_oldest()).collect();
        drop(all);
        closed.len()
    }

    fn close_all(&self) {
        drop(std::mem::take(&mut *self.all.lock()));
    }
}

impl OfEndpoint {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { idle: VecDeque::new(), counted: IdleConnections::of_worker(endpoint) }
    }

    fn take(&mut self, tls: &Option<Arc<ClientTls>>, now: Instant) -> Option<Connection> {
        while let Some(mut idle) = self.idle.pop_back() {
            self.counted.remove(1);
            if is_same(&idle.tls, tls) && idle.is_good(now) {
                let Idle { stream, tls, opened, .. } = idle;
                return Some(Connection { stream, tls, opened, reused: true });
            }
        }
        None
    }

    fn keep(&mut self, idle: Idle, most: u64) {
        while !self.counted.add_within(most) {
            // If none of them is ours, other workers have them all.
            if self.drop_oldest().is_none() {
                return;
            }
        }
        self.idle.push_back(idle);
    }

    fn drop_oldest(&mut self) -> Option<Idle> {
        let oldest = self.idle.pop_front()?;
        self.counted.remove(1);
        Some(oldest)
    }

    fn sweep(&mut self, now: Instant) {
        let before = self.idle.len();
        self.idle.retain_mut(|idle| idle.is_good(now));
        self.counted.remove((before - self.idle.len()) as u64);
        self.counted.give_back_unused();
    }
}

impl Idle {
    fn is_good(&mut self, now: Instant) -> bool {
        self.until > now && !self.stream.is_stale()
    }
}

fn is_same(one: &Option<Arc<ClientTls>>, other: &Option<Arc<ClientTls>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint).addr()
}
