//! The key and its proof (`Sec-WebSocket-Accept`) of a WebSocket handshake (RFC 6455, section 4.2.2).

use aws_lc_rs::{digest, rand};
use base64::prelude::{BASE64_STANDARD, Engine};

/// Appended to the client's key before it is hashed.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A random key; `None`: the system's random generator has failed.
pub fn fresh_key() -> Option<String> {
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).ok()?;
    Some(BASE64_STANDARD.encode(nonce))
}

/// The `Sec-WebSocket-Accept` that answers a client's key.
pub fn accept_key(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, section 1.3.
    #[test]
    fn the_handshake_of_the_standard() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn no_key_comes_twice() {
        let keys = [fresh_key().expect("a key"), fresh_key().expect("a key")];
        assert!(keys[0] != keys[1] && keys.iter().all(|key| key.len() == 24), "{keys:?}");
    }
}
