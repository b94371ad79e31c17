//! The temporary folder of a run, with the proxy's files and a copy of the binary that can be replaced by a broken one.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of one run. Dropping it removes the folder, except after [`Folder::keep`].
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

/// What is put in the binary's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Good,
    Crashes,
    Hangs,
    NotExecutable,
}

// === impl Folder ===

impl Folder {
    /// Creates the folder, with a copy of the running binary.
    pub(super) fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("evenkeel-prove-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self { path, kept: false };
        fs::copy(std::env::current_exe()?, folder.original())?;
        folder.put(Binary::Good)?;
        Ok(folder)
    }

    /// The file that the proxy is started from.
    pub(super) fn binary(&self) -> PathBuf {
        self.path.join("evenkeel")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path.join("evenkeel.yaml")
    }

    pub(super) fn admin(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// The proxy's state directory.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The file for the proxy's standard error and output.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("evenkeel.log")
    }

    /// Another file in the folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn original(&self) -> PathBuf {
        self.path.join("evenkeel.original")
    }

    /// Replaces the binary atomically, as package managers do: running processes keep the old file.
    pub(super) fn put(&self, binary: Binary) -> io::Result<()> {
        let new = self.path.join("evenkeel.new");
        match binary {
            // A new file each time, as for a new version.
            Binary::Good => drop(fs::copy(self.original(), &new)?),
            Binary::Crashes => script(&new, "kill -SEGV $$", 0o755)?,
            Binary::Hangs => script(&new, "exec sleep 3600", 0o755)?,
            Binary::NotExecutable => script(&new, "exit 0", 0o644)?,
        }
        fs::rename(new, self.binary())
    }

    /// Replaces the config atomically.
    pub(super) fn put_config(&self, yaml: &str) -> io::Result<()> {
        let new = self.path.join("evenkeel.yaml.new");
        fs::write(&new, yaml)?;
        fs::rename(new, self.config())
    }

    /// Leaves the config and the log on the disk, for the search for a failure's cause.
    pub(super) fn keep(&mut self) {
        self.kept = true;
        let _ = fs::remove_file(self.binary());
        let _ = fs::remove_file(self.original());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn script(path: &Path, command: &str, mode: u32) -> io::Result<()> {
    fs::write(path, format!("#!/bin/sh\n{command}\n"))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}
