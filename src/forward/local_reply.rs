//! Sends the responses that evenkeel makes itself.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::request::Request;
use super::{ClientStream, Ending};
use crate::body::{BodySource, ReadError, Transfer, WholeBody};
use crate::exchange::{Circumstances, Edits, Failed, Failure, LocalReply};
use crate::message::{Framing, RequestFields, ResponseHead, of_response};
use crate::routing::RequestHead;
use crate::worker::deadline::Elapsed;

impl<C: ClientStream> Request<'_, C> {
    /// Records why the request failed and, unless the client has gone, sends a local reply. Must not be called after
    /// the head of a final response.
    pub(super) async fn fail(&mut self, failed: Failed) -> Ending {
        let Failed { failure, detail, .. } = failed;
        self.exchange.failed(failure, detail);
        // The reply has time of its own, even if the request's is over.
        self.client.timer().bound(None);
        if failure.has_no_reply() {
            return Ending::Broken(failure);
        }
        if !failure.leaves_connection() {
            self.client.close_behind();
        }
        let reply = self.exchange.local_reply(failure);
        self.reply(reply).await
    }

    /// Sends a local reply, within `timeouts.write`. Must not be called after the head of a final response.
    pub(super) async fn reply(&mut self, reply: LocalReply) -> Ending {
        let LocalReply { status, headers, body } = self.exchange.prepare_reply(reply);
        let reply = ReplyHead { status: status.as_u16(), headers, length: body.len() };
        self.sent.status = Some(reply.status);
        let onward = {
            let head = self.client.request();
            reply.onward(head.method(), head.version())
        };
        self.client.send_head(&reply, &Edits::default(), onward);
        let ending = self.send(&mut WholeBody { data: body, trailers: HeaderMap::new() }).await;
        self.client.tick();
        ending
    }

    /// Sends `body` after the head, within `timeouts.write`.
    async fn send(&mut self, body: &mut WholeBody) -> Ending {
        let Self { client, sent, listener, .. } = self;
        let mut transfer = Transfer::default();
        client.timer().set(listener.timeouts.write);
        let done = poll_fn(|context| match transfer.poll(context, body, *client, &mut |_| Ok(())) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => client.timer().poll_passed(context).map(|()| Err(Elapsed)),
        })
        .await;
        client.timer().clear();
        sent.bytes += transfer.delivered;
        match done {
            Ok(Ok(())) => Ending::Whole,
            Ok(Err(_)) => Ending::Broken(Failure::ClientGone),
            Err(Elapsed) => Ending::Broken(Failure::ClientStalled),
        }
    }

    /// Records why a response broke off after its head, and tells a gRPC client in trailers.
    pub(super) async fn cut(&mut self, failed: Failed) -> Ending {
        let Failed { failure, detail, of_client, .. } = failed;
        if !of_client {
            let circumstances = Circumstances { replayable: false, reused: false, response_begun: true };
            self.exchange.attempt_failed(failure, detail.as_deref(), circumstances, self.client.now());
        }
        self.exchange.failed(failure, detail);
        match self.exchange.grpc_end(failure) {
            Some(trailers) => self.send(&mut WholeBody { data: Bytes::new(), trailers }).await,
            None => Ending::Broken(failure),
        }
    }
}

/// The head of a local reply.
struct ReplyHead {
    status: u16,
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Of its body, in bytes.
    length: usize,
}

impl ResponseHead for ReplyHead {
    fn status(&self) -> u16 {
        self.status
    }

    fn reason(&self) -> &[u8] {
        reason(self.status)
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }

    fn announced(&self) -> Framing {
        Framing::Length(self.length as u64)
    }

    fn framing(&self, method: &str) -> Framing {
        of_response(method, self.status, self.announced())
    }

    fn copy_lines(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        for (name, value) in self.fields() {
            if keep(name, value) {
                [name, b": ", value, b"\r\n"].iter().for_each(|part| out.extend_from_slice(part));
            }
        }
    }

    fn copy_fields(&self, map: &mut HeaderMap, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        for (name, value) in &self.headers {
            if keep(name.as_str().as_bytes(), value.as_bytes()) {
                map.append(name.clone(), value.clone());
            }
        }
    }
}

/// The head of a `100 Continue` of our own.
pub(super) struct Continue;

impl ResponseHead for Continue {
    fn status(&self) -> u16 {
        100
    }

    fn reason(&self) -> &[u8] {
        reason(100)
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }

    fn announced(&self) -> Framing {
        Framing::None
    }

    fn framing(&self, _method: &str) -> Framing {
        Framing::None
    }

    fn copy_lines(&self, _out: &mut Vec<u8>, _keep: impl FnMut(&[u8], &[u8]) -> bool) {}

    fn copy_fields(&self, _map: &mut HeaderMap, _keep: impl FnMut(&[u8], &[u8]) -> bool) {}
}

fn reason(status: u16) -> &'static [u8] {
    let status = http::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default().as_bytes()
}

/// A body of which nothing ever arrives, to flush a sink's own bytes.
pub(super) struct PendingBody;

impl BodySource for PendingBody {
    fn data(&self) -> &[u8] {
        &[]
    }

    fn consume(&mut self, _count: usize) -> usize {
        0
    }

    fn take(&mut self, _count: usize) -> Bytes {
        Bytes::new()
    }

    fn is_last(&self) -> bool {
        false
    }

    fn poll_fill(&mut self, _context: &mut Context<'_>, _room: usize) -> Poll<Result<(), ReadError>> {
        Poll::Pending
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Onward, Version};

    #[test]
    fn an_empty_reply_has_a_length() {
        let reply = ReplyHead { status: 404, headers: Vec::new(), length: 0 };
        for (method, body) in [("GET", Framing::Length(0)), ("HEAD", Framing::None)] {
            let expected = Onward { announced: Framing::Length(0), body };
            assert_eq!(reply.onward(method, Version::Http11), expected, "{method}");
        }
    }
}
