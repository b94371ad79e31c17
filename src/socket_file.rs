//! The file of a unix socket that this process listens on.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Removes the file when it is dropped, unless another socket has replaced it, or the claim is another process's.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    claim: Claim,
}

/// Whether this process has to remove the file: in an upgrade a process hands its sockets over, and the files with
/// them.
#[derive(Debug, Clone)]
pub struct Claim(Arc<AtomicBool>);

impl SocketFile {
    /// Call this right after the socket was bound: from then on the file is ours to remove, whatever fails next.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: identity(path),
            claim: Claim(Arc::new(AtomicBool::new(true))),
        }
    }

    /// The file of a socket that another process still has; this process removes it only after [`Claim::own`].
    pub fn of_another(path: &Path) -> Self {
        let file = Self::of(path);
        file.claim.release();
        file
    }

    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }
}

impl Claim {
    pub fn own(&self) {
        self.0.store(true, SeqCst);
    }

    pub fn release(&self) {
        self.0.store(false, SeqCst);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.claim.0.load(SeqCst) && self.identity.is_some() && identity(&self.path) == self.identity {
            // If this fails, the next process finds the file stale.
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

    #[test]
    fn who_owns_the_file_removes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let _socket = UnixListener::bind(&path).expect("a socket");
        let (old, new) = (SocketFile::of(&path), SocketFile::of_another(&path));
        drop(SocketFile::of_another(&path));
        assert!(path.exists(), "a successor that fails leaves the file");
        new.claim().own();
        old.claim().release();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }
}
