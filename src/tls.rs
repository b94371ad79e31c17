//! TLS: certificates and keys as they lie on the disk, and what is made of them for listeners and pools.
//!
//! Nothing here knows a connection; whoever has one asks [`ServerTls`] for the settings and makes a [`Secured`] of it.

mod certificate;
mod client;
mod identity;
mod resolver;
mod secured;
mod server;
mod source;
mod tickets;

pub use certificate::{Certificate, CertificateFiles, CertificateStatus};
pub use client::{ClientSettings, ClientTls, HTTP2};
pub use identity::Identity;
pub use resolver::{Resolver, UnknownNames};
pub use secured::{Secured, without_port};
pub use server::{ClientCertificates, ServerSettings, ServerTls, Tickets, Version};
pub use source::Source;

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
pub struct LoadError {
    pub part: Part,
    pub message: String,
    pub remedy: String,
}

impl LoadError {
    fn new(part: Part, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { part, message: message.into(), remedy: remedy.into() }
    }
}
