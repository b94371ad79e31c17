//! A stream that has switched protocols: moves bytes in both directions, until one side ends or both are silent for too
//! long.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::ClientStream;
use super::websocket_frames::{Frames, GOING_AWAY, GOING_AWAY_MASKED};
use crate::body::{Backlog, BodySink, BodySource, ReadError, Transfer, TransferError, WholeBody};
use crate::endpoint::EndpointStream;
use crate::part::Part;
use crate::worker::deadline::Phase;

/// How many bytes were moved in each direction, and how the tunnel ended.
#[derive(Debug, Default)]
pub struct Passed {
    pub from_client: u64,
    pub from_endpoint: u64,
    /// Why the endpoint's direction broke off; `None`: it ended otherwise.
    pub aborted: Option<String>,
}

/// One direction.
#[derive(Default)]
struct Flow {
    transfer: Transfer,
    /// The sink takes nothing more.
    is_cut: bool,
    /// Tracks the frames that have been sent, if it is a WebSocket.
    frames: Option<Frames>,
}

/// Moves bytes until the endpoint has closed its direction, the client has gone, or nothing has moved for `idle`.
///
/// An endpoint that takes nothing more may have sent its last bytes before: they still go to the client.
///
/// At the end of a drain, both sides of a WebSocket get a close frame, as soon as they are between two frames.
pub async fn run(
    client: &mut impl ClientStream,
    endpoint: &mut impl EndpointStream,
    is_websocket: bool,
    idle: Duration,
) -> Passed {
    let (mut up, mut down) = (Flow::new(is_websocket), Flow::new(is_websocket));
    let worker = client.worker().clone();
    client.timer().set(idle);
    client.timer().enter(Phase::Tunnel);
    let mut aborted = None;
    poll_fn(|context| {
        // Once the endpoint has closed its direction, the tunnel ends. A client that has closed its own may still read.
        if is_over(up.poll(context, client, endpoint)) {
            return Poll::Ready(());
        }
        if let Poll::Ready(end) = down.poll(context, endpoint, client) {
            aborted = end.err().filter(|_| !down.has_said_goodbye()).and_then(reason);
            return Poll::Ready(());
        }
        if worker.drain.closes_tunnels() && down.may_end() {
            down.end(context, client, &GOING_AWAY);
            up.end(context, endpoint, &GOING_AWAY_MASKED);
            return Poll::Ready(());
        }
        if up.has_moved() | down.has_moved() {
            client.timer().set(idle);
        }
        if client.timer().poll_passed(context).is_pending() {
            return Poll::Pending;
        }
        if !worker.drain.closes_tunnels() {
            return Poll::Ready(());
        }
        // In the middle of a frame, no close frame can be sent, so the rest of it is waited for.
        client.timer().set(idle);
        client.timer().poll_passed(context)
    })
    .await;
    client.timer().enter(Phase::Request);
    client.timer().clear();
    Passed { from_client: up.transfer.delivered, from_endpoint: down.transfer.delivered, aborted }
}

/// Why a source broke off.
fn reason(error: TransferError) -> Option<String> {
    match error {
        TransferError::Source(ReadError::Cut(reason)) => reason,
        _ => None,
    }
}

/// Whether the client has gone, in contrast to one that has only closed its direction.
fn is_over(up: Poll<Result<(), TransferError>>) -> bool {
    matches!(up, Poll::Ready(Err(_)))
}

impl Flow {
    fn new(is_websocket: bool) -> Self {
        Self { transfer: Transfer::default(), is_cut: false, frames: is_websocket.then(Frames::default) }
    }

    /// Ready when the source has ended or failed, or the sink takes nothing more, which is not an error.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut impl BodySource,
        to: &mut impl BodySink,
    ) -> Poll<Result<(), TransferError>> {
        if self.is_cut {
            return Poll::Ready(Ok(()));
        }
        let mut from = Watched { source: from, frames: &mut self.frames };
        match self.transfer.poll(context, &mut from, to, &mut |_| Ok(())) {
            Poll::Ready(Err(TransferError::Sink(_))) => {
                self.is_cut = true;
                Poll::Ready(Ok(()))
            }
            moved => moved,
        }
    }

    fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.transfer.moved)
    }

    /// A close frame has passed: the connection may end in any way behind it.
    fn has_said_goodbye(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }

    /// Whether a close frame may follow the bytes sent so far.
    fn may_end(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::may_follow)
    }

    /// Sends a last frame, if one may follow. The rest of the source is dropped.
    fn end(&mut self, context: &mut Context<'_>, to: &mut impl BodySink, last: &'static [u8]) {
        if self.may_end() && !self.is_cut && !to.is_done() {
            let mut last = WholeBody { data: Bytes::from_static(last), ..WholeBody::default() };
            // Tried once: a sink that takes nothing is not waited for.
            let _ = to.poll_send(context, &mut last);
        }
    }
}

/// A source that passes its bytes to `frames` as they are sent.
struct Watched<'a, S> {
    source: &'a mut S,
    frames: &'a mut Option<Frames>,
}

impl<S: BodySource> Watched<'_, S> {
    fn pass(&mut self, count: usize) {
        if let Some(frames) = self.frames {
            frames.pass(self.source.data().part(..count));
        }
    }
}

impl<S: BodySource> BodySource for Watched<'_, S> {
    const BACKLOG: Backlog = S::BACKLOG;

    fn data(&self) -> &[u8] {
        self.source.data()
    }

    fn consume(&mut self, count: usize) -> usize {
        self.pass(count);
        self.source.consume(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.pass(count);
        self.source.take(count)
    }

    fn is_last(&self) -> bool {
        self.source.is_last()
    }

    fn release(&mut self) {
        self.source.release();
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        self.source.poll_fill(context, room)
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.source.trailers()
    }
}
