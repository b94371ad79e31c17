//! The query of a request to the admin address: `name=value` pairs, percent-encoded.

use std::fmt::Write;

use crate::percent;

/// The decoded value of `name`.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    values(query, name).next()
}

/// The decoded values of all that are named so.
pub(super) fn values(query: &str, name: &str) -> impl Iterator<Item = String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| decoded(value))
}

/// Percent-encodes a text as a value.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/') {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Percent-decodes a value. A percent sign without two hex digits after it stands for itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let escaped = match after {
            [high, low, after @ ..] if *byte == b'%' => {
                percent::byte(&[*high, *low]).map(|byte| (byte, after))
            }
            _ => None,
        };
        match escaped {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        for text in ["", "60s", "/etc/a b&c=d%.yaml", "ä\n%41"] {
            let query = format!("x=1&name={}&y=2", encoded(text));
            assert_eq!(value(&query, "name").as_deref(), Some(text));
        }
        assert_eq!(value("a=%zz%4&b", "a").as_deref(), Some("%zz%4"));
        assert_eq!(value("a=1&b", "b"), None);
    }
}
