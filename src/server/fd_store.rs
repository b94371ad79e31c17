//! systemd's file descriptor store holds copies of the listening sockets, so that they stay open and queue clients
//! while a crashed process is restarted.
//!
//! Without a service manager, or with one that stores nothing, this has no effect.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;

use super::bind::BoundAddress;
use super::fd_passing;

/// Marks the names of our descriptors in the store.
const PREFIX: &str = "evenkeel-";

/// The name of a socket in the store: at most 255 characters, without a colon (FDNAME in sd_notify(3)).
pub fn name(address: &BoundAddress) -> String {
    let address = address.to_string();
    let plain = address.chars().map(|c| if c == ':' || !c.is_ascii_graphic() { '_' } else { c });
    PREFIX.chars().chain(plain).take(255).collect()
}

pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a service manager may hold copies of our sockets.
pub fn may_keep() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Stores a copy of the socket. systemd ignores a socket that it has already.
pub fn keep(name: &str, socket: BorrowedFd<'_>) {
    notify(&format!("FDSTORE=1\nFDNAME={name}\n"), &[socket]);
}

pub fn forget(name: &str) {
    notify(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[]);
}

fn notify(message: &str, descriptors: &[BorrowedFd<'_>]) {
    let Some(manager) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(manager)?;
        fd_passing::send(&socket, message.as_bytes(), descriptors)
    });
    if let Err(error) = sent {
        log::debug!(reason:% = error; "the service manager does not listen");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_colons() {
        let name_of = |address: &str| name(&BoundAddress::Inet(address.parse().expect("an address")));
        assert_eq!(name_of("127.0.0.1:80"), "evenkeel-127.0.0.1_80");
        assert_eq!(name_of("[::]:80"), "evenkeel-[__]_80");
        assert_eq!(name(&BoundAddress::Unix("/run/a b".into())), "evenkeel-unix_/run/a_b");
        assert!(is_ours(&name_of("127.0.0.1:80")) && !is_ours("web"));
    }
}
