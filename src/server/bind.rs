//! Binds the listeners before anything serves, so that a wrong address ends the start with a one-line error.
//!
//! Pingora would try for half a minute, panic in a task and leave a process that serves nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};

use crate::config::{ListenAddress, Listener};
use crate::net::socket::keepalive;
use crate::socket_file::{self, BindFailure, SocketAccess, SocketFile};

/// Unsent bytes that the kernel buffers for a connection (TCP_NOTSENT_LOWAT). By default these are megabytes: a
/// response would be written before its client reads any of it, `timeouts.write` would never begin, and a thousand slow
/// clients would use up the memory that the machine has for sockets.
const UNSENT: u32 = 64 * 1024;

/// As long as the kernel allows: it caps this by `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// An address as bound: port 0 is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl BoundAddress {
    /// `None`: a unix socket.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl std::fmt::Display for BoundAddress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct Bound {
    pub address: BoundAddress,
    pub socket: OwnedFd,
    /// The file of a unix socket.
    pub file: Option<SocketFile>,
    /// Opened by this process or a predecessor, not by a service manager, which would keep a copy.
    pub exclusive: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("listener {listener} cannot listen on {address}: {source}{remedy}")]
pub struct BindError {
    listener: Arc<str>,
    address: String,
    source: io::Error,
    remedy: String,
}

impl BindError {
    pub fn new(listener: &Listener, source: io::Error) -> Self {
        let (address, remedy) = (listener.address.to_string(), remedy(&source).to_owned());
        Self { listener: listener.name.clone(), address, source, remedy }
    }

    /// Explains that `listener` of this process has the address until the reload is done.
    pub fn behind(mut self, listener: &str) -> Self {
        self.remedy = format!(
            ": listener {listener} has it until this reload is done; remove that one in a reload before, or restart"
        );
        self
    }

    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

pub fn bind(listener: &Listener) -> Result<Bound, BindError> {
    let bound = match &listener.address {
        ListenAddress::Inet(address) => tcp(*address),
        ListenAddress::AnyAddress(port) => any_address(*port),
        ListenAddress::Unix(path) => unix(path, listener.socket),
    };
    bound.map_err(|source| BindError::new(listener, source))
}

/// Takes a socket that the predecessor has handed over. Until this process serves, the predecessor listens on it, too,
/// and owns the file of a unix socket.
pub fn handed(listener: &Listener, socket: OwnedFd, exclusive: bool) -> io::Result<Bound> {
    let mut bound = Bound { exclusive, ..activated(listener, socket, false)? };
    if let BoundAddress::Unix(path) = &bound.address {
        let file = SocketFile::of_another(path);
        // Not once this process serves: where it fails, the predecessor goes on.
        file.set_access(listener.socket)?;
        bound.file = Some(file);
    }
    Ok(bound)
}

/// Takes a socket from the service manager. `ours`: an evenkeel process stored it there before a crash, so its file is
/// this process's to remove, once it serves; a start that fails leaves the file for the next one.
pub fn activated(listener: &Listener, socket: OwnedFd, ours: bool) -> io::Result<Bound> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    if let ListenAddress::Unix(path) = &listener.address {
        let file = ours.then(|| SocketFile::of_another(path));
        file.as_ref().map_or(Ok(()), |file| file.set_access(listener.socket))?;
        return Ok(Bound {
            address: BoundAddress::Unix(path.clone()),
            socket: socket.into(),
            file,
            exclusive: false,
        });
    }
    let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    set_options(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(Bound { address: BoundAddress::Inet(local), socket: socket.into(), file: None, exclusive: false })
}

/// The address that a socket is bound to.
pub fn local(socket: &OwnedFd) -> Option<BoundAddress> {
    let address = SockRef::from(socket).local_addr().ok()?;
    match address.as_socket() {
        Some(address) => Some(BoundAddress::Inet(address)),
        None => address.as_pathname().map(|path| BoundAddress::Unix(path.to_owned())),
    }
}

fn tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]:PORT` is for IPv6 only, `:PORT` for IPv4 too.
        socket.set_only_v6(true)?;
    }
    listen(socket, address)
}

/// One socket for IPv6 and IPv4; for IPv4 alone where the machine has no IPv6.
fn any_address(port: u16) -> io::Result<Bound> {
    let dual = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.set_reuse_address(true)?;
        socket.set_only_v6(false)?;
        listen(socket, (Ipv6Addr::UNSPECIFIED, port).into())
    };
    match dual() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            tcp((Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
}

fn listen(socket: Socket, address: SocketAddr) -> io::Result<Bound> {
    set_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound { address: BoundAddress::Inet(local), socket: socket.into(), file: None, exclusive: true })
}

/// Accepted connections inherit these options, which saves system calls for each.
fn set_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

fn unix(path: &Path, access: SocketAccess) -> io::Result<Bound> {
    let (socket, file) = socket_file::bind(path).map_err(|failure| match failure {
        BindFailure::InUse => io::ErrorKind::AddrInUse.into(),
        BindFailure::NotASocket => io::Error::new(io::ErrorKind::AlreadyExists, failure.to_string()),
        BindFailure::System(error) => error,
    })?;
    file.set_access(access)?;
    socket.listen(BACKLOG)?;
    Ok(Bound {
        address: BoundAddress::Unix(path.to_owned()),
        socket: socket.into(),
        file: Some(file),
        exclusive: true,
    })
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::AddrInUse => {
            ": stop the process that uses it, or choose another address"
        }
        Some(libc::EACCES | libc::EPERM) => {
            ": ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; a unix socket needs a directory that \
             this user may write to, and no socket of another user at its path"
        }
        Some(libc::EADDRNOTAVAIL) => ": this machine does not have that address",
        Some(libc::EMFILE | libc::ENFILE) => ": raise the limit of open files (ulimit -n, LimitNOFILE=)",
        Some(libc::ENOENT) => ": create its directory first",
        _ => "",
    }
}
