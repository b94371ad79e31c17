//! Whose turn it is among the requests of HTTP/2 clients.
//!
//! A connection may have many of them, each of which costs memory and a connection to an endpoint from the moment in which
//! it is begun, and more if the endpoint sends a large response that the client does not take. So a few requests of each
//! connection are begun at once, and for the others each worker has so many places; who finds none waits, in order.
//!
//! One request of each connection is begun whatever others do: its descriptor is one of those that all clients have. For
//! more than one, each worker has a part of the descriptors, half of it for the first few of connections and half for the
//! others, so that slow responses of a few clients leave something to the rest.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Server;

/// Requests of each connection that are begun as long as there are descriptors for them.
const OWN: usize = 6;

/// The same, of a client that takes little of a response before it has to be asked; others' places are not for it.
const OWN_OF_RELUCTANT: usize = 2;

/// Requests of such a client that may wait; more are refused, and come again if the client is honest.
const WAITING_OF_RELUCTANT: usize = 8;

/// Who takes less than this is reluctant: the default is four times as much (RFC 9113, section 6.5.2).
const WINDOW: u32 = 16 * 1024;

/// Of one worker, beyond those that connections have of their own, unless the config says something else.
const OF_WORKER: usize = 512;

/// Whether a client that takes so many bytes of a response before it has to be asked is reluctant.
pub fn is_reluctant(window: u32) -> bool {
    window < WINDOW
}

/// Of one worker.
pub struct RequestPermits {
    /// Beyond those that connections have of their own.
    shared: Arc<Semaphore>,
    /// Descriptors for those, beyond the first one of each connection.
    own: Arc<Semaphore>,
}

/// Of one connection.
pub struct OfConnection {
    first: Arc<Semaphore>,
    descriptors: Arc<Semaphore>,
    own: Arc<Semaphore>,
    of_reluctant: Arc<Semaphore>,
    waiting_of_reluctant: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

/// A request that waits.
#[must_use = "it waits no more when this is dropped"]
pub struct Waiting {
    window: u32,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Dropped, it is somebody else's.
#[must_use = "the turn is over when this is dropped"]
pub struct RequestPermit {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

/// Requests that all workers together may have begun, beyond one of each connection, with so many descriptors.
pub fn http2_requests(server: &Server, descriptors: usize) -> usize {
    let (shared, own) = of_worker(server, descriptors);
    shared.saturating_add(own).saturating_mul(server.threads.max(1))
}

/// Those that are anybody's, and those of connections' own.
fn of_worker(server: &Server, descriptors: usize) -> (usize, usize) {
    let of_one = |all: usize| all.div_ceil(server.threads.max(1));
    let half = of_one(descriptors / 2).max(1);
    (server.max_http2_requests.map_or(OF_WORKER.min(half), of_one), half)
}

impl RequestPermits {
    /// Of one of all the workers that the config wants, which may have so many descriptors together.
    pub fn new(server: &Server, descriptors: usize) -> Self {
        let (shared, own) = of_worker(server, descriptors);
        let places = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { shared: places(shared), own: places(own) }
    }
}

impl OfConnection {
    pub fn new(permits: &RequestPermits) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self {
            first: places(1),
            descriptors: permits.own.clone(),
            own: places(OWN),
            of_reluctant: places(OWN_OF_RELUCTANT),
            waiting_of_reluctant: places(WAITING_OF_RELUCTANT),
            shared: permits.shared.clone(),
        }
    }

    /// Takes a turn, if there is one now. The client takes `window` bytes of a response before it has to be asked.
    pub fn now(&self, window: u32) -> Option<RequestPermit> {
        let one = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok();
        let with_descriptor = |permit| {
            let descriptor = one(&self.first).or_else(|| one(&self.descriptors))?;
            Some(RequestPermit { _permits: [Some(permit), Some(descriptor)] })
        };
        match is_reluctant(window) {
            true => one(&self.of_reluctant).and_then(with_descriptor),
            false => one(&self.own).and_then(with_descriptor).or_else(|| {
                let permit = one(&self.shared)?;
                Some(RequestPermit { _permits: [Some(permit), None] })
            }),
        }
    }

    /// Whether a request of such a client may wait.
    pub fn may_wait(&self, window: u32) -> Option<Waiting> {
        if !is_reluctant(window) {
            return Some(Waiting { window, _permit: None });
        }
        let permit = self.waiting_of_reluctant.clone().try_acquire_owned().ok()?;
        Some(Waiting { window, _permit: Some(permit) })
    }

    /// Waits for a turn.
    pub async fn permit(&self, Waiting { window, .. }: &Waiting) -> RequestPermit {
        // An error would mean that there are no turns any more, and nobody ends them.
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
        if is_reluctant(*window) {
            return of_own(&self.of_reluctant).await;
        }
        tokio::select! {
            biased;
            turn = of_own(&self.own) => turn,
            permit = one(&self.shared) => RequestPermit { _permits: [permit, None] },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn turns(most: &str) -> RequestPermits {
        let text = format!("server: {{ threads: 4{most} }}\nlisten: :8080\nendpoints: [127.0.0.1:1]\n");
        of_descriptors(&text, usize::MAX)
    }

    fn of_descriptors(text: &str, descriptors: usize) -> RequestPermits {
        RequestPermits::new(&crate::config::parse(text, "test").expect("a config").server, descriptors)
    }

    /// As many turns as there are now.
    fn all(connection: &OfConnection, window: u32) -> Vec<RequestPermit> {
        std::iter::from_fn(|| connection.now(window)).collect()
    }

    #[test]
    fn a_connection_has_places_of_its_own_and_shares_the_others() {
        for (most, shared) in [("", OF_WORKER), (", max_http2_requests: 41", 11)] {
            let turns = turns(most);
            let (greedy, modest) = (OfConnection::new(&turns), OfConnection::new(&turns));
            let taken = all(&greedy, WINDOW);
            assert_eq!(taken.len(), OWN + shared);
            assert_eq!(all(&modest, WINDOW).len(), OWN);
            drop(taken);
            assert_eq!(all(&modest, WINDOW).len(), OWN + shared);
        }
    }

    /// However many connections there are, they leave something, and each has one request begun.
    #[test]
    fn no_more_are_begun_than_descriptors_allow() {
        let text = "server: { threads: 2 }\nlisten: :8080\nendpoints: [127.0.0.1:1]\n";
        let turns = of_descriptors(text, 80);
        let connections: Vec<_> = (0..20).map(|_| OfConnection::new(&turns)).collect();
        let taken: Vec<_> = connections.iter().map(|connection| all(connection, WINDOW)).collect();
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 20 + 80 / 2);
        assert!(taken.iter().all(|of_one| !of_one.is_empty()));
        assert_eq!(taken[0].len(), OWN + 20, "the half for the others is not for the first few");
        let reluctant = OfConnection::new(&turns);
        assert_eq!(all(&reluctant, 0).len(), 1);
    }

    #[test]
    fn who_takes_nothing_gets_little() {
        let turns = turns("");
        let reluctant = OfConnection::new(&turns);
        assert_eq!(all(&reluctant, 0).len(), OWN_OF_RELUCTANT);
        assert_eq!(all(&reluctant, WINDOW - 1).len(), OWN_OF_RELUCTANT);
        let waiting = std::iter::from_fn(|| reluctant.may_wait(0));
        assert_eq!(waiting.take(100).collect::<Vec<_>>().len(), WAITING_OF_RELUCTANT);
        assert_eq!(std::iter::from_fn(|| reluctant.may_wait(WINDOW)).take(100).count(), 100);
    }

    #[tokio::test]
    async fn who_waits_is_next() {
        let turns = turns(", max_http2_requests: 1");
        let (one, other) = (OfConnection::new(&turns), OfConnection::new(&turns));
        let mut taken = all(&one, WINDOW);
        let waiting = one.may_wait(WINDOW).expect("it may");
        let waits = one.permit(&waiting);
        tokio::pin!(waits);
        let mut look = || waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(look().is_pending());
        taken.pop();
        let Poll::Ready(_turn) = look() else { panic!("it is its turn") };
        assert_eq!(all(&other, WINDOW).len(), OWN);
    }
}
