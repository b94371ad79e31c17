//! How a client's connection is closed: over TLS with close_notify, and lingering where the client may still be sending,
//! because closing with bytes unread would send a reset, which may overtake the last response (RFC 9112, section 9.6).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

use crate::net::buffer::HEAD;
use crate::net::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Timer;

/// How long a connection is kept after its last response, for the client to read it.
const LINGER: Duration = Duration::from_secs(2);

/// The same for a client that still sends at [`LINGER_RATE`]: many clients read nothing before they have sent all.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// How long the TLS close_notify may take.
const CLOSE_NOTIFY_LIMIT: Duration = Duration::from_secs(2);

/// Bytes a second.
const LINGER_RATE: u64 = 64 * 1024;

/// The time without bytes from the client, while the process stops: the kernel delivers the response without it.
const LINGER_IN_STOP: Duration = Duration::from_millis(200);

/// Flushes TLS and sends its close_notify.
pub async fn close_tls(timer: &Timer, stream: &mut Stream) {
    // Whoever does not take it in time is not waited for.
    let _ = timer.within(CLOSE_NOTIFY_LIMIT, poll_fn(|context| stream.poll_shut_down_write(context))).await;
}

/// Shuts the connection down for writing, and drops what the client still sends.
pub async fn linger(worker: &Worker, timer: &Timer, stream: &mut Stream) {
    let mut waste = worker.memory.buffer();
    waste.resize(HEAD, 0);
    let (begun, mut total, mut is_shut) = (Instant::now(), 0, false);
    while lingers(begun.elapsed(), total) {
        let limit = if worker.is_stopping() { LINGER_IN_STOP } else { LINGER };
        let dropped = poll_fn(|context| {
            is_shut = is_shut || stream.poll_shut_down_write(context).is_ready();
            poll_drop(context, stream, &mut waste)
        });
        match timer.within(limit, dropped).await {
            Ok(Ok(count)) if count > 0 => total += count as u64,
            // The client sends nothing more, and may still read.
            Ok(Ok(_)) if !is_shut => {
                let _ = timer.within(limit, poll_fn(|context| stream.poll_shut_down_write(context))).await;
                break;
            }
            _ => break,
        }
    }
    worker.memory.give_back_buffer(waste);
}

/// Reads into `waste`; ready with the count of bytes.
fn poll_drop(context: &mut Context<'_>, stream: &mut Stream, waste: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut waste = ReadBuf::new(waste);
    ready!(Pin::new(stream).poll_read(context, &mut waste))?;
    Poll::Ready(Ok(waste.filled().len()))
}

/// Whether a client that has sent `bytes` in the time `since` its last response is still waited for.
fn lingers(since: Duration, bytes: u64) -> bool {
    since < LINGER || (since < LINGER_MAX && bytes >= LINGER_RATE * since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_sends_much_is_waited_for_longer() {
        let seconds = Duration::from_secs;
        assert!(lingers(Duration::ZERO, 0) && lingers(seconds(1), 0));
        assert!(!lingers(seconds(2), 100) && !lingers(seconds(5), 5 * LINGER_RATE - 1));
        assert!(lingers(seconds(5), 5 * LINGER_RATE) && lingers(seconds(9), u64::MAX));
        assert!(!lingers(seconds(10), u64::MAX));
    }
}
