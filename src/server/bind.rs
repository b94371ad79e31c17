//! Binds the listeners before anything serves, so that what is wrong with an address ends the start with one line.
//!
//! Pingora would try for half a minute, panic in a task and leave a process that serves nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Socket, Type};

use crate::config::{ListenAddress, Listener};
use crate::proxy::BoundAddress;

/// Bytes that the kernel keeps for a client which does not take them. Without a limit these are megabytes: a response
/// would be done with before its client has read any of it, `timeouts.write` would never begin, and a thousand such
/// clients would take what memory all sockets of the machine have together.
const UNSENT: u32 = 128 * 1024;

/// As long as the kernel allows: it caps this by `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// A socket that listens.
#[derive(Debug)]
pub struct Bound {
    pub listener: Arc<str>,
    pub address: BoundAddress,
    pub socket: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
#[error("listener {listener} cannot listen on {address}: {source}{remedy}")]
pub struct BindError {
    listener: Arc<str>,
    address: String,
    source: io::Error,
    remedy: &'static str,
}

pub fn bind(listener: &Listener) -> Result<Bound, BindError> {
    let (written, bound) = match &listener.address {
        ListenAddress::Inet(address) => (address.to_string(), tcp(*address)),
        ListenAddress::AnyPort(port) => (format!(":{port}"), any_address(*port)),
        ListenAddress::Unix(path) => (format!("unix:{}", path.display()), unix(path)),
    };
    match bound {
        Ok((socket, address)) => Ok(Bound { listener: listener.name.clone(), address, socket }),
        Err(source) => {
            let remedy = remedy(&source);
            Err(BindError { listener: listener.name.clone(), address: written, source, remedy })
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<(OwnedFd, BoundAddress)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Only `[::]` as written in `:PORT` is for IPv4 too.
        socket.set_only_v6(true)?;
    }
    listen(socket, address)
}

/// IPv6 and IPv4 by one socket; IPv4 alone where the machine has no IPv6.
fn any_address(port: u16) -> io::Result<(OwnedFd, BoundAddress)> {
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

fn listen(socket: Socket, address: SocketAddr) -> io::Result<(OwnedFd, BoundAddress)> {
    socket.bind(&address.into())?;
    // What is accepted inherits it.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.listen(BACKLOG)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket.into(), BoundAddress::Inet(local)))
}

/// A file that nobody listens on any more is in nobody's way.
fn unix(path: &Path) -> io::Result<(OwnedFd, BoundAddress)> {
    use std::os::unix::fs::FileTypeExt;
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), BoundAddress::Unix(path.to_owned())))
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => ": stop the process that uses it, or choose another address",
        Some(libc::EACCES | libc::EPERM) => {
            ": ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; a unix socket needs a directory that \
             this user may write to"
        }
        Some(libc::EADDRNOTAVAIL) => ": this machine does not have that address",
        Some(libc::EMFILE | libc::ENFILE) => ": raise the limit of open files (ulimit -n, LimitNOFILE=)",
        Some(libc::ENOENT) => ": create its directory first",
        _ => "",
    }
}
