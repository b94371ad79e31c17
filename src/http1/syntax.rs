//! The byte classes of RFC 9110 and 9112, and byte ranges of a buffer.

use crate::part::Part;

/// A byte range of a buffer: a slice would borrow the buffer, which may still grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Callers refuse buffers of more than [`BUFFER_MAX`] bytes; a range beyond 32 bits would be empty.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: place(start), end: place(end) }
    }

    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn end(self) -> usize {
        self.end as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.part(self.start()..self.end())
    }

    /// Its part of `text`, or of `bytes` where `text` is empty.
    pub(super) fn text_of<'a>(self, text: &'a str, bytes: &'a [u8]) -> &'a str {
        if text.is_empty() { self.text(bytes) } else { text.part(self.start()..self.end()) }
    }

    /// Its part of `bytes` as text; "" if that is not UTF-8.
    pub(super) fn text(self, bytes: &[u8]) -> &str {
        str::from_utf8(self.of(bytes)).unwrap_or_default()
    }
}

/// The largest head that is ever accepted, in bytes, whatever a listener's limits say.
pub(super) const BUFFER_MAX: usize = 1 << 28;

// The classes that a byte may belong to, one bit each.
const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const VALUE: u8 = 8;

static CLASSES: [u8; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, which would refuse an index out of range"
)]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        let alphanumeric = letter.is_ascii_alphanumeric();
        let unreserved = alphanumeric || matches!(letter, b'-' | b'.' | b'_' | b'~');
        let delimiter =
            matches!(letter, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        let path = unreserved || delimiter || matches!(letter, b':' | b'@' | b'/' | b'%');
        let token = alphanumeric
            || matches!(letter, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(letter, b'^' | b'_' | b'`' | b'|' | b'~');
        let mut class = 0;
        if token {
            class |= TOKEN;
        }
        if path {
            class |= PATH;
        }
        if path || letter == b'?' {
            class |= QUERY;
        }
        if letter == b'\t' || (letter >= b' ' && letter != 0x7f) {
            class |= VALUE;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// `tchar`: the bytes of methods and field names.
pub(super) fn is_token(byte: u8) -> bool {
    class(byte) & TOKEN != 0
}

/// The bytes of a path, `%` and `/` included.
pub(super) fn is_path(byte: u8) -> bool {
    class(byte) & PATH != 0
}

/// The bytes of a query, `%` included.
pub(super) fn is_query(byte: u8) -> bool {
    class(byte) & QUERY != 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// The length of the token that `bytes` begin with. Scans eight bytes at a time while they are letters and hyphens, as
/// in most field names.
pub(super) fn token_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    for word in bytes.as_chunks::<8>().0 {
        let stop = !letters_and_hyphens(u64::from_le_bytes(*word)) & HIGH;
        if stop != 0 {
            length += (stop.trailing_zeros() / 8) as usize;
            break;
        }
        length += 8;
    }
    let rest = bytes.part(length..);
    length + rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len())
}

/// Sets the high bit of each byte that is a letter or a hyphen.
fn letters_and_hyphens(word: u64) -> u64 {
    // No addition carries into the next byte, because the high bits are cleared first.
    let seven = (word | (0x20 * ONES)) & !HIGH;
    let letter = (seven + (0x80 - b'a' as u64) * ONES) & !(seven + (0x7f - b'z' as u64) * ONES);
    let other = (word & !HIGH) ^ (b'-' as u64 * ONES);
    let hyphen = !(other + 0x7f * ONES);
    (letter | hyphen) & !word
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// How many of the first bytes are allowed in a field's value. Scans eight bytes at a time.
pub(super) fn value_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    for word in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        // Sets the high bit of each byte that is below 0x20 or 0x7f. A borrow can set false ones after a true one, but
        // the first is true: the end of the line, or a tab, which the loop below accepts.
        let delete = word ^ (0x7f * ONES);
        let control = word.wrapping_sub(0x20 * ONES) & !word & HIGH;
        let delete = delete.wrapping_sub(ONES) & !delete & HIGH;
        let stop = control | delete;
        if stop != 0 {
            length += (stop.trailing_zeros() / 8) as usize;
            break;
        }
        length += 8;
    }
    let rest = bytes.part(length..);
    length + rest.iter().position(|byte| class(*byte) & VALUE == 0).unwrap_or(rest.len())
}

/// Strips optional whitespace (OWS) from both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed, without empty ones.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header_field::is_valid_value;

    #[test]
    fn a_token_ends_where_one_byte_after_the_other_says() {
        for byte in 0..=255 {
            for at in 0..11 {
                let mut bytes = *b"x-Forwarded";
                bytes[at] = byte;
                let expected = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
                assert_eq!(token_length(&bytes), expected, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn a_value_ends_where_one_byte_after_the_other_says() {
        for byte in 0..=255 {
            for at in 0..20 {
                let mut bytes = *b"abcdefgh\tjklmnop\xff\xe4s~";
                bytes[at] = byte;
                let expected = bytes.iter().position(|byte| !is_valid_value(&[*byte])).unwrap_or(bytes.len());
                assert_eq!(value_length(&bytes), expected, "{byte} at {at}");
            }
        }
    }
}
