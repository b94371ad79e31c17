//! An upgraded connection: bytes in both directions, until both sides have ended or neither says anything for too long.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::buffer::{BODY, Buffer, TURN};
use super::deadline::Timer;
use super::stream::Stream;

/// One side of a tunnel, and what has been read of it.
pub struct Side<'a> {
    pub stream: &'a mut Stream,
    pub buffer: &'a mut Buffer,
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
pub async fn run(mut client: Side<'_>, mut endpoint: Side<'_>, timer: &Timer, idle: Duration) -> Carried {
    let mut carried = Carried::default();
    let (mut up, mut down) = (Flow::Open, Flow::Open);
    client.buffer.grow(BODY);
    endpoint.buffer.grow(BODY);
    timer.set(idle);
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
            if sent + received == 0 {
                return timer.poll_passed(context);
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
    timer.clear();
    carried
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
