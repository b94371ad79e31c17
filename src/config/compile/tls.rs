//! Compiles the TLS settings of listeners and pools. Their files are read here, so that errors in them are reported
//! with all others.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::ServerName;

use super::Compiler;
use crate::config::decode::{List, OrOff, Spanned, shown};
use crate::config::model::{EndpointAddress, EndpointProtocol, EndpointSpec};
use crate::config::raw::{
    CertificateSection, ClientCertificateMode, ClientCertificatesSection, PoolTlsSection, TicketsSection,
    TlsSection,
};
use crate::config::scalar::Text;
use crate::config::source::Span;
use crate::tls::{
    Certificate, CertificateFiles, ClientCertificates, ClientSettings, ClientTls, ServerSettings, ServerTls,
    Tickets, TlsLoadError, TlsSetting,
};

impl Compiler<'_> {
    /// `None` if it is invalid, which has been reported.
    pub(super) fn tls(&mut self, section: &Spanned<TlsSection>, http2: bool) -> Option<Arc<ServerTls>> {
        let list = section.certificates.as_ref()?;
        if list.length == 0 {
            let remedy = "add one: [{ cert: /path/site.pem, key: /path/site.key }]";
            self.diagnostics.error(list.span, "TLS needs a certificate", remedy);
        }
        if let OrOff::On(TicketsSection { keys: Some(keys), .. }) = &section.session_tickets.value {
            self.warn_if_readable(&keys.0, keys.span);
        }
        let certificates: Vec<Certificate> =
            list.iter().filter_map(|certificate| self.certificate(certificate)).collect();
        let settings = ServerSettings {
            unknown_names: section.unknown_names.value,
            min_version: section.min_version.value,
            ciphers: texts(section.ciphers.as_ref()),
            key_exchange: texts(section.key_exchange.as_ref()),
            tickets: tickets(&section.session_tickets.value),
            client_certificates: client_certificates(&section.client_certificates.value),
            http2,
        };
        if certificates.is_empty() || certificates.len() < list.length {
            return None;
        }
        match ServerTls::new(settings, certificates) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => {
                let span = span_of(section, error.setting);
                self.diagnostics.error(span, error.message, error.remedy);
                None
            }
        }
    }

    /// TLS with the endpoints of a pool.
    pub(super) fn pool_tls(
        &mut self,
        section: &Spanned<PoolTlsSection>,
        endpoints: &[EndpointSpec],
        protocol: EndpointProtocol,
    ) -> Option<Arc<ClientTls>> {
        let identity = match (&section.cert, &section.key) {
            (Some(cert), Some(key)) => {
                self.warn_if_readable(&key.0, key.span);
                Some(CertificateFiles { cert: cert.0.clone(), key: key.0.clone(), ocsp: None })
            }
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => {
                let message = "a certificate and its key belong together";
                self.diagnostics.error(one.span, message, "write both `cert` and `key`, or neither");
                None
            }
        };
        if let (Some(ca), false) = (&section.ca, section.verify.0) {
            let message = "with `verify: false` no authority is asked, so `ca` means nothing";
            self.diagnostics.error(ca.span, message, "remove `ca`, or `verify`");
        }
        let is_unix = |spec: &EndpointSpec| matches!(spec.address, EndpointAddress::Unix(_));
        if section.name.is_none() && endpoints.iter().any(is_unix) {
            let message = "an endpoint on a unix socket has no name that its certificate could have";
            self.diagnostics.error(section.span, message, "add `name: NAME` to `tls`");
        }
        if let Some(name) = &section.name
            && ServerName::try_from(name.0.as_str()).is_err()
        {
            let message = format!("`{}` is no name that a certificate could have", shown(&name.0));
            self.diagnostics.error(name.span, message, "write a host name or an IP address");
        }
        let settings = ClientSettings {
            name: section.name.as_ref().map(|name| name.0.clone()),
            ca: section.ca.as_ref().map(|ca| ca.0.clone()),
            identity,
            verify: section.verify.0,
            http2: protocol == EndpointProtocol::Http2,
        };
        match ClientTls::new(settings) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(TlsLoadError { setting, message, remedy }) => {
                let written = match setting {
                    TlsSetting::Key => &section.key,
                    TlsSetting::Certificate => &section.cert,
                    _ => &section.ca,
                };
                self.diagnostics.error(
                    written.as_ref().map_or(section.span, |file| file.span),
                    message,
                    remedy,
                );
                None
            }
        }
    }

    fn certificate(&mut self, section: &CertificateSection) -> Option<Certificate> {
        let (cert, key) = (section.cert.as_ref()?, section.key.as_ref()?);
        let files = CertificateFiles {
            cert: cert.0.clone(),
            key: key.0.clone(),
            ocsp: section.ocsp.as_ref().map(|ocsp| ocsp.0.clone()),
        };
        match Certificate::load(&files) {
            Ok(certificate) => {
                // Only warnings: an expired certificate must not keep the other listeners from being served.
                for warning in certificate.warnings(SystemTime::now()) {
                    self.diagnostics.warn(
                        cert.span,
                        warning,
                        "replace the file; it is read again when it changes",
                    );
                }
                self.warn_if_readable(&key.0, key.span);
                Some(certificate)
            }
            Err(TlsLoadError { setting, message, remedy }) => {
                let span = match setting {
                    TlsSetting::Key => key.span,
                    TlsSetting::Ocsp => section.ocsp.as_ref().map_or(cert.span, |ocsp| ocsp.span),
                    _ => cert.span,
                };
                self.diagnostics.error(span, message, remedy);
                None
            }
        }
    }
}

/// Where the section has this setting.
fn span_of(section: &Spanned<TlsSection>, setting: TlsSetting) -> Span {
    let (ciphers, exchange) = (section.ciphers.as_ref(), section.key_exchange.as_ref());
    match setting {
        TlsSetting::Ciphers => ciphers.map_or(section.span, |list| list.span),
        TlsSetting::KeyExchange => exchange.map_or(section.span, |list| list.span),
        TlsSetting::TicketKeys => section.session_tickets.span,
        TlsSetting::ClientAuthority => section.client_certificates.span,
        TlsSetting::Certificate | TlsSetting::Key | TlsSetting::Ocsp | TlsSetting::Authority => section.span,
    }
}

fn texts(list: Option<&Spanned<List<Text>>>) -> Vec<String> {
    list.into_iter().flat_map(|list| list.iter()).map(|word| word.0.clone()).collect()
}

fn tickets(written: &OrOff<TicketsSection>) -> Tickets {
    match written {
        OrOff::Off => Tickets::Off,
        OrOff::On(section) => Tickets::On {
            lifetime: section.lifetime.0,
            keys: section.keys.as_ref().map(|file| file.0.clone()),
        },
    }
}

fn client_certificates(written: &OrOff<ClientCertificatesSection>) -> ClientCertificates {
    match written {
        OrOff::On(ClientCertificatesSection { ca: Some(ca), mode, .. }) => ClientCertificates::On {
            ca: ca.0.clone(),
            required: mode.value == ClientCertificateMode::Required,
        },
        _ => ClientCertificates::Off,
    }
}
