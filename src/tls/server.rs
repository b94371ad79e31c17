//! The TLS settings of a listener, and the rustls config made from them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::certificate::Certificate;
use super::certificate_resolver::{CertificateResolver, UnknownNames};
use super::{TlsLoadError, TlsSetting, WatchedFile, root_store, tickets};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    pub unknown_names: UnknownNames,
    pub min_version: Version,
    /// By their IANA names, best first; empty: all that are safe.
    pub ciphers: Vec<String>,
    /// By their IANA names, best first; empty: all that are safe.
    pub key_exchange: Vec<String>,
    pub tickets: Tickets,
    pub client_certificates: ClientCertificates,
    /// HTTP/2 is offered beside HTTP/1.1.
    pub http2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tickets {
    Off,
    On {
        lifetime: Duration,
        /// `None`: the process makes its own keys.
        keys: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    Off,
    On { ca: PathBuf, required: bool },
}

#[derive(Debug)]
pub struct ServerTls {
    pub settings: ServerSettings,
    pub certificates: Vec<Certificate>,
    pub resolver: Arc<CertificateResolver>,
    pub config: Arc<ServerConfig>,
    /// All files that were read.
    pub watched_files: Vec<WatchedFile>,
}

/// Equal if clients would see no difference.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.watched_files == other.watched_files
    }
}

impl Eq for ServerTls {}

impl ServerTls {
    /// `certificates` is not empty.
    pub fn new(settings: ServerSettings, certificates: Vec<Certificate>) -> Result<Self, TlsLoadError> {
        let resolver = Arc::new(CertificateResolver::new(&certificates, settings.unknown_names));
        let mut watched_files: Vec<WatchedFile> =
            certificates.iter().flat_map(|certificate| certificate.watched_files.clone()).collect();
        let config = Arc::new(config(&settings, resolver.clone(), &mut watched_files)?);
        Ok(Self { settings, certificates, resolver, config, watched_files })
    }
}

fn config(
    settings: &ServerSettings,
    resolver: Arc<CertificateResolver>,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<ServerConfig, TlsLoadError> {
    let provider = Arc::new(provider(settings)?);
    let versions: &[&SupportedProtocolVersion] = match settings.min_version {
        Version::Tls12 => &[&version::TLS13, &version::TLS12],
        Version::Tls13 => &[&version::TLS13],
    };
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).map_err(
            |_| TlsLoadError::new(TlsSetting::Ciphers, "no cipher suite is left for the versions", REMEDY),
        )?;
    let builder = match verifier(settings, provider, watched_files)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols =
        if settings.http2 { vec![b"h2".into(), b"http/1.1".into()] } else { vec![b"http/1.1".into()] };
    config.ignore_client_order = true;
    // Sessions are resumed by tickets only, which clients store.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match &settings.tickets {
        Tickets::Off => config.send_tls13_tickets = 0,
        Tickets::On { lifetime, keys } => {
            config.ticketer = tickets::ticketer(*lifetime, keys.as_deref(), watched_files)?;
        }
    }
    Ok(config)
}

const REMEDY: &str = "remove `ciphers`, or write names such as TLS13_AES_256_GCM_SHA384";

fn provider(settings: &ServerSettings) -> Result<CryptoProvider, TlsLoadError> {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.ciphers.is_empty() {
        let known = std::mem::take(&mut provider.cipher_suites);
        provider.cipher_suites = select(&settings.ciphers, &known, |suite| format!("{:?}", suite.suite()))
            .map_err(|unknown| unknown.error(TlsSetting::Ciphers, "a cipher suite"))?;
    }
    if !settings.key_exchange.is_empty() {
        let known = std::mem::take(&mut provider.kx_groups);
        provider.kx_groups = select(&settings.key_exchange, &known, |group| format!("{:?}", group.name()))
            .map_err(|unknown| unknown.error(TlsSetting::KeyExchange, "a key exchange"))?;
    }
    Ok(provider)
}

struct Unknown {
    word: String,
    known: Vec<String>,
}

impl Unknown {
    fn error(self, setting: TlsSetting, what: &str) -> TlsLoadError {
        let remedy = format!("write some of {}", self.known.join(", "));
        TlsLoadError::new(setting, format!("`{}` is not {what}", self.word), remedy)
    }
}

/// The known items that `words` name, in the order of the words; case is ignored.
fn select<T: Copy>(words: &[String], known: &[T], name: impl Fn(&T) -> String) -> Result<Vec<T>, Unknown> {
    let find = |word: &String| {
        let found = known.iter().find(|one| name(one).eq_ignore_ascii_case(word)).copied();
        found.ok_or_else(|| Unknown { word: word.clone(), known: known.iter().map(&name).collect() })
    };
    words.iter().map(find).collect()
}

fn verifier(
    settings: &ServerSettings,
    provider: Arc<CryptoProvider>,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsLoadError> {
    let ClientCertificates::On { ca, required } = &settings.client_certificates else { return Ok(None) };
    let setting = TlsSetting::ClientAuthority;
    let roots = root_store::read(ca, setting, watched_files)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if *required { builder } else { builder.allow_unauthenticated() };
    builder.build().map(Some).map_err(|error| root_store::unusable(ca, setting, &error))
}
