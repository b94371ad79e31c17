//! The certificate authorities of a file.

use std::fmt::Display;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::certificate::read_certificates;
use super::{TlsLoadError, TlsSetting, WatchedFile};

/// The authorities of a PEM file, which `setting` names; at least one.
pub(super) fn read(
    path: &Path,
    setting: TlsSetting,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<RootCertStore, TlsLoadError> {
    of(path, setting, &read_certificates(path, setting, watched_files)?)
}

/// These authorities, which have been read from a file.
pub(super) fn of(
    path: &Path,
    setting: TlsSetting,
    authorities: &[CertificateDer<'static>],
) -> Result<RootCertStore, TlsLoadError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| unusable(path, setting, &error))?;
    }
    Ok(roots)
}

/// The error for authorities that rustls does not take.
pub(super) fn unusable(path: &Path, setting: TlsSetting, error: &impl Display) -> TlsLoadError {
    let message = format!("{} holds no authority that can be used: {error}", path.display());
    TlsLoadError::new(setting, message, "it must hold the CA certificates, as PEM")
}
