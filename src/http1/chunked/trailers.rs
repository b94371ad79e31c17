//! The fields after the last chunk.

use super::super::fields::{Bounds, Fault, Fields};
use super::{TRAILER_FIELDS_MAX, TRAILERS_MAX};
use crate::header_field::{CLAIMS, WRITTEN_AFRESH, same_name};

/// Collected as they arrive; nearly every body has none, and allocates nothing for them.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    bytes: Vec<u8>,
    fields: Fields,
}

/// Fields that are dropped from trailers (RFC 9110, section 6.5.1): framing, routing, authentication, request
/// modifiers, response control, content format, hop by hop. Those by which endpoints trust a proxy are dropped as well.
const FORBIDDEN: [&str; 40] = [
    "transfer-encoding",
    "content-length",
    "trailer",
    "host",
    "authorization",
    "authentication-info",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "www-authenticate",
    "cookie",
    "set-cookie",
    "cache-control",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
    "te",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    "content-encoding",
    "content-type",
    "content-range",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "http2-settings",
    "via",
    "x-http-method-override",
];

impl Trailers {
    /// Returns how many bytes it has read, and whether the section is complete.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, bool), &'static str> {
        if self.bytes.is_empty() && input.starts_with(b"\r\n") {
            return Ok((2, true));
        }
        let mut taken = 0;
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            self.bytes.extend_from_slice(line);
            taken += line.len();
            let bounds = Bounds { bytes: TRAILERS_MAX, count: TRAILER_FIELDS_MAX };
            let read = self.fields.read(&self.bytes, bounds).map_err(|fault| match fault {
                Fault::Malformed(reason) | Fault::TooLarge(reason) => reason,
            });
            if read?.is_some() {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    pub(super) fn allowed(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter(&self.bytes).filter(|(name, _)| may_follow(name))
    }
}

/// Whether a field of that name may be a trailer.
pub fn may_follow(name: &[u8]) -> bool {
    let mut forbidden = FORBIDDEN.iter().chain(&CLAIMS).chain(&WRITTEN_AFRESH);
    !forbidden.any(|forbidden| same_name(forbidden.as_bytes(), name))
}
