//! Compares header fields as endpoints may read them, which is laxer than the grammar.

/// Whether an endpoint may take two field names for the same: without case, and with `_` equal to `-`, because CGI
/// variables (WSGI, PHP, Rack) use `_` for both.
#[inline]
pub fn same_name(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| fold(*one) == fold(*other))
}

/// Whether a field describes only the connection. `Upgrade` and the other hop-by-hop fields are removed by the edits.
#[inline]
pub fn is_connection_specific(name: &[u8]) -> bool {
    match name.len() {
        10 => same_name(name, b"connection") || same_name(name, b"keep-alive"),
        14 => same_name(name, b"http2-settings"),
        16 => same_name(name, b"proxy-connection"),
        _ => false,
    }
}

/// Whether a field frames a body, or has the letters of such a name: `Content_Length` and `Transfer--Encoding` are no
/// framing here, but an endpoint may take them for it.
#[inline]
pub fn is_framing(name: &[u8]) -> bool {
    name.len() > 12 && (reads_like(name, b"contentlength") || reads_like(name, b"transferencoding"))
}

#[inline]
fn reads_like(name: &[u8], letters: &[u8]) -> bool {
    name.len() >= letters.len()
        && name
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .eq(letters.iter().copied())
}

/// Whether a field's value may consist of these bytes: no control bytes but the tab. Branchless, so that the compiler
/// vectorizes it.
pub fn is_valid_value(bytes: &[u8]) -> bool {
    let bad = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
    !bytes.iter().fold(false, |found, byte| found | bad(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_read_as() {
        assert!(same_name(b"X_Real-ip", b"x-real-ip") && !same_name(b"x-real-ip", b"xrealip"));
        for name in ["Keep_Alive", "HTTP2_Settings", "proxy-connection", "Connection"] {
            assert!(is_connection_specific(name.as_bytes()), "{name}");
        }
        for name in ["Content-Length", "content_length", "Transfer--Encoding", "TransferEncoding"] {
            assert!(is_framing(name.as_bytes()), "{name}");
        }
        for name in ["x-content-length", "content-lengths", "content-type", "upgrade"] {
            assert!(!is_framing(name.as_bytes()) && !is_connection_specific(name.as_bytes()), "{name}");
        }
    }
}
