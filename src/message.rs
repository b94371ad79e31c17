//! Messages as all versions of HTTP have them: how a body is delimited, and heads as their readers ask them, whichever
//! protocol they came by.

mod framing;
mod http2;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::exchange::Edits;
use crate::routing::RequestHead;
pub use framing::{Framing, Onward, Version, of_response};
pub use http2::{Http2Request, Http2Response};

/// A request's head as its client has sent it.
pub trait RequestFields: RequestHead {
    fn version(&self) -> Version;

    /// How its body is delimited.
    fn framing(&self) -> Framing;

    /// The target as sent, for the log.
    fn target(&self) -> &str;

    /// Name and value of each field, in order; the host and port that the request is for need not be among them.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// What each field counts for `limits.header_bytes`.
    fn sizes(&self) -> impl Iterator<Item = usize>;

    /// The elements of all `Connection` fields.
    fn connection(&self) -> impl Iterator<Item = &str>;

    /// Whether the client wants to speak another protocol: by `Upgrade`, or by an extended CONNECT (RFC 8441).
    fn is_upgrade(&self) -> bool;

    /// Whether the client reads the trailers of a response (RFC 9110, section 10.1.4).
    fn takes_trailers(&self) -> bool;

    /// Writes those fields that `keep`, asked with name and value, wants, as lines of HTTP/1.1, `Host` and one `Cookie`
    /// among them.
    fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool);

    /// The same into a map, as HTTP/2 has fields: without `Host`.
    fn copy_fields(&self, map: &mut HeaderMap, keep: impl FnMut(&[u8], &[u8]) -> bool);
}

/// A response's head as its endpoint has sent it, or as it was made here.
pub trait ResponseHead {
    fn status(&self) -> u16;

    /// HTTP/2 has none.
    fn reason(&self) -> &[u8];

    /// Name and value of each field, in order.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// What its fields say about its body, whatever the request's method and the status make of it.
    fn announced(&self) -> Framing;

    /// How the body is delimited that follows, in answer to a request with this method.
    fn framing(&self, method: &str) -> Framing;

    /// Writes those fields that `keep`, asked with name and value, wants, as lines of HTTP/1.1.
    fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool);

    /// The same into a map, as HTTP/2 has fields.
    fn copy_fields(&self, map: &mut HeaderMap, keep: impl FnMut(&[u8], &[u8]) -> bool);

    /// 1xx but 101: the response proper is still to come.
    fn is_interim(&self) -> bool {
        matches!(self.status(), 100 | 102..=199)
    }

    /// How it goes on to a client of that version.
    fn onward(&self, method: &str, client: Version) -> Onward {
        Onward::new(self.announced(), self.framing(method), self.status(), client)
    }
}

/// Puts a field into a map; `value` lies in `bytes`, which it keeps instead of a copy. What HTTP/2 cannot say is left out:
/// heads have been judged.
pub fn put_field(map: &mut HeaderMap, name: &[u8], value: &[u8], bytes: &Bytes) {
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value));
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
        map.append(name, value);
    }
}

/// Puts the fields that `edits` add into a map. All their values share one piece of memory.
pub fn put_edits(map: &mut HeaderMap, edits: &Edits) {
    let lines = Bytes::copy_from_slice(edits.lines());
    for (name, value) in edits.added() {
        if let Ok(value) = HeaderValue::from_maybe_shared(lines.slice(value)) {
            map.append(name, value);
        }
    }
}
