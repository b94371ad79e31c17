//! The state that the connections of one worker share. A worker is one thread, so nothing here waits for a lock.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod deadline;
pub mod drain;
pub mod handover;
pub mod http2_permits;
pub mod request_scopes;
pub mod spare_memory;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::endpoint_connections::http2::Connections;
use crate::endpoint_connections::idle_pool::IdlePool;
use crate::lifecycle::Lifecycle;
use crate::listener_state::ListenerState;
use crate::worker::deadline::Clock;
use crate::worker::drain::Drain;
use crate::worker::handover::OtherEngine;
use crate::worker::http2_permits::WorkerPermits;
use crate::worker::request_scopes::RequestScopes;
use crate::worker::spare_memory::SpareMemory;

/// How often idle connections to endpoints are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a client must have been idle to be closed in favour of others: right after a response, the next request may
/// be on its way.
const IDLE_ENOUGH: Duration = Duration::from_millis(250);

pub struct Worker {
    pub scopes: Arc<RequestScopes>,
    pub lifecycle: Arc<Lifecycle>,
    pub idle_pool: Arc<IdlePool>,
    pub http2_connections: Arc<Connections>,
    /// The permits for requests of HTTP/2 clients.
    pub http2_permits: Arc<WorkerPermits>,
    pub clock: Rc<Clock>,
    /// For listeners with `engine: pingora`.
    pub other_engine: Rc<dyn OtherEngine>,
    pub memory: SpareMemory,
    pub drain: Drain,
    /// The second of the last `Date`, and its text.
    date: RefCell<(u64, Rc<str>)>,
}

impl Worker {
    pub fn new(
        scopes: Arc<RequestScopes>,
        lifecycle: Arc<Lifecycle>,
        idle_pool: Arc<IdlePool>,
        other_engine: Rc<dyn OtherEngine>,
    ) -> Rc<Self> {
        let clock = Rc::<Clock>::default();
        let (http2_permits, drain) = {
            let snapshot = scopes.snapshot();
            let server = &snapshot.config().server;
            let permits = WorkerPermits::new(server, idle_pool.descriptors.for_http2());
            (permits, Drain::new(clock.clone(), server.drain_idle))
        };
        Rc::new(Self {
            scopes,
            lifecycle,
            http2_connections: Connections::new(idle_pool.clone()),
            idle_pool,
            http2_permits,
            clock,
            other_engine,
            memory: SpareMemory::default(),
            drain,
            date: RefCell::new((0, "".into())),
        })
    }

    /// The background tasks of the worker: its clock, the sweep of idle connections, and freeing memory.
    pub async fn run(&self) {
        let sweep = async {
            loop {
                self.idle_pool.not_empty().await;
                tokio::time::sleep(SWEEP).await;
                self.idle_pool.sweep(Instant::now());
            }
        };
        tokio::join!(self.clock.run(), sweep, self.free_memory());
    }

    /// Frees idle connections and spare memory whenever memory is short.
    async fn free_memory(&self) {
        loop {
            self.lifecycle.memory_shortage().await;
            self.dismiss_idle(usize::MAX, "memory", |_| true);
            self.idle_pool.descriptors.close_all_idle();
            self.memory.free_buffers();
        }
    }

    /// Ends up to `most` client connections that have been idle for a while, the longest idle first.
    pub fn dismiss_idle(
        &self,
        most: usize,
        reason: &'static str,
        concerned: impl Fn(&ListenerState) -> bool,
    ) {
        for listener_state in self.clock.end_idle(most, IDLE_ENOUGH, Instant::now(), concerned) {
            listener_state.counters.dismissed(reason);
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.drain.has_begun() || self.lifecycle.is_stopping()
    }

    /// The value of `Date` (RFC 9110, section 6.6.1), formatted once a second.
    pub fn date(&self, now: Instant) -> Rc<str> {
        let time = self.clock.time_of_day(now);
        let second = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut date = self.date.borrow_mut();
        if date.0 != second || date.1.is_empty() {
            *date = (second, httpdate::fmt_http_date(time).into());
        }
        date.1.clone()
    }
}
