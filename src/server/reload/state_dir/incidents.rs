//! The incidents of a config file: what the flight recorder had when something went wrong.

use std::fs;
use std::path::{Path, PathBuf};

use super::{StateError, StateFiles, read_own, replace};
use crate::file;

/// Incidents that are kept; the oldest go.
pub const KEPT_MAX: usize = 10;

/// Larger than anything that is written.
const BYTES_MAX: u64 = 16 << 20;

const MARK: &str = ".incident-";
const ENDING: &str = ".jsonl";

impl StateFiles {
    /// Writes an incident, and removes the oldest if there are too many. `name`: sorted as text, names are in order of time.
    pub fn write_incident(&self, name: &str, lines: &[u8]) -> Result<PathBuf, StateError> {
        let path = self.directory.join(format!("{}{MARK}{name}{ENDING}", self.name));
        file::access(&path, || {
            replace(&self.directory, &path, lines, "incident")?;
            let all = of_name(&self.directory, &self.name);
            for old in all.iter().take(all.len().saturating_sub(KEPT_MAX)) {
                // Where that fails, the next time will do.
                let _ = fs::remove_file(old);
            }
            Ok(())
        })
        .map_err(|source| StateError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }

    /// The incidents' files, the oldest first.
    pub fn incidents(&self) -> Vec<PathBuf> {
        file::access(&self.directory, || of_name(&self.directory, &self.name))
    }

    /// What an incident's file has.
    pub fn read_incident(path: &Path) -> Result<String, StateError> {
        file::access(path, || read_own(path, BYTES_MAX))
            .map_err(|source| StateError::Unreadable { path: path.to_owned(), source })
    }
}

/// The incidents of the config file of that name in the directory, the oldest first.
pub(super) fn of_name(directory: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_own = |file: &str| {
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with(MARK) && rest.ends_with(ENDING))
    };
    let own = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_own));
    let mut paths: Vec<PathBuf> = own.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
