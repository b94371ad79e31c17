//! A file that TLS settings were loaded from, and whether its content has changed since.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::{TlsLoadError, TlsSetting};
use crate::file;

/// More than any certificate, key or list of authorities takes.
const BYTES_MAX: u64 = 16 << 20;

/// Keeps only a hash of the content, which reveals nothing about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFile {
    path: PathBuf,
    loaded: u64,
}

impl WatchedFile {
    pub(super) fn read(setting: TlsSetting, path: &Path) -> Result<(Vec<u8>, Self), TlsLoadError> {
        match file::read(path, BYTES_MAX) {
            Ok(content) => {
                let file = Self::with(path, &content);
                Ok((content, file))
            }
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                Err(TlsLoadError::new(setting, message, "name a file that the process may read"))
            }
        }
    }

    /// A file that has been read.
    pub fn with(path: &Path, content: &[u8]) -> Self {
        Self { path: path.to_owned(), loaded: hash(&Ok(content)) }
    }

    /// The hash of the content that was loaded.
    pub fn loaded_hash(&self) -> u64 {
        self.loaded
    }

    /// The hash of the present content; a read error counts as content.
    pub fn current_hash(&self) -> u64 {
        let content = file::read(&self.path, BYTES_MAX);
        hash(&content.as_deref().map_err(std::io::Error::kind))
    }
}

fn hash(content: &Result<&[u8], std::io::ErrorKind>) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
