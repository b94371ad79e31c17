//! Sets of networks, in which an address is found as fast in a long list as in a short one.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of networks. IPv4-mapped addresses and networks of IPv6 are IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// In order of their addresses, none within another.
    sorted: Box<[IpNet]>,
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut sorted: Vec<IpNet> = networks.into_iter().map(|network| canonical(network).trunc()).collect();
        // A wider network comes before those within it that begin with the same address.
        sorted.sort_unstable();
        sorted.dedup_by(|next, kept| kept.contains(&*next));
        Self { sorted: sorted.into() }
    }
}

impl Networks {
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// None of them is within another.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &IpNet> {
        self.sorted.iter()
    }

    /// The widest network of the set that has this address.
    pub fn find(&self, ip: IpAddr) -> Option<&IpNet> {
        let ip = ip.to_canonical();
        let behind = self.sorted.partition_point(|network| network.network() <= ip);
        self.sorted.get(behind.checked_sub(1)?).filter(|network| network.contains(&ip))
    }

    /// The network of the set within which all of `network` is.
    pub fn find_around(&self, network: &IpNet) -> Option<&IpNet> {
        let network = canonical(*network);
        self.find(network.network()).filter(|around| around.contains(&network))
    }

    /// Whether each network of `others` is within one of this set.
    pub fn cover(&self, others: &Self) -> bool {
        others.sorted.iter().all(|network| self.find_around(network).is_some())
    }
}

/// The IPv4 network that an IPv4-mapped one of IPv6 is.
pub fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(mapped) = network else { return network };
    let bits = mapped.prefix_len().checked_sub(MAPPED_BITS);
    let ip = mapped.addr().to_ipv4_mapped();
    ip.zip(bits).and_then(|(ip, bits)| IpNet::new(ip.into(), bits).ok()).unwrap_or(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse::<IpNet>().expect("a network")).collect()
    }

    fn found(set: &Networks, ip: &str) -> Option<String> {
        set.find(ip.parse().expect("an address")).map(IpNet::to_string)
    }

    #[test]
    fn the_widest_network_around_an_address_is_found() {
        let set = networks(&[
            "10.1.0.0/16",
            "10.0.0.0/8",
            "10.255.0.0/16",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
            "10.0.0.0/8",
        ]);
        for (ip, expected) in [
            ("10.1.2.3", Some("10.0.0.0/8")),
            ("10.255.255.255", Some("10.0.0.0/8")),
            ("11.0.0.0", None),
            ("9.255.255.255", None),
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("192.0.2.8", None),
            ("::ffff:10.9.9.9", Some("10.0.0.0/8")),
            ("198.51.100.200", Some("198.51.100.0/24")),
            ("::ffff:198.51.100.200", Some("198.51.100.0/24")),
            ("198.51.101.0", None),
            ("2001:db8:ffff::1", Some("2001:db8::/32")),
            ("2001:db9::", None),
            ("::a01:203", None),
        ] {
            assert_eq!(found(&set, ip).as_deref(), expected, "{ip}");
        }
    }

    #[test]
    fn the_families_are_apart() {
        assert_eq!(found(&networks(&["::/0"]), "10.0.0.1"), None);
        assert_eq!(found(&networks(&["0.0.0.0/0"]), "2001:db8::1"), None);
        let both = networks(&["::/0", "0.0.0.0/0"]);
        assert_eq!(found(&both, "::ffff:10.0.0.1").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(found(&both, "2001:db8::1").as_deref(), Some("::/0"));
    }

    #[test]
    fn a_set_covers_what_is_within_it() {
        let wide = networks(&["10.0.0.0/8", "fd00::/8"]);
        assert!(wide.cover(&networks(&["10.1.0.0/16", "10.0.0.0/8", "fd00:1::1/128"])));
        assert!(!wide.cover(&networks(&["10.1.0.0/16", "11.0.0.0/8"])));
        assert!(!networks(&["10.1.0.0/16"]).cover(&networks(&["10.0.0.0/8"])));
        assert!(wide.cover(&Networks::default()));
    }

    #[test]
    fn many_networks_are_found_as_a_scan_finds_them() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let all: Vec<IpNet> = (0..500)
            .map(|_| {
                let ip = std::net::Ipv4Addr::from(random() << 8);
                let bits = u8::try_from(8 + random() % 20).expect("a few");
                IpNet::new(ip.into(), bits).expect("a network").trunc()
            })
            .collect();
        let set: Networks = all.iter().copied().collect();
        for _ in 0..20_000 {
            let ip = IpAddr::from(std::net::Ipv4Addr::from(random() << 8 | random() & 0xff));
            assert_eq!(set.find(ip).is_some(), all.iter().any(|network| network.contains(&ip)), "{ip}");
        }
    }
}
