//! Binds the admin address: removes the socket of a dead process, and names what else is in the way.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::SockRef;

use super::address::{self, Address, RuntimeDirs, SocketDir};
use crate::config::{self, AdminListen};
use crate::directory;
use crate::socket_file::{self, BindFailure, Claim, SocketFile};

/// As long as the kernel allows: it caps this by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound admin address. Dropping it removes a unix socket's file.
#[derive(Debug)]
pub struct AdminSocket {
    pub(super) listener: Listener,
    pub(super) token: Option<config::Secret>,
    address: Address,
    instead_of: Option<PathBuf>,
    squatted: Option<PathBuf>,
    written: String,
}

/// What a successor is handed of an admin address.
#[derive(Debug)]
pub struct Share {
    socket: io::Result<OwnedFd>,
    written: String,
    claim: Option<Claim>,
}

#[derive(Debug)]
pub(super) enum Listener {
    /// With the file, which is removed when the socket is dropped.
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// Why there is no admin socket; one line, with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another process answers on the admin socket {}: stop it, or set another `admin: {{ listen: ... }}`", .0.display())]
    Taken(PathBuf),
    #[error("{} is in the way of the admin socket and is no socket: remove it, or set another `admin: {{ listen: ... }}`", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot create {} for the admin socket: {source}: create it for this user, or set another `admin: {{ listen: ... }}`", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("{} is not a directory of this user alone, so no admin socket goes there: remove it, or set another `admin: {{ listen: ... }}`", .0.display())]
    NotPrivate(PathBuf),
    #[error("cannot listen on the admin address {address}: {source}: set another `admin: {{ listen: ... }}`")]
    Listen { address: Address, source: io::Error },
    #[error("the admin address {0} is not loopback: set `admin: {{ token: ... }}`, or listen on 127.0.0.1")]
    NoToken(SocketAddr),
    #[error("the admin address of the process before this one cannot be taken over: {0}")]
    Inherit(io::Error),
}

// === impl AdminSocket ===

impl AdminSocket {
    /// Binds one of the addresses of the config.
    pub fn bind(config: &config::Admin, listen: &AdminListen) -> Result<AdminSocket, BindError> {
        Self::bind_in(config, listen, &RuntimeDirs::of_process())
    }

    pub(super) fn bind_in(
        config: &config::Admin,
        listen: &AdminListen,
        runtime_dirs: &RuntimeDirs,
    ) -> Result<AdminSocket, BindError> {
        let (listener, address) = match listen {
            AdminListen::Default => return bind_default(config, runtime_dirs),
            AdminListen::Unix(path) => {
                if let Some(directory) = path.parent() {
                    create_directory(directory, 0o750)?;
                }
                (bind_unix(path)?, Address::Unix(path.clone()))
            }
            AdminListen::Tcp(address) => {
                let (listener, bound) = bind_tcp(*address, config.token.is_some())?;
                (listener, Address::Tcp(bound))
            }
        };
        Ok(Self::new(config, listen, listener, address))
    }

    fn new(config: &config::Admin, listen: &AdminListen, listener: Listener, address: Address) -> Self {
        // A unix socket needs no token: the mode of its file is the check.
        let token = config.token.clone().filter(|_| matches!(address, Address::Tcp(_)));
        let written = listen.to_string();
        Self { listener, token, address, instead_of: None, squatted: None, written }
    }

    /// The socket of the predecessor, whose config has the same address, and which still answers on it for now.
    pub fn inherited(
        config: &config::Admin,
        listen: &AdminListen,
        socket: OwnedFd,
    ) -> Result<AdminSocket, BindError> {
        if let AdminListen::Tcp(address) = listen {
            check_token(*address, config.token.is_some())?;
        }
        let inherited = || {
            let local = SockRef::from(&socket).local_addr()?;
            Ok(match local.as_pathname() {
                Some(path) => {
                    let listener = UnixListener::from(socket.try_clone()?);
                    (Listener::Unix(listener, SocketFile::of_another(path)), Address::Unix(path.to_owned()))
                }
                None => {
                    let listener = TcpListener::from(socket.try_clone()?);
                    let address = listener.local_addr()?;
                    (Listener::Tcp(listener), Address::Tcp(address))
                }
            })
        };
        let (listener, address) = inherited().map_err(BindError::Inherit)?;
        Ok(Self::new(config, listen, listener, address))
    }

    /// The claim to the file of a unix socket.
    pub fn claim(&self) -> Option<Claim> {
        match &self.listener {
            Listener::Unix(_, file) => Some(file.claim()),
            Listener::Tcp(_) => None,
        }
    }

    pub fn share(&self) -> Share {
        let socket = match &self.listener {
            Listener::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
            Listener::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
        };
        Share { socket, written: self.written.clone(), claim: self.claim() }
    }

    /// As bound: port 0 is resolved.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The path of the default socket, if another process has it and this one's path contains its pid. To be logged.
    pub fn instead_of(&self) -> Option<&Path> {
        self.instead_of.as_deref()
    }

    /// The usual directory, if another user has it and the socket is in another directory. To be logged.
    pub fn squatted(&self) -> Option<&Path> {
        self.squatted.as_deref()
    }
}

impl Share {
    pub fn socket(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Ok(socket) => socket.try_clone(),
            Err(error) => Err(error.kind().into()),
        }
    }

    /// The address as written in the config.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Leaves the socket's file to the successor.
    pub fn release(&self) {
        self.claim.iter().for_each(Claim::release);
    }
}

/// Binds in the first directory where that is possible; a living process's socket is left alone.
fn bind_default(config: &config::Admin, runtime_dirs: &RuntimeDirs) -> Result<AdminSocket, BindError> {
    let (mut squatted, mut refused) = (None, None);
    for dir in runtime_dirs.socket_dirs() {
        match bind_in_dir(&dir) {
            Ok((listener, path, instead_of)) => {
                let socket = AdminSocket::new(config, &AdminListen::Default, listener, Address::Unix(path));
                return Ok(AdminSocket { instead_of, squatted, ..socket });
            }
            Err(BindError::NotPrivate(path)) => squatted = squatted.or(Some(path)),
            Err(error) if error.is_about_the_directory() => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    let squatted = squatted.map(BindError::NotPrivate);
    Err(squatted.or(refused).unwrap_or_else(|| BindError::NotPrivate(runtime_dirs.tmp.clone())))
}

fn bind_in_dir(dir: &SocketDir) -> Result<(Listener, PathBuf, Option<PathBuf>), BindError> {
    create_directory(&dir.directory, if dir.private { 0o700 } else { 0o750 })?;
    if dir.is_squatted() {
        return Err(BindError::NotPrivate(dir.directory.clone()));
    }
    let path = dir.directory.join(address::SOCKET);
    match bind_unix(&path) {
        Err(BindError::Taken(taken)) => {
            let own = dir.directory.join(address::numbered(std::process::id()));
            Ok((bind_unix(&own)?, own, Some(taken)))
        }
        bound => Ok((bound?, path, None)),
    }
}

fn create_directory(directory: &Path, mode: u32) -> Result<(), BindError> {
    directory::create(directory, mode)
        .map_err(|source| BindError::Directory { path: directory.to_owned(), source })
}

fn bind_unix(path: &Path) -> Result<Listener, BindError> {
    let failed = |source| BindError::Listen { address: Address::Unix(path.to_owned()), source };
    let (socket, file) = socket_file::bind(path).map_err(|failure| match failure {
        BindFailure::InUse => BindError::Taken(path.to_owned()),
        BindFailure::NotASocket => BindError::NotASocket(path.to_owned()),
        BindFailure::System(source) => failed(source),
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    Ok(Listener::Unix(socket.into(), file))
}

fn check_token(address: SocketAddr, has_token: bool) -> Result<(), BindError> {
    match has_token || address.ip().to_canonical().is_loopback() {
        true => Ok(()),
        false => Err(BindError::NoToken(address)),
    }
}

fn bind_tcp(address: SocketAddr, has_token: bool) -> Result<(Listener, SocketAddr), BindError> {
    check_token(address, has_token)?;
    let failed = |source| BindError::Listen { address: Address::Tcp(address), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((Listener::Tcp(listener), bound))
}

// === impl BindError ===

impl BindError {
    /// Whether another directory may do: this one cannot be used.
    pub fn is_about_the_directory(&self) -> bool {
        match self {
            BindError::Directory { .. } | BindError::NotPrivate(_) => true,
            BindError::Listen { source, .. } => {
                matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
            }
            _ => false,
        }
    }
}
