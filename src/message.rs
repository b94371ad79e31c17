//! Messages independent of the version of HTTP: how a body is delimited, and traits by which heads are read.

mod framing;
mod http2;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::exchange::Edits;
use crate::routing::RequestHead;
pub use framing::{Framing, Onward, Version, of_response};
pub use http2::{Http2Request, Http2Response};

/// A request's head as the client sent it.
pub trait RequestFields: RequestHead {
    fn version(&self) -> Version;

    /// How its body is delimited.
    fn framing(&self) -> Framing;

    /// The target as sent, for the log.
    fn target(&self) -> &[u8];

    /// Name and value of each field, in order; over HTTP/2 the host is in `authority`, and not necessarily among them.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The size of each field as `limits.header_bytes` counts it.
    fn sizes(&self) -> impl Iterator<Item = usize>;

    /// The elements of all `Connection` fields.
    fn connection(&self) -> impl Iterator<Item = &str>;

    /// Whether the client asks for another protocol: by `Upgrade`, or by an extended CONNECT (RFC 8441).
    fn is_upgrade(&self) -> bool;

    /// The key that the endpoint's `Sec-WebSocket-Accept` has to prove.
    fn websocket_key(&self) -> Option<&[u8]>;

    /// Whether the client accepts trailers in the response (RFC 9110, section 10.1.4).
    fn takes_trailers(&self) -> bool;

    /// Writes the fields for which `keep(name, value)` is true as HTTP/1.1 lines, with `Host`, and all cookies in one
    /// field.
    fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool);

    /// Copies the fields for which `keep(name, value)` is true into a map for HTTP/2.
    fn copy_fields(&self, map: &mut HeaderMap, keep: impl FnMut(&[u8], &[u8]) -> bool);
}

/// A response's head, of an endpoint or of a local reply.
pub trait ResponseHead {
    fn status(&self) -> u16;

    /// The reason phrase; over HTTP/2, the standard one of the status.
    fn reason(&self) -> &[u8];

    /// Name and value of each field, in order.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The framing that its fields announce, before the request's method and the status are considered.
    fn announced(&self) -> Framing;

    /// How the body is delimited, in answer to a request with this method.
    fn framing(&self, method: &str) -> Framing;

    /// Writes the fields for which `keep(name, value)` is true as HTTP/1.1 lines.
    fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool);

    /// Copies the fields for which `keep(name, value)` is true into a map for HTTP/2.
    fn copy_fields(&self, map: &mut HeaderMap, keep: impl FnMut(&[u8], &[u8]) -> bool);

    /// 1xx other than 101: the final response is still to come.
    fn is_interim(&self) -> bool {
        matches!(self.status(), 100 | 102..=199)
    }

    /// How it is forwarded to a client of that version.
    fn onward(&self, method: &str, client: Version) -> Onward {
        Onward::new(self.announced(), self.framing(method), self.status(), client)
    }
}

/// Appends a field to a map. `value` must be a part of `bytes`, which the map shares instead of a copy. A field that
/// the map cannot hold is dropped; the parser has refused those before.
pub fn put_field(map: &mut HeaderMap, name: &[u8], value: &[u8], bytes: &Bytes) {
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value));
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
        map.append(name, value);
    }
}

/// Appends the fields that `edits` add to a map. All their values share one allocation.
pub fn put_edits(map: &mut HeaderMap, edits: &Edits) {
    let lines = Bytes::copy_from_slice(edits.lines());
    for (name, value) in edits.added() {
        if let Ok(value) = HeaderValue::from_maybe_shared(lines.slice(value)) {
            map.append(name.clone(), value);
        }
    }
}
