//! TLS: certificates and keys as they lie on the disk, and what is made of them for listeners and pools.
//!
//! Nothing here knows a connection; whoever has one asks [`ServerTls`] for the settings and makes a [`Secured`] of it.

mod certificate;
mod certificate_resolver;
mod client;
mod identity;
mod secured;
mod server;
mod tickets;
mod watched_file;

pub use certificate::{Certificate, CertificateFiles, CertificateStatus};
pub use certificate_resolver::{CertificateResolver, UnknownNames};
pub use client::{ClientSettings, ClientTls, HTTP2};
pub use identity::Identity;
pub use secured::{Secured, without_port};
pub use server::{ClientCertificates, ServerSettings, ServerTls, Tickets, Version};
pub use watched_file::WatchedFile;

/// Which of the things that were written is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Certificate,
    Key,
    Ocsp,
    Ciphers,
    KeyExchange,
    TicketKeys,
    ClientAuthority,
    /// Of endpoints.
    Authority,
}

/// What is wrong with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsLoadError {
    pub part: Part,
    pub message: String,
    pub remedy: String,
}

impl TlsLoadError {
    fn new(part: Part, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { part, message: message.into(), remedy: remedy.into() }
    }
}
