//! What is still on its way of a request's body when the response to it is complete.

use std::time::Duration;

use http::Version;
use pingora_proxy::Session;
use tokio::time::timeout;

/// What is read of it, in bytes: a small form or a call whose client could not know that it would be refused.
const SIZE: usize = 64 * 1024;

/// For all of it.
const TIME: Duration = Duration::from_secs(1);

/// Reads a small rest, so that the stream can end as if all had been wanted.
///
/// Without it the response would be followed by a reset that says that there was no error (RFC 9113, section 8.1). Some
/// clients take it for a failure all the same. Those of HTTP/1.1 have a connection of their own, which the lane reads on.
pub async fn read(session: &mut Session) {
    if session.req_header().version == Version::HTTP_2 && !session.is_body_done() {
        // Who takes longer, or has gone, is left alone.
        let _ = timeout(TIME, small(session)).await;
    }
}

async fn small(session: &mut Session) {
    let mut left = SIZE;
    while let Ok(Some(piece)) = session.as_downstream_mut().read_request_body().await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
