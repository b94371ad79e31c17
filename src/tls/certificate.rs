//! A certificate with its key, read from files and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{TlsLoadError, TlsSetting, WatchedFile};

/// Certificates that expire within this time cause a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(21 * 24 * 60 * 60);

const PEM: &str = "it must be PEM, as it comes from the authority, and whole";

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ocsp: Option<PathBuf>,
}

/// A certificate as operators see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The first host that it names.
    pub name: String,
    pub file: String,
    /// Since the Unix epoch, in seconds.
    pub expires: f64,
}

#[derive(Debug, Clone)]
pub struct Certificate {
    pub files: CertificateFiles,
    pub watched_files: Vec<WatchedFile>,
    pub key: Arc<CertifiedKey>,
    /// DNS names in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Each certificate of the file but the first is the issuer of the one before it.
    in_order: bool,
    /// The file has the issuer's certificate, or the certificate is self-signed.
    has_issuer: bool,
}

impl Certificate {
    pub fn load(files: &CertificateFiles) -> Result<Self, TlsLoadError> {
        let mut watched_files = Vec::new();
        let chain = read_certificates(&files.cert, TlsSetting::Certificate, &mut watched_files)?;
        let key = private_key(&files.key, &mut watched_files)?;
        let ocsp = files.ocsp.as_deref().map(|path| ocsp(path, &mut watched_files)).transpose()?;
        let signer = any_supported_type(&key).map_err(|_| {
            let message = format!("the key in {} is of no kind that is used", files.key.display());
            TlsLoadError::new(TlsSetting::Key, message, "use an ECDSA, RSA or Ed25519 key")
        })?;
        let facts = Facts::of(&chain, &files.cert)?;
        let has_key = has_key(&chain, &signer.public_key());
        let mut certified = CertifiedKey::new(chain, signer);
        certified.ocsp = ocsp;
        if !has_key {
            let message = format!(
                "the key in {} is not that of the certificate in {}",
                files.key.display(),
                files.cert.display()
            );
            return Err(TlsLoadError::new(
                TlsSetting::Key,
                message,
                "name the two files that belong together",
            ));
        }
        let Facts { names, not_before, not_after, in_order, has_issuer } = facts;
        Ok(Self {
            files: files.clone(),
            watched_files,
            key: Arc::new(certified),
            names,
            not_before,
            not_after,
            in_order,
            has_issuer,
        })
    }

    /// Problems that do not prevent the certificate's use.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let name = self.name();
        let mut warnings = Vec::new();
        if self.not_after <= now {
            warnings.push(format!("the certificate of {name} has expired"));
        } else if let Some(days) = self.near_its_end(now) {
            warnings.push(format!("the certificate of {name} expires in {days} days"));
        }
        if self.not_before > now {
            warnings.push(format!("the certificate of {name} is not valid yet"));
        }
        if !self.in_order {
            warnings.push(format!(
                "the certificates behind that of {name} are not in order: issuers must follow"
            ));
        } else if !self.has_issuer {
            warnings.push(format!(
                "the certificate of {name} comes without its issuer's: many clients will refuse it"
            ));
        }
        if self.names.is_empty() {
            warnings.push("the certificate names no host".to_owned());
        }
        warnings
    }

    /// Whole days until the certificate expires, if it expires soon.
    pub fn near_its_end(&self, now: SystemTime) -> Option<u64> {
        let left = self.not_after.duration_since(now).ok()?;
        (left <= EXPIRY_WARNING).then_some(left.as_secs() / 86_400)
    }

    pub fn status(&self) -> CertificateStatus {
        let expires = self.not_after.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        CertificateStatus {
            name: self.name().to_owned(),
            file: self.files.cert.display().to_string(),
            expires,
        }
    }

    /// The first host that the certificate names, for messages.
    pub fn name(&self) -> &str {
        self.names.first().map_or("no host", |name| name)
    }
}

/// Whether the first certificate is that of the key. Of any version, which rustls does not read.
fn has_key(chain: &[CertificateDer<'_>], key: &Option<SubjectPublicKeyInfoDer<'_>>) -> bool {
    let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    leaf.zip(key.as_ref()).is_some_and(|((_, leaf), key)| leaf.public_key().raw == key.as_ref())
}

/// Properties read from the certificates.
struct Facts {
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    in_order: bool,
    has_issuer: bool,
}

impl Facts {
    fn of(chain: &[CertificateDer<'_>], path: &Path) -> Result<Self, TlsLoadError> {
        let parsed: Result<Vec<_>, _> =
            chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed)).collect();
        let unreadable = || {
            let message = format!("{} holds something that is no certificate", path.display());
            TlsLoadError::new(TlsSetting::Certificate, message, PEM)
        };
        let parsed = parsed.map_err(|_| unreadable())?;
        let leaf = parsed.first().ok_or_else(unreadable)?;
        let follows = |pair: &[X509Certificate<'_>]| match pair {
            [one, next] => one.issuer() == next.subject(),
            _ => true,
        };
        Ok(Self {
            names: names(leaf),
            not_before: time(leaf.validity().not_before.timestamp()),
            not_after: time(leaf.validity().not_after.timestamp()),
            in_order: parsed.windows(2).all(follows),
            has_issuer: parsed.len() > 1 || leaf.issuer() == leaf.subject(),
        })
    }
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn time(timestamp: i64) -> SystemTime {
    let seconds = u64::try_from(timestamp).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// The certificates of a PEM file, at least one.
pub(super) fn read_certificates(
    path: &Path,
    setting: TlsSetting,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<Vec<CertificateDer<'static>>, TlsLoadError> {
    let (text, source) = WatchedFile::read(setting, path)?;
    watched_files.push(source);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsLoadError::new(setting, format!("{} holds no certificate", path.display()), PEM)),
    }
}

fn private_key(
    path: &Path,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<PrivateKeyDer<'static>, TlsLoadError> {
    let (text, source) = WatchedFile::read(TlsSetting::Key, path)?;
    watched_files.push(source);
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let remedy = "it must be PEM, whole, and without a passphrase";
        TlsLoadError::new(TlsSetting::Key, format!("{} holds no private key", path.display()), remedy)
    })
}

fn ocsp(path: &Path, watched_files: &mut Vec<WatchedFile>) -> Result<Vec<u8>, TlsLoadError> {
    let (response, source) = WatchedFile::read(TlsSetting::Ocsp, path)?;
    watched_files.push(source);
    // The tag of a DER SEQUENCE (RFC 6960, section 4.2.1).
    if response.first() != Some(&0x30) {
        let message = format!("{} holds no OCSP response", path.display());
        return Err(TlsLoadError::new(
            TlsSetting::Ocsp,
            message,
            "it must be DER, as `openssl ocsp -respout` writes it",
        ));
    }
    Ok(response)
}
