//! Whom a client's certificate names, as endpoints are told.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `CN=alice, O=Example`
    pub subject: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// The certificate itself (RFC 9440, section 2.2).
    pub der_base64: String,
}

impl Identity {
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let subject = X509Certificate::from_der(certificate)
            .map(|(_, parsed)| parsed.subject().to_string())
            .unwrap_or_default();
        let fingerprint = digest::digest(&digest::SHA256, certificate);
        Self {
            subject: subject
                .chars()
                .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
                .collect(),
            fingerprint: fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            der_base64: base64(certificate),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let (a, b, c) = (byte(chunk, 0), byte(chunk, 1), byte(chunk, 2));
        let group = (a << 16) | (b << 8) | c;
        for place in 0..4 {
            let digit = BASE64.get((group >> (18 - 6 * place)) as usize & 63).copied().unwrap_or(b'A');
            out.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

fn byte(chunk: &[u8], at: usize) -> u32 {
    chunk.get(at).copied().map_or(0, u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
