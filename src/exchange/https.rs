//! What depends on TLS between client and proxy: misdirected requests, the redirect to HTTPS, HSTS, and the client's
//! certificate.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::edits::Edits;
use super::{Exchange, Failure, LocalReply};
use crate::authority;
use crate::config::HttpsRedirect;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const X_CLIENT_CERT_SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
const X_CLIENT_CERT_FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");

impl Exchange {
    /// Refuses a host whose certificate the client has not seen (RFC 9110, section 15.5.20).
    pub(super) fn check_certificate(&self, host: &str) -> Result<(), Failure> {
        match &self.tls_info {
            Some(info) if !info.is_for(host) => Err(Failure::Misdirected),
            _ => Ok(()),
        }
    }

    /// The redirect to HTTPS, where the listener asks for it and the client has not come by it.
    pub(super) fn redirect_to_https(&mut self, path: &str) -> Option<Result<LocalReply, Failure>> {
        let HttpsRedirect { port, except } = self.listener().redirect_https.as_ref()?;
        if self.sender.scheme != "http" || except.iter().any(|prefix| is_below(path, prefix)) {
            return None;
        }
        let host = self.sender.host(self.record.text.host());
        if host.is_empty() {
            return Some(Err(Failure::MissingHost));
        }
        let Some(location) = self.https_location(host, *port) else { return Some(Err(Failure::BadRequest)) };
        self.record.unusual_mut().action = Some("redirect_https");
        let text = &self.record.text;
        let mut reply =
            LocalReply::new(StatusCode::PERMANENT_REDIRECT, Some(text.accept()), text.request_id());
        reply.headers.push((header::LOCATION, location));
        Some(Ok(reply))
    }

    /// The request's URL with `https`.
    fn https_location(&self, host: &str, port: u16) -> Option<HeaderValue> {
        let host = authority::host(host);
        let target = self.record.text.target();
        // Of a target in absolute form, only path and query: the host is known.
        let path = target
            .split_once("://")
            .map_or(target, |(_, rest)| rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/"));
        let path = if path == "*" { "/" } else { path };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        HeaderValue::from_str(&format!("https://{host}{port}{slash}{path}")).ok()
    }

    /// `Strict-Transport-Security`, which means nothing without TLS (RFC 6797, section 7.2).
    pub(super) fn strict_transport(&self) -> Option<&str> {
        let https = self.sender.scheme == "https";
        self.listener().hsts.as_deref().filter(|_| https)
    }

    /// Sets the fields that tell the endpoint about the client's certificate.
    pub(super) fn set_client_cert_fields(&self, edits: &mut Edits) {
        let Some(client) = self.tls_info.as_ref().and_then(|info| info.client.as_ref()) else { return };
        edits.set_with(CLIENT_CERT, |value| {
            // RFC 9440, section 2.2: a byte sequence of RFC 8941.
            for part in [":", &client.der_base64, ":"] {
                value.extend_from_slice(part.as_bytes());
            }
        });
        edits.remove(CLIENT_CERT_CHAIN);
        edits.set(X_CLIENT_CERT_SUBJECT, &client.subject);
        edits.set(X_CLIENT_CERT_FINGERPRINT, &client.fingerprint);
    }
}

/// Whether the path begins with whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
