//! Idle HTTP/1.1 connections to endpoints, kept by each worker for its next requests.

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
    /// The TLS settings that it was opened with.
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

/// The idle connections of one endpoint. The key is the address of the `Endpoint` in memory; `counted` keeps it alive.
struct EndpointIdle {
    idle: VecDeque<Idle>,
    counted: IdleConnections,
}

/// One worker's idle connections. The lock is nearly always free: another worker takes it only where no descriptor is
/// left.
#[derive(Default)]
pub struct IdlePool {
    all: Mutex<AHashMap<usize, EndpointIdle>>,
    pub descriptors: Arc<Descriptors>,
    /// Notified when the pool is no longer empty.
    kept: Notify,
}

impl IdlePool {
    /// For one worker.
    pub fn new(descriptors: Arc<Descriptors>) -> Arc<Self> {
        let kept = Arc::new(Self { descriptors, ..Self::default() });
        let store: Arc<dyn IdleStore> = kept.clone();
        kept.descriptors.register_store(Arc::downgrade(&store));
        kept
    }

    /// Takes the connection that was used last, which is the least likely to have been closed. Those that were opened
    /// with other TLS settings are closed.
    pub fn take(
        &self,
        endpoint: &Arc<Endpoint>,
        tls: &Option<Arc<ClientTls>>,
        now: Instant,
    ) -> Option<Connection> {
        self.all.lock().get_mut(&key(endpoint))?.take(tls, now)
    }

    /// Keeps a connection for other requests, as long as its pool's config allows.
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
        let kept = all.entry(key(endpoint)).or_insert_with(|| EndpointIdle::new(endpoint.clone()));
        let until = now + pool.timeouts.keep_alive;
        kept.keep(Idle { stream, tls, opened, since: now, until }, limits.idle);
    }

    /// Returns when the pool may not be empty.
    pub async fn not_empty(&self) {
        if self.all.lock().is_empty() {
            self.kept.notified().await;
        }
    }

    /// Closes connections that are past their time, that the endpoint has closed, or whose endpoint no pool has any more.
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
        let since = |(key, kept): (&usize, &EndpointIdle)| {
            let key = *key;
            kept.idle.iter().map(move |idle| (idle.since, key)).collect::<Vec<_>>()
        };
        let idle = all.iter().flat_map(since).collect();
        // Within one endpoint, the queue has the same order.
        let closed: Vec<_> = oldest(idle).filter_map(|key| all.get_mut(&key)?.drop_oldest()).collect();
        drop(all);
        closed.len()
    }

    fn close_one_to(&self, endpoint: &Endpoint) -> bool {
        let closed =
            self.all.lock().get_mut(&std::ptr::from_ref(endpoint).addr()).and_then(EndpointIdle::drop_oldest);
        closed.is_some()
    }

    fn close_all(&self) {
        drop(std::mem::take(&mut *self.all.lock()));
    }
}

impl EndpointIdle {
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
            // With none left here, other workers have all of the endpoint's idle connections.
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
        let is_gone = self.counted.endpoint().is_gone();
        self.idle.retain_mut(|idle| !is_gone && idle.is_good(now));
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
