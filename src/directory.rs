//! Directories that this process makes for its own files.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Makes it, and what is missing above it, unless it is there.
pub fn create(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(directory)
}

/// In a directory open to all, somebody else may have made ours first, to read or to replace what is in it.
pub fn is_private(directory: &Path) -> bool {
    let uid = nix::unistd::geteuid().as_raw();
    let is_ours =
        |found: std::fs::Metadata| found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0;
    directory.symlink_metadata().is_ok_and(is_ours)
}
