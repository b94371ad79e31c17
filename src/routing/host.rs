//! The normal form of hosts: lower case, without port and without one trailing dot.

use std::borrow::Cow;

/// The host of an authority in its normal form. Allocates only if it has capital letters.
pub(super) fn normal(authority: &str) -> Cow<'_, str> {
    let host = without_port(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    // No early exit, so that the compiler can vectorize the loop.
    let has_capitals = host.bytes().fold(false, |found, byte| found | byte.is_ascii_uppercase());
    if has_capitals { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}

fn without_port(authority: &str) -> &str {
    // Before an `@` is the userinfo.
    let authority = rsplit_once_byte(authority, b'@').map_or(authority, |(_, host)| host);
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    rsplit_once_byte(authority, b':').map_or(authority, |(host, _)| host)
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
    fn case_port_and_one_dot_do_not_matter() {
        for (authority, expected) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("example.com..", "example.com."),
            ("[::1]:80", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[::1", "[::1"),
            ("user@example.com", "example.com"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(normal(authority), expected, "{authority}");
        }
        assert!(matches!(normal("example.com:80"), Cow::Borrowed(_)));
    }
}
