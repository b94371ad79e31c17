//! Judges the certificates of endpoints: as webpki does, which knows no X.509 version 1 and takes no authority for a
//! server, and beside that by what the config says of them.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Which certificates are accepted.
#[derive(Debug)]
pub(super) enum Trust {
    /// Any, as long as the endpoint has its key.
    Any,
    /// Those that the authorities have issued, and the very ones that the config names as authorities: self-signed
    /// certificates of servers, mostly.
    Authorities { webpki: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>> },
}

#[derive(Debug)]
pub(super) struct EndpointVerifier {
    pub trust: Trust,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for EndpointVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Authorities { webpki, named } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        webpki.verify_server_cert(certificate, intermediates, name, ocsp, now).or_else(|error| {
            match named.iter().any(|named| named == certificate) {
                true => check_named(certificate, name, now).map(|()| ServerCertVerified::assertion()),
                false => Err(error),
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls12_signature(message, certificate, signed, known);
        self.unless_unreadable(verified, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls13_signature(message, certificate, signed, known);
        self.unless_unreadable(verified, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl EndpointVerifier {
    /// Verifies a signature with the key alone where webpki cannot read the certificate.
    fn unless_unreadable(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verified {
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) | Ok(_) => verified,
            Err(error @ Error::InvalidCertificate(_)) => {
                let known = self.provider.signature_verification_algorithms.mapping;
                let algorithms = known.iter().find(|(scheme, _)| *scheme == signed.scheme);
                let certificate = parsed(certificate)?;
                let key = &certificate.public_key().subject_public_key.data;
                let is_signed = algorithms.is_some_and(|(_, algorithms)| {
                    let mut all = algorithms.iter();
                    all.any(|algorithm| algorithm.verify_signature(key, message, signed.signature()).is_ok())
                });
                if is_signed { Ok(HandshakeSignatureValid::assertion()) } else { Err(error) }
            }
            other => other,
        }
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(certificate).map(|(_, parsed)| parsed);
    parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Checks name and time of a certificate that is trusted itself.
fn check_named(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = parsed(certificate)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (begin, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let fault = match now {
        _ if now < begin => CertificateError::NotValidYet,
        _ if now > end => CertificateError::Expired,
        _ if !is_named(&parsed, name) => CertificateError::NotValidForName,
        _ => return Ok(()),
    };
    Err(Error::InvalidCertificate(fault))
}

/// By the alternative names; by the common name only where there are none, as in all certificates of version 1.
fn is_named(certificate: &X509Certificate<'_>, name: &ServerName<'_>) -> bool {
    let is_of = |pattern: &str| match pattern.split_once('.') {
        Some(("*", parent)) => {
            name.to_str().split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        _ => pattern.eq_ignore_ascii_case(&name.to_str()),
    };
    match certificate.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().any(|one| match (one, name) {
            (GeneralName::DNSName(dns), ServerName::DnsName(_)) => is_of(dns),
            (GeneralName::IPAddress(bytes), ServerName::IpAddress(address)) => match address {
                rustls::pki_types::IpAddr::V4(address) => *bytes == address.as_ref(),
                rustls::pki_types::IpAddr::V6(address) => *bytes == address.as_ref(),
            },
            _ => false,
        }),
        _ => certificate.subject().iter_common_name().any(|common| common.as_str().is_ok_and(is_of)),
    }
}
