//! What a head's fields say about the body (RFC 9112, section 6.3) and the connection.

use super::syntax::trim;
use crate::message::{Framing, Version};

/// The framing that a head's fields announce, before method and status are considered. Fed with the fields in order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Announced {
    length: Option<u64>,
    chunked: bool,
    /// One length may be said several times, as RFC 9110 (section 8.6) allows: what goes on says it once.
    may_repeat: bool,
}

impl Announced {
    pub(super) fn of_response() -> Self {
        Self { may_repeat: true, ..Self::default() }
    }

    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.may_repeat {
            return value.split(|byte| *byte == b',').try_for_each(|value| self.one_length(trim(value)));
        }
        self.one_length(value)
    }

    fn one_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let length = length(value)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(other) if self.may_repeat && other == length => Ok(()),
            // Of clients, even if they agree: what stands before us might choose or combine them differently.
            Some(_) => Err("more than one Content-Length"),
        }
    }

    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err("Transfer-Encoding other than chunked");
        }
        if std::mem::replace(&mut self.chunked, true) {
            return Err("more than one Transfer-Encoding");
        }
        Ok(())
    }

    /// What all fields together announce; `Framing::None` if there are no framing fields.
    pub(super) fn framing(self, version: Version) -> Result<Framing, &'static str> {
        match self {
            Self { length: Some(_), chunked: true, .. } => Err("Transfer-Encoding and Content-Length"),
            Self { chunked: true, .. } if version == Version::Http10 => {
                Err("Transfer-Encoding in an HTTP/1.0 message")
            }
            Self { chunked: true, .. } => Ok(Framing::Chunked),
            Self { length: Some(length), .. } => Ok(Framing::Length(length)),
            Self { .. } => Ok(Framing::None),
        }
    }
}

/// Parses digits only, up to `i64::MAX`, because many implementations use signed integers.
fn length(value: &[u8]) -> Result<u64, &'static str> {
    const BAD: &str = "Content-Length is not a number";
    if value.is_empty() {
        return Err(BAD);
    }
    value.iter().try_fold(0_u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0')).ok_or(BAD)?;
        let length = length.checked_mul(10).and_then(|length| length.checked_add(digit));
        length.filter(|length| i64::try_from(*length).is_ok()).ok_or("Content-Length is too large")
    })
}

/// Names that `Connection` fields may list; each is compared with every field.
const NOMINATED_MAX: usize = 64;

/// Adds the number of names in one `Connection` field to `so_far`.
pub fn nominated(so_far: usize, value: &[u8]) -> Result<usize, &'static str> {
    let count = so_far + 1 + memchr::memchr_iter(b',', value).count();
    if count > NOMINATED_MAX { Err("too many names in Connection") } else { Ok(count) }
}

/// Whether a `Connection` field, as a list, has this element.
pub(super) fn lists(value: &[u8], element: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|other| trim(other).eq_ignore_ascii_case(element))
}
