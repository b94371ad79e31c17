//! Which listener a connection came in on, by its local address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;

/// An address as bound: port 0 is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for BoundAddress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug, Default)]
pub struct Addresses(Vec<(BoundAddress, Arc<str>)>);

impl Addresses {
    pub fn new(bound: impl IntoIterator<Item = (Arc<str>, BoundAddress)>) -> Self {
        Self(bound.into_iter().map(|(listener, address)| (address, listener)).collect())
    }

    /// The name of the listener whose connections have this local address.
    pub fn listener(&self, local: &PingoraAddr) -> Option<&str> {
        let exact = self.0.iter().find(|(bound, _)| match (bound, local) {
            (BoundAddress::Inet(bound), PingoraAddr::Inet(local)) => bound == local,
            (BoundAddress::Unix(bound), PingoraAddr::Unix(local)) => local.as_pathname() == Some(bound),
            _ => false,
        });
        let any = || {
            let port = local.as_inet()?.port();
            self.0.iter().find(|(bound, _)| {
                matches!(bound, BoundAddress::Inet(bound) if bound.ip().is_unspecified() && bound.port() == port)
            })
        };
        exact.or_else(any).map(|(_, listener)| &**listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: &str) -> PingoraAddr {
        PingoraAddr::Inet(address.parse().expect("an address"))
    }

    #[test]
    fn the_own_address_comes_before_any_address() {
        let bound = |address: &str| BoundAddress::Inet(address.parse().expect("an address"));
        let addresses = Addresses::new([
            ("any".into(), bound("0.0.0.0:80")),
            ("local".into(), bound("127.0.0.1:80")),
            ("dual".into(), bound("[::]:81")),
        ]);
        assert_eq!(addresses.listener(&local("127.0.0.1:80")), Some("local"));
        assert_eq!(addresses.listener(&local("10.0.0.1:80")), Some("any"));
        assert_eq!(addresses.listener(&local("[::ffff:10.0.0.1]:81")), Some("dual"));
        assert_eq!(addresses.listener(&local("10.0.0.1:82")), None);
    }
}
