//! The file of a unix socket that this process listens on.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use socket2::{Domain, SockAddr, Socket, Type};

/// Removes the file when it is dropped, unless another socket has replaced it, or the claim is another process's.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    claim: Claim,
}

/// Who may connect: what the file of a socket gets beyond what the system gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketAccess {
    /// `None`: as the umask has it.
    pub mode: Option<u32>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
}

/// Whether this process has to remove the file: in an upgrade a process hands its sockets over, and the files with
/// them.
#[derive(Debug, Clone)]
pub struct Claim(Arc<AtomicBool>);

/// Why a unix socket is not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindFailure {
    #[error("a process has a socket there")]
    InUse,
    #[error("a file that is no socket is there")]
    NotASocket,
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Binds a stream socket, which does not listen yet and does not block. The file of a socket on which no process
/// listens any more is replaced.
pub fn bind(path: &Path) -> Result<(Socket, SocketFile), BindFailure> {
    remove_stale(path)?;
    let socket = stream_socket()?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok((socket, SocketFile::of(path)))
}

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

    /// Sets who may connect, unless another socket has replaced the file. Call this before the socket listens, so that
    /// nobody connects who may not.
    pub fn set_access(&self, access: SocketAccess) -> io::Result<()> {
        let SocketAccess { mode, owner, group } = access;
        if identity(&self.path) != self.identity {
            return Ok(());
        }
        let named = |what: &'static str| {
            move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
        };
        if owner.is_some() || group.is_some() {
            lchown(&self.path, owner, group)
                .map_err(named("its file cannot be given to that owner or group, which takes root or CAP_CHOWN, or a group of this user's"))?;
        }
        match mode {
            Some(mode) => std::fs::set_permissions(&self.path, Permissions::from_mode(mode))
                .map_err(named("its file cannot have that mode")),
            None => Ok(()),
        }
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

fn stream_socket() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
}

fn remove_stale(path: &Path) -> Result<(), BindFailure> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => return Err(BindFailure::NotASocket),
        Ok(_) => {}
    }
    match stream_socket()?.connect(&SockAddr::unix(path)?) {
        Ok(()) => Err(BindFailure::InUse),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => remove(path),
            // Removed meanwhile.
            Some(libc::ENOENT) => Ok(()),
            // A full backlog, or a socket of another type.
            Some(libc::EAGAIN | libc::EPROTOTYPE) => Err(BindFailure::InUse),
            // Whether a process listens is not known.
            _ => Err(error.into()),
        },
    }
}

fn remove(path: &Path) -> Result<(), BindFailure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
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
    fn only_a_file_on_which_no_process_listens_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let address = SockAddr::unix(&path).expect("a short path");
        for kind in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            let living = Socket::new(Domain::UNIX, kind, None).expect("a socket");
            living.bind(&address).expect("a free path");
            if kind != Type::DGRAM {
                living.listen(0).expect("it is bound");
            }
            let mut clients = Vec::new();
            // The second time the backlog is full.
            for _ in 0..2 {
                assert!(matches!(bind(&path), Err(BindFailure::InUse)), "{kind:?}");
                assert!(path.exists(), "{kind:?}");
                let client = || Socket::new(Domain::UNIX, kind.nonblocking(), None).expect("a socket");
                clients.extend((0..10).map(|_| client()).filter(|client| client.connect(&address).is_ok()));
            }
            drop(living);
            drop(bind(&path).expect("it is stale"));
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "data").expect("written");
        std::os::unix::fs::symlink("nowhere", &link).expect("a symlink");
        for path in [file, link] {
            assert!(matches!(bind(&path), Err(BindFailure::NotASocket)));
            assert!(path.symlink_metadata().is_ok());
        }
    }

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
