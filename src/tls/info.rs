//! The result of a TLS handshake with a client.

use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use super::certificate_resolver::CertificateResolver;
use super::identity::Identity;
use super::server::ServerTls;
use crate::authority;

/// A client's TLS session after the handshake.
#[derive(Debug)]
pub struct TlsInfo {
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// HTTP/2 was negotiated by ALPN.
    pub http2: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The handshake took up an earlier session.
    pub resumed: bool,
    /// The identity in the client's certificate.
    pub client: Option<Identity>,
    resolver: Arc<CertificateResolver>,
}

impl TlsInfo {
    pub fn of(session: &ServerConnection, tls: &ServerTls) -> Self {
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        Self {
            server_name: session.server_name().map(|name| name.to_ascii_lowercase().into()),
            http2: session.alpn_protocol() == Some(b"h2"),
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            client: certificate.map(Identity::of),
            resolver: tls.resolver.clone(),
        }
    }

    /// As after the handshake of a client without a certificate, for somebody who only asks. `name`: its SNI; empty: none.
    pub fn asked(name: &str, http2: bool, tls: &ServerTls) -> Self {
        let server_name = (!name.is_empty()).then(|| name.into());
        let resolver = tls.resolver.clone();
        Self { server_name, http2, version: "TLSv1.3", resumed: false, client: None, resolver }
    }

    /// Whether a request for this host may use this connection: the host has the certificate that the client was shown.
    /// Without SNI, any host may be requested.
    pub fn is_for(&self, authority: &str) -> bool {
        let Some(name) = &self.server_name else { return true };
        // In the form that routing compares, so that no other route is found than the check was made for.
        let host = authority::normalize_host(authority);
        **name == *host || self.resolver.find(Some(name)) == self.resolver.find(Some(&host))
    }
}
