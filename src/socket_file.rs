//! The file of a unix socket that this process listens on.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Removes the file when it is dropped, unless another socket has taken its place.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Call this right after the socket was bound: from then on the file is ours to remove, whatever fails next.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Left over, it is found stale by the next process.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = path.symlink_metadata().ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_our_own_file_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let _first = UnixListener::bind(&path).expect("a socket");
        let ours = SocketFile::of(&path);
        // Moved, not removed: the next file could get the same inode otherwise.
        std::fs::rename(&path, folder.path().join("b.sock")).expect("the file is there");
        let _second = UnixListener::bind(&path).expect("a socket");
        let theirs = SocketFile::of(&path);
        drop(ours);
        assert!(path.exists());
        drop(theirs);
        assert!(!path.exists());
    }
}
