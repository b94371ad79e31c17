//! The identity in a client's certificate, as headers tell it to endpoints.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::distinguished_name;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As RFC 4514 writes it, so that no two names look the same: `CN=alice,O=Example`.
    pub subject: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// The certificate itself (RFC 9440, section 2.2).
    pub der_base64: String,
}

impl Identity {
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let subject = X509Certificate::from_der(certificate)
            .map(|(_, parsed)| distinguished_name::to_text(parsed.subject()))
            .unwrap_or_default();
        let fingerprint = digest::digest(&digest::SHA256, certificate);
        Self {
            subject,
            fingerprint: fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            der_base64: BASE64_STANDARD.encode(certificate),
        }
    }
}
