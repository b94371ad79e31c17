//! The result of a TLS handshake with a client.

use std::sync::Arc;

use rustls::{ProtocolVersion, ServerConnection};

use super::certificate_resolver::CertificateResolver;
use super::identity::Identity;
use super::server::ServerTls;

/// A client's TLS session after the handshake.
#[derive(Debug)]
pub struct Secured {
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// HTTP/2 was negotiated by ALPN.
    pub http2: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The identity in the client's certificate.
    pub client: Option<Identity>,
    resolver: Arc<CertificateResolver>,
}

impl Secured {
    pub fn of(session: &ServerConnection, tls: &ServerTls) -> Self {
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        Self {
            server_name: session.server_name().map(|name| name.to_ascii_lowercase().into()),
            http2: session.alpn_protocol() == Some(b"h2"),
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            client: certificate.map(Identity::of),
            resolver: tls.resolver.clone(),
        }
    }

    /// Whether a request for this host may use this connection: the host has the certificate that the client was shown.
    /// Without SNI, any host may be requested.
    pub fn is_for(&self, authority: &str) -> bool {
        let Some(name) = &self.server_name else { return true };
        let host = without_port(authority);
        **name == *host
            || self.resolver.find(Some(name)) == self.resolver.find(Some(&host.to_ascii_lowercase()))
    }
}

/// The host of an authority: `a.example` of `a.example:8443`.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_host() {
        for (authority, host) in [
            ("a.example:80", "a.example"),
            ("a.example", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}
