//! An authority (`host:port`) and the one form in which its host is compared.
//!
//! Routing and TLS's check of a request's host must agree about what the host is, so both ask here.

mod check;

use std::borrow::Cow;
use std::net::Ipv6Addr;

pub use check::{agree, check};

/// Host and port. The host of an IPv6 address keeps its brackets; userinfo before an `@` is dropped. A port is made of
/// digits: anything else, as in `::1` or `a:b`, is part of the host. An empty port is none.
pub fn split(authority: &str) -> (&str, Option<&str>) {
    let authority = rsplit_once_byte(authority, b'@').map_or(authority, |(_, rest)| rest);
    let Some((host, port)) = rsplit_once_byte(authority, b':') else { return (authority, None) };
    let is_address = host.starts_with('[') && host.ends_with(']');
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if !is_port || (host.contains(':') && !is_address) || (host.starts_with('[') && !is_address) {
        return (authority, None);
    }
    (host, Some(port).filter(|port| !port.is_empty()))
}

/// The host alone: see [`split`].
pub fn host(authority: &str) -> &str {
    split(authority).0
}

/// The host in its normal form: in lower case, without one trailing dot; an IPv6 address as RFC 5952 writes it.
/// Allocates only if it is written otherwise, or an IPv6 address.
pub fn normalize_host(authority: &str) -> Cow<'_, str> {
    let host = host(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    if let Some(address) = ipv6(host) {
        return Cow::Owned(format!("[{address}]"));
    }
    // No early exit, so that the compiler can vectorize the loop.
    let has_capitals = host.bytes().fold(false, |found, byte| found | byte.is_ascii_uppercase());
    if has_capitals { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}

/// The address in brackets.
pub fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// `rsplit_once` for an ASCII byte. That of `str` searches with `memrchr`, which is slower for short texts.
fn rsplit_once_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|other| other == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_ports() {
        for (authority, host, port) in [
            ("a.example:80", "a.example", Some("80")),
            ("a.example", "a.example", None),
            ("a.example:", "a.example", None),
            (":80", "", Some("80")),
            ("", "", None),
            // IPv6, with and without brackets.
            ("[::1]:80", "[::1]", Some("80")),
            ("[::1]", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("::1", "::1", None),
            ("2001:db8::1:8080", "2001:db8::1:8080", None),
            ("[::1", "[::1", None),
            ("[::1:80", "[::1:80", None),
            ("[a:80", "[a:80", None),
            ("[::1]x:80", "[::1]x:80", None),
            // Userinfo, which may have a colon.
            ("user@a.example", "a.example", None),
            ("user:80@a.example:81", "a.example", Some("81")),
            ("user@x@[::1]:80", "[::1]", Some("80")),
            // What is no port.
            ("a.example:http", "a.example:http", None),
            ("a.example:8x", "a.example:8x", None),
            ("a.example:+8", "a.example:+8", None),
            ("a:b:80", "a:b:80", None),
        ] {
            assert_eq!(split(authority), (host, port), "{authority}");
            assert_eq!(super::host(authority), host, "{authority}");
        }
    }

    #[test]
    fn one_host_has_one_form() {
        for (authority, expected) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("example.com..", "example.com."),
            ("[::1]:80", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("[2001:DB8:0:0::1]:80", "[2001:db8::1]"),
            ("[::FFFF:10.0.0.1]", "[::ffff:10.0.0.1]"),
            ("[::1", "[::1"),
            ("[X]", "[x]"),
            ("user@example.com", "example.com"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(normalize_host(authority), expected, "{authority}");
        }
        assert!(matches!(normalize_host("example.com:80"), Cow::Borrowed(_)));
    }
}
