//! The TLS settings for the endpoints of a pool.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{Certificate, CertificateFiles};
use super::{TlsLoadError, TlsSetting, WatchedFile, root_store};
use crate::authority;

/// The name of HTTP/2 in ALPN (RFC 9113, section 3.2).
pub const HTTP2: &[u8] = b"h2";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The name that is sent (SNI) and must be in the certificate; `None`: the endpoint's host as written in the
    /// config.
    pub name: Option<String>,
    /// `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// The client certificate that is shown to endpoints.
    pub identity: Option<CertificateFiles>,
    /// `false`: any certificate is accepted.
    pub verify: bool,
    /// Offer HTTP/2 alone by ALPN, or else HTTP/1.1 alone.
    pub http2: bool,
}

/// The TLS settings of one pool. Sessions are resumed.
#[derive(Debug)]
pub struct ClientTls {
    pub settings: ClientSettings,
    pub config: Arc<ClientConfig>,
    /// All files that were read.
    pub watched_files: Vec<WatchedFile>,
}

/// Equal if endpoints would see no difference, and handshakes would have the same results.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.watched_files == other.watched_files
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    pub fn new(settings: ClientSettings) -> Result<Self, TlsLoadError> {
        let mut watched_files = Vec::new();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(&settings, &provider, &mut watched_files)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                TlsLoadError::new(TlsSetting::Ciphers, error.to_string(), "this is a fault in evenkeel")
            })?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &settings.identity {
            Some(files) => {
                let identity = Certificate::load(files)?;
                watched_files.extend(identity.watched_files);
                builder
                    .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if settings.http2 { HTTP2.to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Self { settings, config: Arc::new(config), watched_files })
    }

    /// The server name of an endpoint with that authority; `None`: there is no valid one.
    pub fn name(&self, authority: &str) -> Option<ServerName<'static>> {
        let host = match &self.settings.name {
            Some(name) => name,
            None => authority::host(authority).trim_start_matches('[').trim_end_matches(']'),
        };
        ServerName::try_from(host.to_owned()).ok()
    }
}

fn system_roots() -> Result<RootCertStore, TlsLoadError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let remedy = "install ca-certificates, or name the authorities with `ca`";
        let message = "the system has no authorities to trust";
        return Err(TlsLoadError::new(TlsSetting::Authority, message, remedy));
    }
    Ok(roots)
}

fn verifier(
    settings: &ClientSettings,
    provider: &Arc<CryptoProvider>,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsLoadError> {
    if !settings.verify {
        return Ok(Arc::new(AcceptAnyCertificate(provider.clone())));
    }
    let roots = match &settings.ca {
        Some(ca) => root_store::read(ca, TlsSetting::Authority, watched_files)?,
        None => system_roots()?,
    };
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    built.map(|verifier| verifier as _).map_err(|error| {
        TlsLoadError::new(
            TlsSetting::Authority,
            error.to_string(),
            "it must hold the CA certificates, as PEM",
        )
    })
}

/// Accepts any certificate, but still verifies that the endpoint has its key.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
