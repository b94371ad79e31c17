//! Interim responses on their way to the client, `100 Continue` of our own among them.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http::header;

use super::ClientStream;
use super::attempt::Sent;
use super::local_reply::{Continue, PendingBody};
use crate::exchange::{Failed, Failure};
use crate::message::{Framing, RequestFields, Version};
use crate::routing::RequestHead;
use crate::worker::deadline::Elapsed;

/// Whether the client waits for `100 Continue` (RFC 9110, section 10.1.1).
pub(super) fn expects_continue(client: &impl ClientStream) -> bool {
    let head = client.request();
    let expects =
        head.header(&header::EXPECT).is_some_and(|expect| expect.eq_ignore_ascii_case(b"100-continue"));
    expects && head.version() != Version::Http10 && head.framing() != Framing::None
}

/// Tells the client to send its body.
pub(super) async fn send_continue(
    client: &mut impl ClientStream,
    sent: &mut Sent,
    limit: Duration,
) -> Result<(), Failed> {
    sent.go_on = true;
    client.send_interim(&Continue, &Default::default());
    flush(client, limit).await
}

/// Waits until the interim responses have been sent.
pub(super) async fn flush(client: &mut impl ClientStream, limit: Duration) -> Result<(), Failed> {
    if !client.has_pending() {
        return Ok(());
    }
    client.timer().set(limit);
    let flushed = poll_fn(|context| {
        while client.has_pending() {
            match client.poll_send(context, &mut PendingBody) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Ok(Err(error))),
                Poll::Pending => return client.timer().poll_passed(context).map(|()| Err(Elapsed)),
            }
        }
        Poll::Ready(Ok(Ok(())))
    })
    .await;
    client.timer().clear();
    match flushed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failed::of_client(Failure::ClientGone, error.to_string())),
        // Of the client, even at the deadline of the request: no local reply may follow a part of a response.
        Err(Elapsed) => Err(Failed::of_client(Failure::ClientStalled, None)),
    }
}
