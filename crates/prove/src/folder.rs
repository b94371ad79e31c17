//! The files of the proof: a folder of its own, with a copy of the binary that may be broken.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder for one run; removed when it is dropped, unless it was kept.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

/// What may stand where the binary should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Good,
    Crashes,
    Hangs,
    NotExecutable,
}

// === impl Folder ===

impl Folder {
    /// Makes it, with a copy of the running binary in it.
    pub(super) fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("evenkeel-prove-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self { path, kept: false };
        fs::copy(std::env::current_exe()?, folder.original())?;
        folder.put(Binary::Good)?;
        Ok(folder)
    }

    /// What the proxy is started from.
    pub(super) fn binary(&self) -> PathBuf {
        self.path.join("evenkeel")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path.join("evenkeel.yaml")
    }

    pub(super) fn admin(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// What the proxy wants to remember.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// What the proxy writes to its standard error and output.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("evenkeel.log")
    }

    /// Some other file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn original(&self) -> PathBuf {
        self.path.join("evenkeel.original")
    }

    /// Puts a binary in place in one step, as package managers do: what runs goes on with the file that it has.
    pub(super) fn put(&self, binary: Binary) -> io::Result<()> {
        let new = self.path.join("evenkeel.new");
        match binary {
            // Another file each time, as a new version would be.
            Binary::Good => drop(fs::copy(self.original(), &new)?),
            Binary::Crashes => script(&new, "kill -SEGV $$", 0o755)?,
            Binary::Hangs => script(&new, "exec sleep 3600", 0o755)?,
            Binary::NotExecutable => script(&new, "exit 0", 0o644)?,
        }
        fs::rename(new, self.binary())
    }

    /// The same for the config.
    pub(super) fn put_config(&self, yaml: &str) -> io::Result<()> {
        let new = self.path.join("evenkeel.yaml.new");
        fs::write(&new, yaml)?;
        fs::rename(new, self.config())
    }

    /// Leaves the config and the log for whoever wants to know more.
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
