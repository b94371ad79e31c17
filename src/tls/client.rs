//! The TLS settings for the endpoints of a pool.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::certificate::{Certificate, CertificateFiles, read_certificates};
use super::endpoint_verifier::{EndpointVerifier, Trust};
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
        let trust = trust(&settings, &provider, &mut watched_files)?;
        let verifier = Arc::new(EndpointVerifier { trust, provider: provider.clone() });
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

fn trust(
    settings: &ClientSettings,
    provider: &Arc<CryptoProvider>,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<Trust, TlsLoadError> {
    if !settings.verify {
        return Ok(Trust::Any);
    }
    let (named, roots) = match &settings.ca {
        Some(ca) => {
            let named = read_certificates(ca, TlsSetting::Authority, watched_files)?;
            let roots = root_store::of(ca, TlsSetting::Authority, &named)?;
            (named, roots)
        }
        None => (Vec::new(), system_roots()?),
    };
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    built.map(|webpki| Trust::Authorities { webpki, named }).map_err(|error| {
        TlsLoadError::new(
            TlsSetting::Authority,
            error.to_string(),
            "it must hold the CA certificates, as PEM",
        )
    })
}
