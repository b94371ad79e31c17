//! A distinguished name as text (RFC 4514), in ASCII, so that a header can hold it: the same for no two names.

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, ToDer};
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// The most specific part comes first (section 2.1).
pub fn to_text(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name.iter_rdn().map(relative).collect();
    parts.reverse();
    parts.join(",")
}

fn relative(name: &RelativeDistinguishedName<'_>) -> String {
    name.iter().map(attribute).collect::<Vec<_>>().join("+")
}

/// Type and value; the value of a type without a name, or that is no text, is written as its DER encoding (section 2.4).
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let (id, value) = (attribute.attr_type(), attribute.attr_value());
    let abbreviation = oid2abbrev(id, oid_registry()).ok();
    match (abbreviation, attribute.as_str()) {
        (Some(name), Ok(text)) => format!("{name}={}", escaped(text)),
        (name, _) => format!("{}=#{}", name.map_or_else(|| id.to_id_string(), str::to_owned), encoded(value)),
    }
}

/// The DER encoding in hex.
fn encoded(value: &Any<'_>) -> String {
    let der = value.to_der_vec().unwrap_or_default();
    der.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value with the escapes of section 2.4; what is not printable ASCII as the hex digits of its bytes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b'#' if at == 0 => out.push_str("\\#"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        for (text, expected) in [
            ("alice", "alice"),
            ("Admins, CN=alice", "Admins\\, CN=alice"),
            ("Jürgen", "J\\C3\\BCrgen"),
            (" #a# ", "\\ #a#\\ "),
            ("#a", "\\#a"),
            ("a\\b\"+;<>\n", "a\\\\b\\\"\\+\\;\\<\\>\\0A"),
            (" ", "\\ "),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }
}
