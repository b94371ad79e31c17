//! Permits for requests of HTTP/2 clients: each request needs one before it begins.
//!
//! A connection may have many requests. Each costs memory and a connection to an endpoint once it has begun, and more
//! if the client does not take a large response. So each connection has a few permits of its own, and each worker has
//! permits that its connections share; a request that finds none free waits, in order.
//!
//! The first request of each connection begins whatever others do. For further ones each worker has a part of the
//! descriptors, half of it for connections' own permits and half for the shared ones, so that slow responses of a few
//! clients leave something to the rest.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Server;

/// A connection's own permits, usable as long as there are descriptors.
const OWN: usize = 6;

/// A connection's own permits while its client's window is small; it does not get shared ones.
const OWN_SMALL_WINDOW: usize = 2;

/// Requests of a client with a small window that may wait. More are refused; an honest client sends them again.
const WAITING_SMALL_WINDOW: usize = 8;

/// A smaller window is a small one: the default is four times as much (RFC 9113, section 6.5.2).
const WINDOW: u32 = 16 * 1024;

/// Shared permits of one worker, unless `max_http2_requests` is set.
const SHARED_OF_WORKER: usize = 512;

/// Whether `window`, the initial window of a client's streams, is small: so much of a response the client takes at
/// once.
pub fn is_small_window(window: u32) -> bool {
    window < WINDOW
}

/// The permits of one worker.
pub struct RequestPermits {
    /// For requests beyond connections' own permits.
    shared: Arc<Semaphore>,
    /// Descriptors for connections' own permits, beyond the first request of each.
    descriptors: Arc<Semaphore>,
}

/// The permits that the requests of one connection can get.
pub struct ConnectionPermits {
    first: Arc<Semaphore>,
    descriptors: Arc<Semaphore>,
    own: Arc<Semaphore>,
    own_small_window: Arc<Semaphore>,
    waiting_small_window: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

/// A request that may wait for a permit.
#[must_use = "it waits no more when this is dropped"]
pub struct Waiting {
    window: u32,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The permit of one request, free again when it is dropped.
#[must_use = "the permit is free again when this is dropped"]
pub struct RequestPermit {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

/// How many requests may have begun at all workers together, beyond one of each connection, with these descriptors.
pub fn http2_requests(server: &Server, descriptors: usize) -> usize {
    let (shared, own) = of_worker(server, descriptors);
    shared.saturating_add(own).saturating_mul(server.threads.max(1))
}

/// One worker's shared permits, and its descriptors for connections' own permits.
fn of_worker(server: &Server, descriptors: usize) -> (usize, usize) {
    let of_one = |all: usize| all.div_ceil(server.threads.max(1));
    let half = of_one(descriptors / 2).max(1);
    (server.max_http2_requests.map_or(SHARED_OF_WORKER.min(half), of_one), half)
}

impl RequestPermits {
    /// The permits of one worker. `descriptors` is for all workers together.
    pub fn new(server: &Server, descriptors: usize) -> Self {
        let (shared, descriptors) = of_worker(server, descriptors);
        let semaphore = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { shared: semaphore(shared), descriptors: semaphore(descriptors) }
    }
}

impl ConnectionPermits {
    pub fn new(permits: &RequestPermits) -> Self {
        let semaphore = |most| Arc::new(Semaphore::new(most));
        Self {
            first: semaphore(1),
            descriptors: permits.descriptors.clone(),
            own: semaphore(OWN),
            own_small_window: semaphore(OWN_SMALL_WINDOW),
            waiting_small_window: semaphore(WAITING_SMALL_WINDOW),
            shared: permits.shared.clone(),
        }
    }

    /// Takes a permit, if one is free. `window`: see [`is_small_window`].
    pub fn try_acquire(&self, window: u32) -> Option<RequestPermit> {
        let one = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok();
        let with_descriptor = |permit| {
            let descriptor = one(&self.first).or_else(|| one(&self.descriptors))?;
            Some(RequestPermit { _permits: [Some(permit), Some(descriptor)] })
        };
        match is_small_window(window) {
            true => one(&self.own_small_window).and_then(with_descriptor),
            false => one(&self.own).and_then(with_descriptor).or_else(|| {
                let permit = one(&self.shared)?;
                Some(RequestPermit { _permits: [Some(permit), None] })
            }),
        }
    }

    /// Lets a request wait; `None`: the client's window is small, and too many of its requests wait.
    pub fn enqueue(&self, window: u32) -> Option<Waiting> {
        if !is_small_window(window) {
            return Some(Waiting { window, _permit: None });
        }
        let permit = self.waiting_small_window.clone().try_acquire_owned().ok()?;
        Some(Waiting { window, _permit: Some(permit) })
    }

    /// Waits for a permit.
    pub async fn acquire(&self, Waiting { window, .. }: &Waiting) -> RequestPermit {
        // An error would mean that the semaphore is closed, and none ever is.
        let one = async |of: &Arc<Semaphore>| of.clone().acquire_owned().await.ok();
        let of_own = async |own: &Arc<Semaphore>| {
            let permit = one(own).await;
            let descriptor = tokio::select! {
                biased;
                descriptor = one(&self.first) => descriptor,
                descriptor = one(&self.descriptors) => descriptor,
            };
            RequestPermit { _permits: [permit, descriptor] }
        };
        if is_small_window(*window) {
            return of_own(&self.own_small_window).await;
        }
        tokio::select! {
            biased;
            permit = of_own(&self.own) => permit,
            permit = one(&self.shared) => RequestPermit { _permits: [permit, None] },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn permits(most: &str) -> RequestPermits {
        let text = format!("server: {{ threads: 4{most} }}\nlisten: :8080\nendpoints: [127.0.0.1:1]\n");
        of_descriptors(&text, usize::MAX)
    }

    fn of_descriptors(text: &str, descriptors: usize) -> RequestPermits {
        RequestPermits::new(&crate::config::parse(text, "test").expect("a config").server, descriptors)
    }

    /// All permits that are free now.
    fn all(connection: &ConnectionPermits, window: u32) -> Vec<RequestPermit> {
        std::iter::from_fn(|| connection.try_acquire(window)).collect()
    }

    #[test]
    fn a_connection_has_permits_of_its_own_and_shares_the_others() {
        for (most, shared) in [("", SHARED_OF_WORKER), (", max_http2_requests: 41", 11)] {
            let permits = permits(most);
            let (greedy, modest) = (ConnectionPermits::new(&permits), ConnectionPermits::new(&permits));
            let taken = all(&greedy, WINDOW);
            assert_eq!(taken.len(), OWN + shared);
            assert_eq!(all(&modest, WINDOW).len(), OWN);
            drop(taken);
            assert_eq!(all(&modest, WINDOW).len(), OWN + shared);
        }
    }

    /// However many connections there are, each has one request begun, and the shared permits stay.
    #[test]
    fn no_more_are_begun_than_descriptors_allow() {
        let text = "server: { threads: 2 }\nlisten: :8080\nendpoints: [127.0.0.1:1]\n";
        let permits = of_descriptors(text, 80);
        let connections: Vec<_> = (0..20).map(|_| ConnectionPermits::new(&permits)).collect();
        let taken: Vec<_> = connections.iter().map(|connection| all(connection, WINDOW)).collect();
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 20 + 80 / 2);
        assert!(taken.iter().all(|of_one| !of_one.is_empty()));
        assert_eq!(taken[0].len(), OWN + 20, "the half for the others is not for the first few");
        let slow = ConnectionPermits::new(&permits);
        assert_eq!(all(&slow, 0).len(), 1);
    }

    #[test]
    fn who_takes_nothing_gets_little() {
        let permits = permits("");
        let slow = ConnectionPermits::new(&permits);
        assert_eq!(all(&slow, 0).len(), OWN_SMALL_WINDOW);
        assert_eq!(all(&slow, WINDOW - 1).len(), OWN_SMALL_WINDOW);
        let waiting = std::iter::from_fn(|| slow.enqueue(0));
        assert_eq!(waiting.take(100).collect::<Vec<_>>().len(), WAITING_SMALL_WINDOW);
        assert_eq!(std::iter::from_fn(|| slow.enqueue(WINDOW)).take(100).count(), 100);
    }

    #[tokio::test]
    async fn who_waits_is_next() {
        let permits = permits(", max_http2_requests: 1");
        let (one, other) = (ConnectionPermits::new(&permits), ConnectionPermits::new(&permits));
        let mut taken = all(&one, WINDOW);
        let waiting = one.enqueue(WINDOW).expect("it may");
        let waits = one.acquire(&waiting);
        tokio::pin!(waits);
        let mut look = || waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(look().is_pending());
        taken.pop();
        let Poll::Ready(_permit) = look() else { panic!("a permit is free") };
        assert_eq!(all(&other, WINDOW).len(), OWN);
    }
}
