//! One worker's connections to HTTP/2 endpoints, each shared by many requests.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::config;
use crate::endpoint_connections::connect;
use crate::endpoint_connections::idle_pool::IdlePool;
use crate::exchange::{Failed, Failure};
use crate::net::descriptors::{IdleStore, oldest};
use crate::net::stream::Stream;
use crate::pool::connect::NO_HTTP2;
use crate::pool::{Endpoint, IdleConnections};
use crate::tls::ClientTls;

/// The window of one response, in bytes: how much an endpoint may send before the client has read it.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The largest window that HTTP/2 allows (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Bytes of one request's body that are buffered for an endpoint that does not read it.
const SEND_BUFFER: usize = 64 * 1024;

/// The most bytes of fields in one response's head, as HTTP/2 counts them.
const HEADER_LIST: u32 = 64 * 1024;

/// h2's budget for the overhead of unread DATA frames smaller than 256 bytes; see `client::http2`.
const SMALL_MESSAGES: usize = STREAM_WINDOW as usize / 5 * 256;

/// How long to wait for a request to end before looking for room again.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the end of a connection (GOAWAY, close_notify) may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The connections by endpoint. The key is the address of the `Endpoint` in memory, which each entry keeps alive.
pub struct Connections {
    all: Mutex<AHashMap<usize, Arc<EndpointConnections>>>,
    /// Idle HTTP/1.1 connections, which are closed where there is no descriptor for a new one.
    idle_pool: Arc<IdlePool>,
}

#[derive(Debug)]
struct EndpointConnections {
    endpoint: Arc<Endpoint>,
    open: Mutex<Vec<Arc<Open>>>,
    /// Held while a connection is opened: other requests wait for it, and may then share that connection.
    opening: tokio::sync::Mutex<()>,
    /// Notified when a request ends, where the number of connections is limited.
    freed: Arc<Notify>,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    sender: SendRequest<Bytes>,
    tls: Option<Arc<ClientTls>>,
    opened: Instant,
    /// The number of its current requests.
    active: watch::Sender<usize>,
    /// When its last request ended.
    idle_since: Mutex<Instant>,
    /// It has had a request before.
    used: AtomicBool,
    /// When the endpoint last answered on it.
    answered: Mutex<Option<Instant>>,
    /// It takes no further requests.
    retired: AtomicBool,
    /// Notified when one of its requests ends, where somebody may wait for that.
    freed: Option<Arc<Notify>>,
}

/// The place of one request on a connection.
#[derive(Debug)]
pub struct StreamPermit {
    open: Arc<Open>,
    pub reused: bool,
    /// The endpoint has answered another request on it before.
    pub proven: bool,
}

impl Connections {
    /// For one worker.
    pub fn new(idle_pool: Arc<IdlePool>) -> Arc<Self> {
        let connections = Arc::new(Self { all: Mutex::default(), idle_pool });
        let store: Arc<dyn IdleStore> = connections.clone();
        connections.idle_pool.descriptors.register_store(Arc::downgrade(&store));
        connections
    }

    /// A place on an open connection.
    pub fn take(self: &Arc<Self>, endpoint: &Arc<Endpoint>, pool: &config::Pool) -> Option<StreamPermit> {
        self.all.lock().get(&key(endpoint))?.take(pool)
    }

    /// A place on an open connection or, within `limit`, on a new one.
    pub async fn permit(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        pool: &config::Pool,
        limit: Duration,
    ) -> Result<StreamPermit, Failed> {
        let of = self.of(endpoint);
        if let Some(permit) = of.take(pool) {
            return Ok(permit);
        }
        // Set before the lock is waited for: its holder may get no descriptor, which is not the endpoint's fault.
        let descriptor_deadline = connect::descriptor_deadline(pool);
        let opened = async {
            let _turn = of.opening.lock().await;
            loop {
                if let Some(permit) = of.take(pool) {
                    return Ok(permit);
                }
                if of.may_have_another(pool) {
                    return self.open(&of, pool, descriptor_deadline).await;
                }
                // A connection that takes no more requests is over only a moment after its last one.
                let _ = timeout(PAUSE, of.freed.notified()).await;
            }
        };
        let opened = timeout(limit, opened).await;
        let late = || match of.may_have_another(pool) {
            true => Failed::new(Failure::ConnectTimeout, None),
            false => Failed::new(Failure::QueueExpired, "no stream of its connections was free".to_owned()),
        };
        opened.unwrap_or_else(|_| Err(late())).inspect_err(|_| {
            // The endpoint may never have a connection, and be gone with the next reload.
            self.remove_unused(endpoint);
        })
    }

    fn of(&self, endpoint: &Arc<Endpoint>) -> Arc<EndpointConnections> {
        let new = || {
            let endpoint = endpoint.clone();
            Arc::new(EndpointConnections {
                endpoint,
                open: Mutex::default(),
                opening: tokio::sync::Mutex::default(),
                freed: Arc::default(),
            })
        };
        self.all.lock().entry(key(endpoint)).or_insert_with(new).clone()
    }

    async fn open(
        self: &Arc<Self>,
        of: &Arc<EndpointConnections>,
        pool: &config::Pool,
        descriptor_deadline: tokio::time::Instant,
    ) -> Result<StreamPermit, Failed> {
        let stream = connect::open(&self.idle_pool, &of.endpoint, pool, descriptor_deadline).await?;
        if !stream.may_be_http2() {
            return Err(Failed::new(Failure::EndpointTls, NO_HTTP2.to_owned()));
        }
        let handshake = builder(pool).handshake(stream).await;
        let (sender, connection) =
            handshake.map_err(|error| Failed::new(Failure::ConnectFailed, error.to_string()))?;
        let open = Arc::new(Open {
            sender,
            tls: pool.tls.clone(),
            opened: Instant::now(),
            active: watch::Sender::new(0),
            idle_since: Mutex::new(Instant::now()),
            used: AtomicBool::new(false),
            answered: Mutex::default(),
            retired: AtomicBool::new(false),
            freed: pool.limits.endpoint_connections.map(|_| of.freed.clone()),
        });
        // Taken before the connection's task starts, which would otherwise find it idle.
        let permit = open.permit();
        of.open.lock().push(open.clone());
        let task = ConnectionTask {
            active: open.active.subscribe(),
            open: Arc::downgrade(&open),
            of: of.clone(),
            all: Arc::downgrade(self),
            keep_alive: pool.timeouts.keep_alive,
            idle_most: pool.connections.idle,
        };
        tokio::spawn(task.run(connection));
        Ok(permit)
    }

    /// Removes the endpoint's entry, if it has no connection and none is being opened.
    fn remove_unused(&self, endpoint: &Arc<Endpoint>) {
        let mut all = self.all.lock();
        let is_over =
            |of: &Arc<EndpointConnections>| of.open.lock().is_empty() && of.opening.try_lock().is_ok();
        if all.get(&key(endpoint)).is_some_and(is_over) {
            all.remove(&key(endpoint));
        }
    }
}

impl IdleStore for Connections {
    /// Drops the handles; the connections' tasks then close them, which takes a moment.
    fn close_oldest(&self) -> usize {
        let all: Vec<_> = self.all.lock().values().cloned().collect();
        let idle =
            all.iter().flat_map(|of| of.idle().map(move |(since, open)| (since, (of, open)))).collect();
        oldest(idle).filter(|(of, open)| of.close_idle(open)).count()
    }

    fn close_all(&self) {
        let all: Vec<_> = self.all.lock().values().cloned().collect();
        all.iter().for_each(|of| of.open.lock().retain(|open| open.active() > 0));
    }
}

fn builder(pool: &config::Pool) -> Builder {
    let mut builder = Builder::new();
    // Sum of all streams' windows, so that a response whose client is slow does not hold up the others.
    let all = STREAM_WINDOW.saturating_mul(pool.connections.streams).min(WINDOW_MAX);
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(all.max(STREAM_WINDOW))
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .data_frame_budget(SMALL_MESSAGES);
    builder
}

impl EndpointConnections {
    /// A place on the open connection that has room and the fewest requests.
    fn take(&self, pool: &config::Pool) -> Option<StreamPermit> {
        let now = Instant::now();
        let mut open = self.open.lock();
        open.retain(|open| open.is_good(pool, now));
        let least = open.iter().filter(|open| open.has_room(pool)).min_by_key(|open| open.active());
        least.map(|open| open.permit())
    }

    /// Whether this worker may open another connection: each has an equal part of those that there may be, so that none
    /// is left without.
    fn may_have_another(&self, pool: &config::Pool) -> bool {
        let most = pool.limits.endpoint_connections.map(|most| self.endpoint.part_of_worker(most));
        most.is_none_or(|most| (self.open.lock().len() as u64) < most)
            && (pool.limits.endpoint_connections)
                .is_none_or(|most| (self.endpoint.connections().taken() as u64) < most)
    }

    /// The idle connections, each with the time since when it is idle.
    fn idle(&self) -> impl Iterator<Item = (Instant, Arc<Open>)> + use<> {
        let open = self.open.lock();
        let idle = open.iter().filter(|open| open.active() == 0);
        let idle: Vec<_> = idle.map(|open| (*open.idle_since.lock(), open.clone())).collect();
        idle.into_iter()
    }

    /// Closes a connection; `false`: it is in use again, or has gone.
    fn close_idle(&self, idle: &Arc<Open>) -> bool {
        let mut open = self.open.lock();
        let before = open.len();
        open.retain(|open| !Arc::ptr_eq(open, idle) || open.active() > 0);
        open.len() < before
    }

    fn remove(&self, gone: &Weak<Open>) {
        self.open.lock().retain(|open| !std::ptr::eq(Arc::as_ptr(open), gone.as_ptr()));
    }
}

impl Open {
    /// Whether it may take further requests; its current ones are not affected.
    fn is_good(&self, pool: &config::Pool, now: Instant) -> bool {
        let too_old = pool.connections.age.is_some_and(|age| now.duration_since(self.opened) >= age);
        let same = match (&self.tls, &pool.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same && !too_old && !self.retired.load(Relaxed)
    }

    fn has_room(&self, pool: &config::Pool) -> bool {
        let most = (pool.connections.streams as usize).min(self.sender.current_max_send_streams());
        self.active() < most
    }

    fn active(&self) -> usize {
        *self.active.borrow()
    }

    fn permit(self: &Arc<Self>) -> StreamPermit {
        self.active.send_modify(|count| *count += 1);
        let (reused, proven) = (self.used.swap(true, Relaxed), self.answered.lock().is_some());
        StreamPermit { reused, proven, open: self.clone() }
    }
}

impl StreamPermit {
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.open.sender.clone()
    }

    /// The endpoint has answered.
    pub fn answered(&self) {
        *self.open.answered.lock() = Some(Instant::now());
    }

    /// Whether the endpoint has answered any request on this connection since `moment`.
    pub fn has_answered_since(&self, moment: Instant) -> bool {
        self.open.answered.lock().is_some_and(|answered| answered >= moment)
    }

    /// Has the connection take no further requests, because it may be broken.
    pub fn retire(&self) {
        self.open.retired.store(true, Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        *self.open.idle_since.lock() = Instant::now();
        self.open.active.send_modify(|count| *count -= 1);
        self.open.freed.iter().for_each(|freed| freed.notify_one());
    }
}

/// The task that drives a connection, and closes it.
struct ConnectionTask {
    open: Weak<Open>,
    active: watch::Receiver<usize>,
    of: Arc<EndpointConnections>,
    all: Weak<Connections>,
    keep_alive: Duration,
    /// The most idle connections of the endpoint.
    idle_most: u64,
}

impl ConnectionTask {
    async fn run(mut self, connection: Connection<Stream, Bytes>) {
        tokio::pin!(connection);
        let over = tokio::select! {
            // Its streams get the error, if there is one.
            _ = &mut connection => true,
            () = self.idle() => false,
        };
        self.of.remove(&self.open);
        if !over {
            // With its last handle gone, h2 closes it. On an error the endpoint has gone already.
            let _ = timeout(CLOSE_LIMIT, connection).await;
        }
        if let Some(all) = self.all.upgrade() {
            all.remove_unused(&self.of.endpoint);
        }
    }

    /// Returns when the connection has been idle for too long, is one idle connection too many, or is idle and retired.
    async fn idle(&mut self) {
        let mut counted = IdleConnections::of(self.of.endpoint.clone());
        loop {
            if self.active.wait_for(|count| *count == 0).await.is_err()
                || self.is_retired()
                || !counted.add_within(self.idle_most)
            {
                return;
            }
            tokio::select! {
                () = sleep(self.keep_alive) => return,
                more = self.active.wait_for(|count| *count > 0) => match more {
                    Ok(_) => counted.remove(1),
                    // It has been removed from `EndpointConnections::open`.
                    Err(_) => return,
                }
            }
        }
    }

    fn is_retired(&self) -> bool {
        self.open.upgrade().is_none_or(|open| open.retired.load(Relaxed))
    }
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint).addr()
}

#[cfg(test)]
mod tests;
