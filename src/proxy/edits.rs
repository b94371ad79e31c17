//! Applies the edits of `exchange` to Pingora's heads.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::exchange::Edits;
use crate::header_field::{is_connection_specific, is_framing, same_name};

pub fn apply_to_request(head: &mut RequestHeader, edits: &Edits) -> Result<()> {
    for name in dropped(&head.headers, edits) {
        head.remove_header(&name);
    }
    added(edits).try_for_each(|(name, value)| head.append_header(name, value).map(drop))
}

pub fn apply_to_response(head: &mut ResponseHeader, edits: &Edits) -> Result<()> {
    for name in dropped(&head.headers, edits) {
        head.remove_header(&name);
    }
    added(edits).try_for_each(|(name, value)| head.append_header(name, value).map(drop))
}

/// The received fields that are dropped: because an edit sets or removes their name, or because an endpoint may take
/// them for fields that Pingora writes.
fn dropped(fields: &HeaderMap, edits: &Edits) -> Vec<HeaderName> {
    let is_pingoras = |name: &[u8]| matches!(name, b"content-length" | b"transfer-encoding" | b"connection");
    let is_dropped = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        edits.replaced(name).any(|other| same_name(other.as_bytes(), name))
            || ((is_framing(name) || is_connection_specific(name)) && !is_pingoras(name))
    };
    fields.keys().filter(is_dropped).cloned().collect()
}

/// The fields that are added, in order. All their values share one allocation.
fn added(edits: &Edits) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let lines = Bytes::copy_from_slice(edits.lines());
    edits.added().filter_map(move |(name, value)| {
        Some((name.clone(), HeaderValue::from_maybe_shared(lines.slice(value)).ok()?))
    })
}
