//! An upgraded connection: bytes in both directions, until both sides have ended or neither says anything for too long.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;

use crate::forward::websocket_frames::{Frames, GOING_AWAY, GOING_AWAY_MASKED};
use crate::net::buffer::{BODY, Buffer, TURN};
use crate::net::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::{Phase, Timer};

/// One side of a tunnel, and what has been read of it.
pub struct Side<'a> {
    pub stream: &'a mut Stream,
    pub buffer: &'a mut Buffer,
    /// Of what has gone from here to the other side, if it is a WebSocket.
    pub frames: Option<Frames>,
}

/// How many bytes went each way.
#[derive(Debug, Default, Clone, Copy)]
pub struct Carried {
    pub from_client: u64,
    pub from_endpoint: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// The source has ended; what is buffered still has to go.
    Draining,
    Ended,
}

/// Carries bytes until both sides have ended, one fails, or nothing has moved for `idle`.
///
/// When the worker says farewell, both sides of a WebSocket are told to go as soon as they have had a whole frame.
pub async fn run(
    worker: &Worker,
    mut client: Side<'_>,
    mut endpoint: Side<'_>,
    timer: &Timer,
    idle: Duration,
) -> Carried {
    let mut carried = Carried::default();
    let (mut up, mut down) = (Flow::Open, Flow::Open);
    client.buffer.grow(BODY);
    endpoint.buffer.grow(BODY);
    timer.set(idle);
    timer.enter(Phase::Tunnel);
    poll_fn(|context| {
        let mut turn = 0;
        loop {
            let sent = poll_flow(context, &mut client, endpoint.stream, &mut up);
            let received = poll_flow(context, &mut endpoint, client.stream, &mut down);
            let (Ok(sent), Ok(received)) = (sent, received) else { return Poll::Ready(()) };
            carried.from_client += sent;
            carried.from_endpoint += received;
            // When the endpoint has said all it will ever say, nobody is left to hear the client.
            if down == Flow::Ended || (up == Flow::Ended && down != Flow::Open) {
                return Poll::Ready(());
            }
            if worker.says_farewell() && endpoint.may_tell() {
                endpoint.tell(context, client.stream, &GOING_AWAY);
                client.tell(context, endpoint.stream, &GOING_AWAY_MASKED);
                return Poll::Ready(());
            }
            if sent + received == 0 {
                ready!(timer.poll_passed(context));
                if !worker.says_farewell() {
                    return Poll::Ready(());
                }
            }
            timer.set(idle);
            turn += sent + received;
            if turn > TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await;
    timer.enter(Phase::Request);
    timer.clear();
    carried
}

impl Side<'_> {
    /// Whether another frame may be put behind what has gone from here.
    fn may_tell(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::may_follow)
    }

    /// Sends `to` the other side a last frame, if there is a place for it. What is buffered here stays behind.
    fn tell(&mut self, context: &mut Context<'_>, to: &mut Stream, last: &[u8]) {
        if self.may_tell() {
            // Who takes nothing cannot be told.
            let _ = Pin::new(to).poll_write(context, last);
        }
    }
}

/// Moves what can be moved in one direction, as far as a turn goes; `Err` if a side has failed.
fn poll_flow(
    context: &mut Context<'_>,
    from: &mut Side<'_>,
    to: &mut Stream,
    flow: &mut Flow,
) -> Result<u64, ()> {
    let mut moved = 0;
    while *flow != Flow::Ended && moved <= TURN {
        if !from.buffer.is_empty() {
            match Pin::new(&mut *to).poll_write(context, from.buffer.bytes()) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Err(()),
                Poll::Ready(Ok(count)) => {
                    if let Some(frames) = &mut from.frames {
                        frames.pass(from.buffer.bytes().get(..count).unwrap_or_default());
                    }
                    from.buffer.consume(count);
                    moved += count as u64;
                }
            }
        } else if *flow == Flow::Draining {
            to.shut_down_write();
            *flow = Flow::Ended;
        } else {
            match from.buffer.poll_read(context, Pin::new(&mut *from.stream)) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => *flow = Flow::Draining,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(()),
            }
        }
    }
    Ok(moved)
}
