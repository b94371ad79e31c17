//! The permits that one request has.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::{ConnectionPermits, RequestSource, ResponseSource, try_take};
use crate::body::Backlog;
use crate::telemetry::metrics::listeners::Http2Count;

/// The permits of one request, and who needs the one of its response.
pub struct Hold {
    /// `None`: its task has ended.
    request: Option<RequestSource>,
    response: Option<ResponseSource>,
    /// The task reads the response, or has read something that the codec does not have yet.
    reading: bool,
    /// It has one of the permits for what may arrive meanwhile.
    quiet: bool,
    /// Pieces of the response that the codec has, and the client's socket has not.
    pieces: usize,
}

/// The permit of one request, free again when it is dropped, and the one of its response while it has one.
#[must_use = "the permit is free again when this is dropped"]
pub struct RequestPermit {
    connection: Rc<ConnectionPermits>,
    key: usize,
    /// The wait for the response's permit.
    waiting: Option<Pin<Box<dyn Future<Output = ResponseSource>>>>,
}

/// Keeps the permit of a response until this piece of it is dropped.
pub struct PiecePermit {
    connection: Rc<ConnectionPermits>,
    key: usize,
}

impl Hold {
    pub fn new(request: RequestSource, response: ResponseSource) -> Self {
        Self { request: Some(request), response: Some(response), reading: true, quiet: false, pieces: 0 }
    }
}

impl RequestPermit {
    pub(super) fn new(connection: Rc<ConnectionPermits>, key: usize) -> Self {
        Self { connection, key, waiting: None }
    }

    /// Ready once the response has a permit, so that some of it may be read. `window`: of the client's streams; see
    /// [`is_small_window`](super::is_small_window).
    pub fn poll_read(&mut self, context: &mut Context<'_>, window: impl FnOnce() -> u32) -> Poll<()> {
        if self.connection.joins_reading(self.key) {
            self.waiting = None;
            return Poll::Ready(());
        }
        let source = match &mut self.waiting {
            Some(waiting) => ready!(waiting.as_mut().poll(context)),
            None => {
                let window = window();
                match self.connection.try_response(window) {
                    Some(source) => source,
                    None => {
                        let waiting = Box::pin(self.connection.clone().unread(window));
                        ready!(self.waiting.insert(waiting).as_mut().poll(context))
                    }
                }
            }
        };
        self.waiting = None;
        self.connection.begin_response(self.key, source);
        Poll::Ready(())
    }

    /// All that was read has been given to the codec: the response needs its permit only until that has been sent. Where
    /// more would arrive in memory, it keeps it if too many responses could have something there.
    pub fn source_idle(&self, backlog: Backlog) {
        self.connection.update(self.key, |hold| {
            if backlog == Backlog::InMemory && !hold.quiet {
                hold.quiet = try_take(&self.connection.worker.quiet).is_some();
            }
            hold.reading = backlog == Backlog::InMemory && !hold.quiet;
        });
    }

    /// For the next piece of the response that the codec gets; `None`: it is made here, and needs no permit.
    pub fn piece(&self) -> Option<PiecePermit> {
        let is_held = self.connection.update(self.key, |hold| {
            let is_held = hold.response.is_some();
            hold.pieces += usize::from(is_held);
            is_held
        });
        is_held?.then(|| PiecePermit { connection: self.connection.clone(), key: self.key })
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.connection.end_request(self.key);
    }
}

impl Drop for PiecePermit {
    fn drop(&mut self) {
        self.connection.update(self.key, |hold| hold.pieces = hold.pieces.saturating_sub(1));
    }
}

impl ConnectionPermits {
    /// Whether the response still has a permit, which its task needs from now on.
    fn joins_reading(&self, key: usize) -> bool {
        self.holds.borrow_mut().get_mut(key).is_some_and(|hold| {
            hold.reading = hold.response.is_some();
            if hold.reading {
                self.end_quiet(hold);
            }
            hold.reading
        })
    }

    fn end_quiet(&self, hold: &mut Hold) {
        if std::mem::take(&mut hold.quiet) {
            self.worker.quiet.add_permits(1);
        }
    }

    fn begin_response(&self, key: usize, source: ResponseSource) {
        self.counters.http2_more(Http2Count::Held);
        if let Some(hold) = self.holds.borrow_mut().get_mut(key) {
            (hold.response, hold.reading) = (Some(source), true);
            self.end_quiet(hold);
        }
    }

    fn end_request(&self, key: usize) {
        let request = self.update(key, |hold| {
            hold.reading = false;
            self.end_quiet(hold);
            hold.request.take()
        });
        self.counters.http2_fewer(Http2Count::Begun);
        request.flatten().into_iter().for_each(|source| self.give_back_request(source));
    }

    /// Changes a hold, and gives back what nobody needs any more.
    fn update<T>(&self, key: usize, change: impl FnOnce(&mut Hold) -> T) -> Option<T> {
        let mut holds = self.holds.borrow_mut();
        let hold = holds.get_mut(key)?;
        let changed = change(hold);
        let is_needed = hold.reading || hold.pieces > 0;
        let response = hold.response.take_if(|_| !is_needed);
        if hold.request.is_none() && !is_needed {
            holds.remove(key);
        }
        drop(holds);
        if let Some(source) = response {
            self.counters.http2_fewer(Http2Count::Held);
            self.give_back_response(source);
        }
        Some(changed)
    }
}
