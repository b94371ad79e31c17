//! Reads the rest of a request's body after the response to it is complete.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;

use crate::body::Http2Reader;

/// How much of it is read, in bytes: enough for a small form, or for a call that was refused while it was being sent.
const SIZE: usize = 64 * 1024;

/// How long all of it may take.
const TIME: Duration = Duration::from_secs(1);

/// Reads a small rest, so that the stream ends normally.
///
/// Otherwise RST_STREAM with NO_ERROR would follow the response (RFC 9113, section 8.1), which some clients take for a
/// failure.
pub async fn small_rest(body: &mut Http2Reader) {
    if !body.has_ended() {
        // A client that takes longer gets the reset.
        let _ = timeout(TIME, read(body)).await;
    }
}

async fn read(body: &mut Http2Reader) {
    let mut left = SIZE;
    loop {
        left = match left.checked_sub(body.consume(body.data().len())) {
            Some(left) => left,
            None => return,
        };
        if body.has_ended() || poll_fn(|context| body.poll_fill(context)).await.is_err() {
            return;
        }
    }
}
