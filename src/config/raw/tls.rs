//! TLS of listeners and pools.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::config::decode::{Fault, List, OrOff, Scalar, shown};
use crate::config::scalar::{Flag, Period, Text, word_fault, words};
use crate::config::section::section;
use crate::tls::{UnknownNames, Version};

section! {
    /// TLS with a listener's clients. The files are read at the start, at each reload, and again when they change.
    TlsSection "a listener's `tls`" {
        /// Certificates with their keys. A client gets the one for the name that it asks for (SNI): an exact name
        /// before a wildcard, which stands for one label; of several for one name, the first that the client can use.
        certificates: List<CertificateSection>, required "[{ cert: /path/site.pem, key: /path/site.key }]";
        /// Clients that ask for a name of no certificate, or for none: `default` gives them the first certificate,
        /// `refuse` ends the handshake with the alert `unrecognized_name`.
        unknown_names: UnknownNames = "default";
        /// The oldest version spoken: `1.2` or `1.3`.
        min_version: Version = "1.2";
        /// Cipher suites, best first, by their IANA names such as TLS13_AES_256_GCM_SHA384. Default: all that are safe.
        ciphers: List<Text>, optional;
        /// Key exchanges, best first: X25519MLKEM768 (post-quantum), X25519, secp256r1, secp384r1. Default: all of them,
        /// in this order.
        key_exchange: List<Text>, optional;
        /// Sessions that clients resume without a whole handshake. `off`: none.
        session_tickets: OrOff<TicketsSection> = {};
        /// Certificates of clients. `off`: they are not asked for one.
        client_certificates: OrOff<ClientCertificatesSection> = "off";
    }
}

section! {
    /// A certificate and its key.
    CertificateSection "a certificate" {
        /// PEM: the certificate, then those that lead to the authority's.
        cert: FilePath, required "/etc/evenkeel/tls/site.pem";
        /// PEM: its private key.
        key: FilePath, required "/etc/evenkeel/tls/site.key";
        /// DER: an OCSP response, which is stapled. evenkeel does not renew it. Default: none.
        ocsp: FilePath, optional;
    }
}

section! {
    /// Sessions that clients resume without a whole handshake.
    TicketsSection "`session_tickets`" {
        /// How long a session may be resumed.
        lifetime: Period = "12h";
        /// A file of keys that several machines share: lines of 64 hex digits; the first encrypts, all decrypt. Default:
        /// keys of the process's own, which rotate.
        keys: FilePath, optional;
    }
}

section! {
    /// Certificates of clients. Endpoints learn of them in `Client-Cert` (RFC 9440) and `X-Client-Cert-*`.
    ClientCertificatesSection "`client_certificates`" {
        /// PEM: the authorities whose certificates are accepted.
        ca: FilePath, required "/etc/evenkeel/tls/clients-ca.pem";
        /// `required`: no handshake without one; `optional`: clients without one are served, too.
        mode: ClientCertificateMode = "required";
    }
}

section! {
    /// TLS with the endpoints of a pool; `{}` sets every default.
    PoolTlsSection "a pool's `tls`" {
        /// The name that endpoints are asked for (SNI), and that their certificates must have. Default: the endpoint's
        /// host, as it is written.
        name: Text, optional;
        /// PEM: the authorities that endpoints' certificates must come from. Default: those of the system.
        ca: FilePath, optional;
        /// PEM: the certificate that endpoints are shown, where they ask for one. Default: none.
        cert: FilePath, optional;
        /// PEM: its private key.
        key: FilePath, optional;
        /// `false`: any certificate is accepted, so anybody between can read and change everything.
        verify: Flag = true;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCertificateMode {
    Optional,
    Required,
}

words!(ClientCertificateMode, "a mode" {
    "optional" => ClientCertificateMode::Optional,
    "required" => ClientCertificateMode::Required,
});

words!(UnknownNames, "a way with unknown names" {
    "default" => UnknownNames::Default,
    "refuse" => UnknownNames::Refuse,
});

impl Scalar for Version {
    const WHAT: &'static str = "a version of TLS";
    const REMEDY: &'static str = "write 1.2 or 1.3";

    fn parse(text: &str) -> Result<Version, Fault> {
        match text {
            "1.2" => Ok(Version::Tls12),
            "1.3" => Ok(Version::Tls13),
            "1.0" | "1.1" => {
                let message = format!("TLS {text} is not safe any more, and not spoken (RFC 8996)");
                Err(Fault::new(message, Self::REMEDY))
            }
            other => Err(word_fault(other, Self::WHAT, &["1.2", "1.3"])),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "enum": ["1.2", "1.3", 1.2, 1.3] })
    }
}

/// The absolute path of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Scalar for FilePath {
    const WHAT: &'static str = "a file";
    const REMEDY: &'static str = "write an absolute path such as /etc/evenkeel/tls/site.pem";

    fn parse(text: &str) -> Result<FilePath, Fault> {
        let is_file = text.starts_with('/') && !text.ends_with('/') && !text.contains('\0');
        if is_file {
            return Ok(FilePath(PathBuf::from(text)));
        }
        Err(Fault::new(format!("`{}` is not the absolute path of a file", shown(text)), Self::REMEDY))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^/" })
    }
}
