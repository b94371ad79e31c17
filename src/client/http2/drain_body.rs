//! What is still on its way of a request's body when the response to it is complete.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;

use crate::body::Http2Reader;

/// What is read of it, in bytes: a small form or a call whose client could not know that it would be refused.
const SIZE: usize = 64 * 1024;

/// For all of it.
const TIME: Duration = Duration::from_secs(1);

/// Reads a small rest, so that the stream can end as if all had been wanted.
///
/// Without it the response would be followed by a reset that says that there was no error (RFC 9113, section 8.1). Some
/// clients take it for a failure all the same.
pub async fn small_rest(body: &mut Http2Reader) {
    if !body.has_ended() {
        // Who takes longer, or has gone, is left alone.
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
