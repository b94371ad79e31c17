//! Admin addresses: their text form, and the places where the default socket may be.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::directory;

/// Where an admin server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no admin address: write unix:/path or 127.0.0.1:9900")]
pub struct AddressError(String);

/// The directories that the default address depends on. A value, so that tests can pass their own.
#[derive(Debug, Clone)]
pub struct RuntimeDirs {
    /// `/run`
    pub run: PathBuf,
    /// `$XDG_RUNTIME_DIR`
    pub runtime: Option<PathBuf>,
    /// `/tmp`
    pub tmp: PathBuf,
    /// `$HOME`
    pub home: Option<PathBuf>,
    pub uid: u32,
}

/// A directory where the default socket may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketDir {
    pub directory: PathBuf,
    /// The directory must belong to this user and be closed to others: it lies in `/tmp`, where everybody can write, or
    /// in the user's home.
    pub private: bool,
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with(['/', '.']).then_some(text));
        if let Some(path) = path {
            return match path.is_empty() {
                true => Err(AddressError(text.to_owned())),
                false => Ok(Address::Unix(path.into())),
            };
        }
        // A name such as localhost:9900 is resolved; everything else resolves to itself.
        let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        resolved.map(Address::Tcp).ok_or_else(|| AddressError(text.to_owned()))
    }
}

// === impl RuntimeDirs ===

impl RuntimeDirs {
    pub fn of_process() -> RuntimeDirs {
        let uid = nix::unistd::geteuid().as_raw();
        let absolute =
            |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        RuntimeDirs {
            run: "/run".into(),
            // `su` and `sudo -E` may keep another user's variable.
            runtime: absolute("XDG_RUNTIME_DIR").filter(|path| directory::is_of_user(path, uid)),
            tmp: "/tmp".into(),
            home: absolute("HOME"),
            uid,
        }
    }

    /// Where the default socket may be, best first.
    pub fn socket_dirs(&self) -> Vec<SocketDir> {
        let mut dirs = vec![SocketDir { directory: self.run.join("evenkeel"), private: false }];
        dirs.extend(
            self.runtime.as_ref().map(|path| SocketDir { directory: path.join("evenkeel"), private: false }),
        );
        dirs.push(SocketDir { directory: self.tmp.join(format!("evenkeel-{}", self.uid)), private: true });
        // Used where another user has made the one in `/tmp`.
        dirs.extend(
            self.home.as_ref().map(|path| SocketDir { directory: path.join(".evenkeel"), private: true }),
        );
        dirs
    }

    /// The existing sockets in these directories: the default ones, then those of processes that found the default one
    /// taken.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let (mut named, mut numbered) = (Vec::new(), Vec::new());
        for SocketDir { directory, .. } in self.socket_dirs().into_iter().filter(|dir| !dir.is_squatted()) {
            named.extend(Some(directory.join(SOCKET)).filter(|path| path.exists()));
            numbered.extend(numbered_sockets(&directory));
        }
        named.extend(numbered);
        named
    }
}

// === impl SocketDir ===

impl SocketDir {
    /// Whether the directory should be private, but exists and is not.
    pub fn is_squatted(&self) -> bool {
        self.private && self.directory.symlink_metadata().is_ok() && !directory::is_private(&self.directory)
    }
}

/// The default socket's file name.
pub(super) const SOCKET: &str = "admin.sock";

/// The file name for a process that finds [`SOCKET`] taken.
pub(super) fn numbered(pid: u32) -> String {
    format!("admin-{pid}.sock")
}

fn numbered_sockets(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let is_ours = |name: &str| name.starts_with("admin-") && name.ends_with(".sock");
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours))
        .collect();
    found.sort();
    found
}
