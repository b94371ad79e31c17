//! Limits how many connections each client has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The length of the prefix by which an IPv6 client is known: it may use any address of its network.
const IPV6_BITS: u32 = 64;

/// The connections of each client that has any: never more entries than there are connections.
#[derive(Default)]
pub struct ClientPermits(Mutex<HashMap<IpAddr, usize>>);

/// Counts one connection of a client until it is dropped.
pub struct ClientPermit {
    permits: Arc<ClientPermits>,
    client: IpAddr,
}

impl ClientPermits {
    /// Counts one more connection of the client; `None` if it has `most` already.
    pub fn admit(self: &Arc<Self>, client: IpAddr, most: usize) -> Option<ClientPermit> {
        let client = network(client);
        let mut counts = self.0.lock();
        let count = counts.get(&client).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(client, count + 1);
        Some(ClientPermit { permits: self.clone(), client })
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.permits.0.lock().entry(self.client) {
            match entry.get().saturating_sub(1) {
                0 => drop(entry.remove()),
                left => *entry.get_mut() = left,
            }
        }
    }
}

/// The address, or the IPv6 network, by which a client is counted.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_client_has_a_count_of_its_own() {
        let permits = Arc::new(ClientPermits::default());
        let first = permits.admit(ip("192.0.2.1"), 2);
        let second = permits.admit(ip("::ffff:192.0.2.1"), 2);
        assert!(first.is_some() && second.is_some());
        assert!(permits.admit(ip("192.0.2.1"), 2).is_none());
        assert!(permits.admit(ip("192.0.2.2"), 2).is_some());
        drop(first);
        assert!(permits.admit(ip("192.0.2.1"), 2).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let permits = Arc::new(ClientPermits::default());
        let _first = permits.admit(ip("2001:db8:0:1::1"), 1);
        assert!(permits.admit(ip("2001:db8:0:1:ffff::2"), 1).is_none());
        assert!(permits.admit(ip("2001:db8:0:2::1"), 1).is_some());
    }

    #[test]
    fn nothing_is_left_of_those_who_went_or_were_refused() {
        let permits = Arc::new(ClientPermits::default());
        let open: Vec<_> = (1..=9).map(|n| permits.admit(IpAddr::from([192, 0, 2, n]), 1)).collect();
        assert!(permits.admit(ip("192.0.2.1"), 1).is_none());
        assert!(permits.admit(ip("192.0.2.10"), 0).is_none());
        assert_eq!(permits.0.lock().len(), 9);
        drop(open);
        assert!(permits.0.lock().is_empty());
    }
}
