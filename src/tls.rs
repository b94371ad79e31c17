//! TLS: loads certificates and keys from files, and builds the rustls settings of listeners and pools from them.
//!
//! Nothing here handles connections. The code that does takes its settings from [`ServerTls`], and records the result
//! of a handshake in [`TlsInfo`].

mod certificate;
mod certificate_resolver;
mod client;
mod distinguished_name;
mod endpoint_verifier;
mod identity;
mod info;
mod root_store;
mod server;
mod tickets;
mod watched_file;

pub use certificate::{Certificate, CertificateFiles, CertificateStatus};
pub use certificate_resolver::{CertificateResolver, UnknownNames};
pub use client::{ClientSettings, ClientTls, HTTP2};
pub use identity::Identity;
pub use info::TlsInfo;
pub use server::{ClientCertificates, ServerSettings, ServerTls, Tickets, Version};
pub use watched_file::WatchedFile;

/// The TLS setting that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsSetting {
    Certificate,
    Key,
    Ocsp,
    Ciphers,
    KeyExchange,
    TicketKeys,
    /// The CA of client certificates.
    ClientAuthority,
    /// The CA of endpoints' certificates.
    Authority,
}

/// What is wrong with a setting, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsLoadError {
    pub setting: TlsSetting,
    pub message: String,
    pub remedy: String,
}

impl TlsLoadError {
    fn new(setting: TlsSetting, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { setting, message: message.into(), remedy: remedy.into() }
    }
}
