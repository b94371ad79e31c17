//! The budget of descriptors that client connections and connections to endpoints share, over all workers.
//!
//! A connection to an endpoint takes a descriptor that clients have left. If there is none, the connections to
//! endpoints that have been idle for the longest are closed, of the same worker first; if none is idle, the new
//! connection waits until another one ends, within its time limit. So clients and requests are seldom refused for want
//! of a descriptor, and those for the rest of the process (logs, health checks, the admin address) stay free.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::fair_queue::FairQueue;
use crate::log_throttle::LogThrottle;
use crate::permits::{Permit, Permits};
use crate::pool::Endpoint;

/// How long to wait for a descriptor before looking for idle connections again.
const PAUSE: Duration = Duration::from_millis(20);

/// One in this many descriptors is for concurrent requests of HTTP/2 clients, beyond one of each connection: the rest
/// is for all others.
const HTTP2_SHARE: usize = 4;

pub struct Descriptors {
    /// For clients' connections and those to endpoints together.
    most: usize,
    /// Connections of clients.
    pub clients: Arc<Permits>,
    /// Connections to endpoints, idle ones included.
    endpoints: Arc<Permits>,
    /// Connections to endpoints that wait for a descriptor.
    queue: FairQueue,
    stores: Mutex<Vec<Weak<dyn IdleStore>>>,
    closed: AtomicU64,
    closed_log: Mutex<LogThrottle>,
}

/// One in this many idle connections is closed at a time: finding the oldest means looking at all of them.
const CLOSED_SHARE: usize = 32;

/// Idle connections of one worker.
pub trait IdleStore: Send + Sync {
    /// Closes one or a few of the connections that have been idle for the longest; returns how many. Their descriptors
    /// may be free only a moment later.
    fn close_oldest(&self) -> usize;

    /// Closes one to this endpoint; `false`: none is idle.
    fn close_one_to(&self, _endpoint: &Endpoint) -> bool {
        false
    }

    /// Closes all of them.
    fn close_all(&self);
}

/// Of connections and the times since when they have been idle, the few to close first.
pub fn oldest<T>(mut idle: Vec<(Instant, T)>) -> impl Iterator<Item = T> {
    let count = idle.len().div_ceil(CLOSED_SHARE);
    if count > 0 {
        idle.select_nth_unstable_by_key(count - 1, |(since, _)| *since);
    }
    idle.into_iter().take(count).map(|(_, connection)| connection)
}

/// No limit.
impl Default for Descriptors {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Descriptors {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            clients: Arc::default(),
            endpoints: Arc::default(),
            queue: FairQueue::default(),
            stores: Mutex::default(),
            closed: AtomicU64::new(0),
            closed_log: Mutex::default(),
        }
    }

    /// How many descriptors requests of HTTP/2 clients may take, beyond one of each connection.
    pub fn for_http2(&self) -> usize {
        self.most / HTTP2_SHARE
    }

    /// Registers a store, whose connections are closed when a descriptor is needed. A dropped store is forgotten.
    pub fn register_store(&self, store: Weak<dyn IdleStore>) {
        self.stores.lock().push(store);
    }

    /// Takes a descriptor for a connection to an endpoint; waits as long as there is none, in the order of arrival.
    /// `own` is the store of this worker.
    pub async fn take(&self, own: &dyn IdleStore) -> Permit {
        if self.queue.is_empty()
            && let Some(permit) = self.free()
        {
            return permit;
        }
        // Boxed to keep the common future small.
        Box::pin(self.wait(own)).await
    }

    /// Only the first in the queue closes idle connections and is woken: if all were at each release, the work would
    /// grow with the square of their number.
    async fn wait(&self, own: &dyn IdleStore) -> Permit {
        let _turn = self.queue.turn().await;
        loop {
            if let Some(permit) = self.free() {
                return permit;
            }
            if self.close_idle(Some(own))
                && let Some(permit) = self.free()
            {
                return permit;
            }
            // The descriptor of a connection that was just closed may be free in a moment: closing another one at once
            // would be one too many.
            self.endpoints.released(PAUSE).await;
        }
    }

    fn free(&self) -> Option<Permit> {
        self.endpoints.take(self.most.saturating_sub(self.clients.taken()))
    }

    /// The system has no descriptor, although the budget has: closes an idle connection, or pauses if there is none.
    /// With `again` it does both: the descriptor of the connection that the call before has closed may be free in a
    /// moment.
    pub async fn relieve(&self, own: &dyn IdleStore, again: bool) {
        if !self.close_idle(Some(own)) || again {
            self.endpoints.released(PAUSE).await;
        }
    }

    /// A client was accepted: closes an idle connection to an endpoint, if both kinds together exceed the budget.
    pub fn client_came(&self) {
        if self.endpoints.taken() > self.most.saturating_sub(self.clients.taken()) {
            self.close_idle(None);
        }
    }

    /// Closes idle connections to endpoints; `false`: there were none.
    pub fn close_idle(&self, own: Option<&dyn IdleStore>) -> bool {
        let mut closed = own.map_or(0, IdleStore::close_oldest);
        if closed == 0 {
            closed = self
                .stores()
                .iter()
                .map(|store| store.close_oldest())
                .find(|closed| *closed > 0)
                .unwrap_or(0);
        }
        if closed > 0 {
            self.count_closed(closed as u64);
        }
        closed > 0
    }

    /// Closes an idle connection to this endpoint, of any worker; `false`: there was none.
    pub fn close_one_to(&self, endpoint: &Endpoint) -> bool {
        self.stores().iter().any(|store| store.close_one_to(endpoint))
    }

    /// Closes all idle connections to endpoints, of all workers.
    pub fn close_all_idle(&self) {
        self.stores().iter().for_each(|store| store.close_all());
    }

    fn stores(&self) -> Vec<Arc<dyn IdleStore>> {
        let mut stores = self.stores.lock();
        stores.retain(|store| store.strong_count() > 0);
        stores.iter().filter_map(Weak::upgrade).collect()
    }

    /// Connections to endpoints that are open.
    pub fn to_endpoints(&self) -> usize {
        self.endpoints.taken()
    }

    /// Idle connections that were closed for want of a descriptor.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    fn count_closed(&self, closed: u64) {
        self.closed.fetch_add(closed, Relaxed);
        if let Some(count) = self.closed_log.lock().due_of(closed, Instant::now()) {
            let limit = self.most;
            log::warn!(count, limit; "descriptors are short, idle connections to endpoints are closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections of a worker that are idle, each with its descriptor.
    #[derive(Default)]
    struct Store(Mutex<Vec<Permit>>);

    impl IdleStore for Store {
        fn close_oldest(&self) -> usize {
            usize::from(self.0.lock().pop().is_some())
        }

        fn close_all(&self) {
            self.0.lock().clear();
        }
    }

    /// Connections that take a moment to end.
    struct SlowStore {
        idle: Store,
        closing: tokio::sync::mpsc::UnboundedSender<Permit>,
    }

    impl IdleStore for SlowStore {
        fn close_oldest(&self) -> usize {
            let closed = self.idle.0.lock().pop();
            closed.map_or(0, |permit| self.closing.send(permit).map_or(0, |()| 1))
        }

        fn close_all(&self) {
            while self.close_oldest() > 0 {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_a_moment_to_end_does_not_take_the_others_along() {
        let descriptors = Descriptors::new(8);
        let (closing, mut closed) = tokio::sync::mpsc::unbounded_channel();
        let store = SlowStore { idle: Store::default(), closing };
        for _ in 0..8 {
            let permit = descriptors.take(&store).await;
            store.idle.0.lock().push(permit);
        }
        let ends = async {
            let permit = closed.recv().await;
            tokio::time::sleep(PAUSE / 2).await;
            drop(permit);
        };
        let (taken, ()) = tokio::join!(descriptors.take(&store), ends);
        assert_eq!((store.idle.0.lock().len(), descriptors.closed()), (7, 1));
        // The same where it is the system that has none: at once, then in its time.
        let begun = tokio::time::Instant::now();
        descriptors.relieve(&store, false).await;
        assert_eq!((begun.elapsed(), descriptors.closed()), (Duration::ZERO, 2));
        descriptors.relieve(&store, true).await;
        assert_eq!((begun.elapsed(), descriptors.closed()), (PAUSE, 3));
        drop(taken);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_goes_for_one_that_is_needed() {
        let descriptors = Descriptors::new(4);
        let (own, other) = (Arc::new(Store::default()), Arc::new(Store::default()));
        let watched: Weak<dyn IdleStore> = Arc::downgrade(&(other.clone() as Arc<dyn IdleStore>));
        descriptors.register_store(watched);
        for store in [&own, &own, &other, &other] {
            let permit = descriptors.take(&**store).await;
            store.0.lock().push(permit);
        }
        let left = || (own.0.lock().len(), other.0.lock().len());
        let mut used = Vec::new();
        for expected in [(1, 2), (0, 2), (0, 1), (0, 0)] {
            used.push(descriptors.take(&*own).await);
            assert_eq!(left(), expected);
        }
        assert_eq!((descriptors.to_endpoints(), descriptors.closed()), (4, 4));
        // All are in use: the next one waits.
        let begun = tokio::time::Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            used.pop();
        };
        let (_permit, ()) = tokio::join!(descriptors.take(&*own), later);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    /// Nothing is idle: counts how often that was looked at.
    #[derive(Default)]
    struct NothingIdle(AtomicU64);

    impl IdleStore for NothingIdle {
        fn close_oldest(&self) -> usize {
            self.0.fetch_add(1, Relaxed);
            0
        }

        fn close_all(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_descriptor_has_it_in_turn_and_one_at_a_time_looks_for_it() {
        const WAITING: u64 = 20;
        let (descriptors, store) = (Arc::new(Descriptors::new(1)), Arc::<NothingIdle>::default());
        let held = descriptors.take(&*store).await;
        let order = Arc::<Mutex<Vec<u64>>>::default();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..WAITING {
            let (descriptors, store, order) = (descriptors.clone(), store.clone(), order.clone());
            waiting.spawn(async move {
                let _permit = descriptors.take(&*store).await;
                order.lock().push(number);
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(store.0.load(Relaxed), 1);
        drop(held);
        let mut newcomer = std::pin::pin!(descriptors.take(&*store));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(newcomer.as_mut().poll(&mut context).is_pending(), "it is not its turn");
        waiting.join_all().await;
        assert!(order.lock().iter().copied().eq(0..WAITING));
        assert_eq!(store.0.load(Relaxed), 1, "the others found what was given back");
        assert!(newcomer.as_mut().poll(&mut context).is_ready());
        assert!(descriptors.queue.is_empty());
    }

    #[tokio::test]
    async fn a_client_has_what_idle_connections_had() {
        let descriptors = Descriptors::new(2);
        let store = Arc::new(Store::default());
        let watched: Weak<dyn IdleStore> = Arc::downgrade(&(store.clone() as Arc<dyn IdleStore>));
        descriptors.register_store(watched);
        for _ in 0..2 {
            let permit = descriptors.take(&*store).await;
            store.0.lock().push(permit);
        }
        let _client = descriptors.clients.take(9);
        descriptors.client_came();
        assert_eq!(descriptors.to_endpoints(), 1);
        descriptors.client_came();
        assert_eq!(descriptors.to_endpoints(), 1, "both have room");
    }
}
