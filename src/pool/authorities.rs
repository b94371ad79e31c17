//! The names and addresses of a pool's members, in hash sets: they are looked up for a response, and a pool may have
//! tens of thousands of members.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;

use super::endpoint::{Endpoint, Target};
use crate::authority;

type Set<T> = HashSet<T, RandomState>;

/// Made once for each membership, when first needed.
#[derive(Default)]
pub struct Authorities {
    /// Addresses with ports, and the endpoints as written in the config; in lower case.
    authorities: Set<Box<str>>,
    /// The hosts as written in the config; in lower case.
    hosts: Set<Box<str>>,
    addresses: Set<IpAddr>,
}

impl Authorities {
    pub fn new<'a>(endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) -> Self {
        let mut names = Self::default();
        for endpoint in endpoints {
            // Nothing that a response names could be a unix socket.
            let Target::Inet(address) = endpoint.target() else { continue };
            let authority = endpoint.authority().to_ascii_lowercase();
            names.addresses.insert(address.ip());
            names.authorities.insert(address.to_string().into());
            names.hosts.insert(authority::host(&authority).into());
            names.authorities.insert(authority.into());
        }
        names
    }

    /// Whether a member has this host and port. `authority` is in lower case.
    pub fn has(&self, authority: &str) -> bool {
        self.authorities.contains(authority)
    }

    /// Whether a member has this name or address, whatever its port. `host` is in lower case.
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.contains(host)
            || host.parse().is_ok_and(|address: IpAddr| self.addresses.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::pool::Pool;

    fn pool(endpoints: &str) -> Arc<Pool> {
        let text = format!("listen: 127.0.0.1:0\nendpoints: {endpoints}");
        let config = config::parse(&text, "test").expect("a valid config");
        Pool::new(config.pools[0].clone(), None, &Arc::default())
    }

    #[test]
    fn members_are_found_by_what_they_could_be_called() {
        let pool = pool("[10.0.0.1:3000, '[2001:DB8:0::1]:80', 'unix:/run/x.sock']");
        let authorities = pool.authorities();
        for (authority, has) in [
            ("10.0.0.1:3000", true),
            ("[2001:db8::1]:80", true),
            ("10.0.0.1:3001", false),
            ("10.0.0.1", false),
            ("10.0.0.2:3000", false),
            ("unix:/run/x.sock", false),
            ("", false),
        ] {
            assert_eq!(authorities.has(authority), has, "{authority}");
        }
        for (host, has) in [
            ("10.0.0.1", true),
            ("[2001:db8::1]", true),
            ("2001:db8:0:0::1", true),
            ("10.0.0.2", false),
            ("/run/x.sock", false),
            ("", false),
        ] {
            assert_eq!(authorities.has_host(host), has, "{host}");
        }
    }

    #[tokio::test]
    async fn they_are_made_once_for_a_membership() {
        let pool = pool("[10.0.0.1:3000]");
        let first = pool.authorities();
        pool.publish_health();
        assert!(Arc::ptr_eq(&first, &pool.authorities()), "health is no change of members");
        pool.picker.set_members(&std::collections::BTreeSet::new());
        assert!(!pool.authorities().has("10.0.0.1:3000"));
    }
}
