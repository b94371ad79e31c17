//! Applies the edits of `exchange` to Pingora's heads.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::exchange::Edits;
use crate::header_field::{is_connection_specific, is_framing, same_name};

/// The common operations of Pingora's two types of heads.
pub trait Head {
    fn names(&self) -> impl Iterator<Item = &HeaderName>;
    fn remove(&mut self, name: &HeaderName);
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;
}

pub fn apply(head: &mut impl Head, edits: &Edits) -> Result<()> {
    let dropped: Vec<_> =
        head.names().filter(|name| is_dropped(name.as_str().as_bytes(), edits)).cloned().collect();
    dropped.iter().for_each(|name| head.remove(name));
    added(edits).try_for_each(|(name, value)| head.append(name, value))
}

/// The fields that are added, in order. All their values share one allocation.
pub fn added(edits: &Edits) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let lines = Bytes::copy_from_slice(edits.lines());
    edits.added().filter_map(move |(name, value)| {
        Some((name, HeaderValue::from_maybe_shared(lines.slice(value)).ok()?))
    })
}

/// Whether a received field is dropped: because an edit sets or removes its name, or because an endpoint may take it
/// for a field that Pingora writes.
fn is_dropped(name: &[u8], edits: &Edits) -> bool {
    let is_pingoras = || matches!(name, b"content-length" | b"transfer-encoding" | b"connection");
    edits.replaced(name).any(|other| same_name(other.as_bytes(), name))
        || ((is_framing(name) || is_connection_specific(name)) && !is_pingoras())
}

impl Head for RequestHeader {
    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.keys()
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}

impl Head for ResponseHeader {
    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.keys()
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_like_a_field_of_ours_goes() {
        let mut head = RequestHeader::build("POST", b"/", None).expect("a head");
        for name in [
            "x_real_ip",
            "x-real-ip",
            "x_gone",
            "x_more",
            "content_length",
            "transfer_encoding",
            "http2_settings",
            "content-length",
            "connection",
        ] {
            head.append_header(name, "sent").expect("a field");
        }
        let mut edits = Edits::default();
        edits.set("x-real-ip", "ours");
        edits.remove("x-gone");
        edits.append("x-more", b"ours");
        apply(&mut head, &edits).expect("it can be applied");
        let mut left: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        left.sort_unstable();
        let expected = [("connection", "sent"), ("content-length", "sent"), ("x-more", "ours")];
        let expected = expected.into_iter().chain([("x-real-ip", "ours"), ("x_more", "sent")]);
        assert_eq!(left, expected.map(|(name, value)| (name, value.as_bytes())).collect::<Vec<_>>());
    }
}
