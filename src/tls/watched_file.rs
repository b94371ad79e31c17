//! A file that was read, and whether it says something else by now.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::{Part, TlsLoadError};
use crate::file;

/// No certificate, key or list of authorities is larger.
const BYTES_MAX: u64 = 16 << 20;

/// It remembers one number for what the file said, which tells nothing about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFile {
    path: PathBuf,
    said: u64,
}

impl WatchedFile {
    pub(super) fn read(part: Part, path: &Path) -> Result<(Vec<u8>, Self), TlsLoadError> {
        match file::read(path, BYTES_MAX) {
            Ok(content) => {
                let said = number(&Ok(&content));
                Ok((content, Self { path: path.to_owned(), said }))
            }
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                Err(TlsLoadError::new(part, message, "name a file that the process may read"))
            }
        }
    }

    /// What it said when it was read.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// What it says now.
    pub fn says(&self) -> u64 {
        let content = file::read(&self.path, BYTES_MAX);
        number(&content.as_deref().map_err(std::io::Error::kind))
    }
}

fn number(content: &Result<&[u8], std::io::ErrorKind>) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
