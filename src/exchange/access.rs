//! Who may ask: `allow` and `deny` of the listener and of the route.

use std::net::IpAddr;

use super::{Exchange, Failure};
use crate::config::{Access, Listener};
use crate::networks::Networks;
use crate::snapshot::Route;
use crate::telemetry::record::{AccessPlace, RefusedBy};

impl Exchange {
    pub(super) fn check_access_to_listener(&mut self) -> Result<(), Failure> {
        self.refuse(refusal(&self.listener().access, AccessPlace::Listener, self.sender.client().ip()))
    }

    pub(super) fn check_access_to(&mut self, route: &Route) -> Result<(), Failure> {
        self.refuse(refusal(&route.access, AccessPlace::Route, self.sender.client().ip()))
    }

    fn refuse(&mut self, by: Option<RefusedBy>) -> Result<(), Failure> {
        let Some(by) = by else { return Ok(()) };
        self.record.unusual_mut().refused_by = Some(by);
        Err(Failure::Denied)
    }
}

/// Whether the listener or the route does not let the client in.
pub(super) fn is_denied(listener: &Listener, route: Option<&Route>, client: IpAddr) -> bool {
    let of_route = || route.and_then(|route| refusal(&route.access, AccessPlace::Route, Some(client)));
    refusal(&listener.access, AccessPlace::Listener, Some(client)).or_else(of_route).is_some()
}

/// The list that does not let the client in: `deny` names it, or `allow` does not. A client without an address is in no
/// network.
fn refusal(access: &Access, place: AccessPlace, client: Option<IpAddr>) -> Option<RefusedBy> {
    let found = |networks: &Networks| client.and_then(|ip| networks.find(ip).copied());
    if let Some(network) = access.deny.as_ref().and_then(|deny| found(deny)) {
        return Some(RefusedBy { place, denied: Some(network) });
    }
    let is_stranger = access.allow.as_ref().is_some_and(|allow| found(allow).is_none());
    is_stranger.then_some(RefusedBy { place, denied: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let networks = |texts: &[&str]| {
            let networks = texts.iter().map(|text| text.parse::<ipnet::IpNet>().expect("a network"));
            (!texts.is_empty()).then(|| std::sync::Arc::new(networks.collect()))
        };
        Access { allow: networks(allow), deny: networks(deny) }
    }

    #[test]
    fn deny_wins_over_allow_and_allow_refuses_all_others() {
        for (allow, deny, client, expected) in [
            (&[][..], &[][..], Some("192.0.2.1"), None),
            (&["10.0.0.0/8"], &[], Some("10.1.2.3"), None),
            (&["10.0.0.0/8"], &[], Some("::ffff:10.1.2.3"), None),
            (&["10.0.0.0/8"], &[], Some("192.0.2.1"), Some("route allow")),
            (&["10.0.0.0/8"], &[], Some("2001:db8::1"), Some("route allow")),
            (&["10.0.0.0/8"], &["10.9.0.0/16"], Some("10.9.1.1"), Some("route deny 10.9.0.0/16")),
            (&["10.0.0.0/8"], &["10.9.0.0/16"], Some("10.8.1.1"), None),
            (&[], &["192.0.2.7/32"], Some("192.0.2.7"), Some("route deny 192.0.2.7")),
            (&[], &["192.0.2.7/32"], Some("192.0.2.8"), None),
            (&[], &["0.0.0.0/0"], None, None),
            (&["0.0.0.0/0"], &[], None, Some("route allow")),
        ] {
            let client = client.map(|ip| ip.parse().expect("an address"));
            let refused = refusal(&access(allow, deny), AccessPlace::Route, client);
            assert_eq!(
                refused.map(|by| by.to_string()).as_deref(),
                expected,
                "{allow:?} {deny:?} {client:?}"
            );
        }
    }
}
