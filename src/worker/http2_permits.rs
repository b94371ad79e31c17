//! Permits for requests of HTTP/2 clients, and for the responses to them.
//!
//! A connection may have many requests. Each has a permit from its beginning to its end, because it takes a descriptor
//! where its endpoint speaks HTTP/1.1. What costs memory is not a request that is open, but a response that waits for its
//! client. So the response has a permit of its own whenever something of it is read, until the client's socket has all
//! that was read: a stream of events has one while it sends some, and none in between. To begin, a request needs both.
//!
//! Of both kinds each connection has a few of its own, and each worker has some that its connections share. Who finds none
//! free waits, in order.
//!
//! The first request of each connection begins whatever others do. For further ones each worker has a part of the
//! descriptors, half of it for connections' own permits and half for the shared ones, so that a few clients leave
//! something to the rest.

mod request;

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::request::Hold;
pub use self::request::{PiecePermit, RequestPermit};
use crate::config::Server;
use crate::telemetry::metrics::listeners::{CountedHttp2, Http2Count, ListenerCounters};

/// A connection's own permits of each kind. Those for requests are usable as long as there are descriptors.
const OWN: usize = 6;

/// The same for responses while the client's window is small. It gets no shared ones.
const OWN_SMALL_WINDOW: usize = 2;

/// Requests of a client with a small window that may wait. More are refused; an honest client sends them again.
const WAITING_SMALL_WINDOW: usize = 8;

/// A smaller window is a small one: the default is four times as much (RFC 9113, section 6.5.2).
const WINDOW: u32 = 16 * 1024;

/// One worker's shared permits for responses.
const RESPONSES_OF_WORKER: usize = 512;

/// Responses of one worker without a permit that endpoints may send something of, up to a window, to its memory. Further
/// ones keep their permits.
const QUIET_OF_WORKER: usize = 2048;

/// Whether `window`, the initial window of a client's streams, is small: so much of a response the client takes at
/// once.
pub fn is_small_window(window: u32) -> bool {
    window < WINDOW
}

/// The permits of one worker.
pub struct WorkerPermits {
    /// For requests beyond connections' own.
    requests: Semaphore,
    /// Descriptors for connections' own requests, beyond the first of each.
    own_requests: Semaphore,
    /// For responses beyond connections' own.
    responses: Semaphore,
    quiet: Semaphore,
    /// How many requests of one connection may have begun.
    most_of_connection: usize,
}

/// The permits that the requests of one connection can get.
pub struct ConnectionPermits {
    worker: Arc<WorkerPermits>,
    counters: Arc<ListenerCounters>,
    first: Semaphore,
    own_requests: Semaphore,
    own_responses: Semaphore,
    own_small_window: Semaphore,
    waiting_small_window: Semaphore,
    holds: RefCell<Slab<Hold>>,
}

/// Where a request's permit comes from.
#[derive(Debug, Clone, Copy)]
pub enum RequestSource {
    /// The connection's own, and its first.
    First,
    Own,
    Shared,
}

/// Where a response's permit comes from.
#[derive(Debug, Clone, Copy)]
pub enum ResponseSource {
    Own,
    OwnSmallWindow,
    Shared,
}

/// A request that may wait for a permit.
#[must_use = "it waits no more when this is dropped"]
pub struct Waiting {
    permits: Rc<ConnectionPermits>,
    window: u32,
    _counted: CountedHttp2,
}

/// A response's permit, given back unless a request keeps it.
struct Unused<'a> {
    permits: &'a ConnectionPermits,
    source: ResponseSource,
}

/// How many requests may have begun at all workers together, beyond one of each connection, with these descriptors.
pub fn http2_requests(server: &Server, descriptors: usize) -> usize {
    let (shared, own) = of_worker(server, descriptors);
    shared.saturating_add(own).saturating_mul(server.threads.max(1))
}

/// One worker's shared permits for requests, and its descriptors for connections' own ones.
fn of_worker(server: &Server, descriptors: usize) -> (usize, usize) {
    let of_one = |all: usize| all.div_ceil(server.threads.max(1));
    let half = of_one(descriptors / 2).max(1);
    (server.max_http2_requests.map_or(half, of_one), half)
}

/// Takes a permit, which has to be given back.
fn try_take(semaphore: &Semaphore) -> Option<()> {
    semaphore.try_acquire().ok().map(SemaphorePermit::forget)
}

/// Takes a permit as soon as there is one.
async fn take(semaphore: &Semaphore) {
    match semaphore.acquire().await {
        Ok(permit) => permit.forget(),
        // The semaphore would have been closed, and none ever is.
        Err(_) => pending().await,
    }
}

impl WorkerPermits {
    /// The permits of one worker. `descriptors` is for all workers together.
    pub fn new(server: &Server, descriptors: usize) -> Arc<Self> {
        let (requests, own_requests) = of_worker(server, descriptors);
        let semaphore = |most: usize| Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        Arc::new(Self {
            requests: semaphore(requests),
            own_requests: semaphore(own_requests),
            responses: semaphore(RESPONSES_OF_WORKER),
            quiet: semaphore(QUIET_OF_WORKER),
            most_of_connection: requests.saturating_add(OWN),
        })
    }

    /// How many requests of one connection may have begun.
    pub fn most_of_connection(&self) -> usize {
        self.most_of_connection
    }
}

impl ConnectionPermits {
    /// `counters`: of the connection's listener.
    pub fn new(worker: &Arc<WorkerPermits>, counters: Arc<ListenerCounters>) -> Rc<Self> {
        Rc::new(Self {
            worker: worker.clone(),
            counters,
            first: Semaphore::new(1),
            own_requests: Semaphore::new(OWN),
            own_responses: Semaphore::new(OWN),
            own_small_window: Semaphore::new(OWN_SMALL_WINDOW),
            waiting_small_window: Semaphore::new(WAITING_SMALL_WINDOW),
            holds: RefCell::default(),
        })
    }

    /// Takes a permit for a request, if one is free. `window`: see [`is_small_window`].
    pub fn try_acquire(self: &Rc<Self>, window: u32) -> Option<RequestPermit> {
        let response = Unused { permits: self, source: self.try_response(window)? };
        let request = self.try_request()?;
        Some(self.hold(request, response.keep()))
    }

    /// Lets a request wait; `None`: the client's window is small, and too many of its requests wait.
    pub fn enqueue(self: &Rc<Self>, window: u32) -> Option<Waiting> {
        if is_small_window(window) {
            try_take(&self.waiting_small_window)?;
        }
        let counted = self.counters.count_http2(Http2Count::Waiting);
        Some(Waiting { permits: self.clone(), window, _counted: counted })
    }

    fn hold(self: &Rc<Self>, request: RequestSource, response: ResponseSource) -> RequestPermit {
        self.counters.http2_more(Http2Count::Begun);
        self.counters.http2_more(Http2Count::Held);
        let key = self.holds.borrow_mut().insert(Hold::new(request, response));
        RequestPermit::new(self.clone(), key)
    }

    fn try_request(&self) -> Option<RequestSource> {
        let of_own = || {
            let own = self.own_requests.try_acquire().ok()?;
            let source = match try_take(&self.first) {
                Some(()) => RequestSource::First,
                None => try_take(&self.worker.own_requests).map(|()| RequestSource::Own)?,
            };
            own.forget();
            Some(source)
        };
        of_own().or_else(|| try_take(&self.worker.requests).map(|()| RequestSource::Shared))
    }

    async fn request(&self) -> RequestSource {
        let of_own = async {
            let own = self.own_requests.acquire().await;
            let source = tokio::select! {
                biased;
                () = take(&self.first) => RequestSource::First,
                () = take(&self.worker.own_requests) => RequestSource::Own,
            };
            own.into_iter().for_each(SemaphorePermit::forget);
            source
        };
        tokio::select! {
            biased;
            source = of_own => source,
            () = take(&self.worker.requests) => RequestSource::Shared,
        }
    }

    fn give_back_request(&self, source: RequestSource) {
        let own = match source {
            RequestSource::Shared => return self.worker.requests.add_permits(1),
            RequestSource::First => &self.first,
            RequestSource::Own => &self.worker.own_requests,
        };
        own.add_permits(1);
        self.own_requests.add_permits(1);
    }

    fn try_response(&self, window: u32) -> Option<ResponseSource> {
        if is_small_window(window) {
            return try_take(&self.own_small_window).map(|()| ResponseSource::OwnSmallWindow);
        }
        let own = try_take(&self.own_responses).map(|()| ResponseSource::Own);
        own.or_else(|| try_take(&self.worker.responses).map(|()| ResponseSource::Shared))
    }

    /// Waits for a permit for a response that has begun, or may begin.
    async fn unread(self: Rc<Self>, window: u32) -> ResponseSource {
        let _counted = self.counters.count_http2(Http2Count::Unread);
        self.response(window).await
    }

    async fn response(&self, window: u32) -> ResponseSource {
        if is_small_window(window) {
            take(&self.own_small_window).await;
            return ResponseSource::OwnSmallWindow;
        }
        tokio::select! {
            biased;
            () = take(&self.own_responses) => ResponseSource::Own,
            () = take(&self.worker.responses) => ResponseSource::Shared,
        }
    }

    fn give_back_response(&self, source: ResponseSource) {
        match source {
            ResponseSource::Own => &self.own_responses,
            ResponseSource::OwnSmallWindow => &self.own_small_window,
            ResponseSource::Shared => &self.worker.responses,
        }
        .add_permits(1);
    }
}

impl Waiting {
    /// Waits for a permit.
    pub async fn acquire(&self) -> RequestPermit {
        let permits = &self.permits;
        let response = Unused { permits, source: permits.response(self.window).await };
        let request = permits.request().await;
        permits.hold(request, response.keep())
    }
}

impl Unused<'_> {
    fn keep(self) -> ResponseSource {
        let source = self.source;
        std::mem::forget(self);
        source
    }
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        self.permits.give_back_response(self.source);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if is_small_window(self.window) {
            self.permits.waiting_small_window.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests;
