//! What an endpoint learns about the client: X-Forwarded-*, Forwarded (RFC 7239), X-Real-IP, X-Request-Id.
//!
//! These fields are written afresh, because anybody can send them; only what comes from an address in `trusted_proxies`
//! is believed, and then its list is appended to. Where a PROXY header names the client, that client is who must be
//! trusted: a balancer of TCP connections does not see the fields that it passes on.

use std::fmt::Write;
use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::caller::Caller;
use super::headers::Edit;
use crate::routing::RequestHead;
use crate::telemetry::record::ClientAddress;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who sent a request, as far as we believe it.
#[derive(Debug, Clone)]
pub struct Origin {
    pub client: ClientAddress,
    /// The peer of the connection.
    pub peer: ClientAddress,
    /// Who has sent the fields that are believed, or not.
    sender: ClientAddress,
    pub trusted: bool,
    /// `http` or `https`, as the client sees it.
    pub scheme: Box<str>,
}

impl Origin {
    pub fn new(caller: Caller, trusted_proxies: &[IpNet], head: &impl RequestHead) -> Self {
        let (peer, sender) = (caller.peer().clone(), caller.address().clone());
        let trusted = match caller {
            Caller::Peer(_) | Caller::Relayed { .. } => {
                ip(&sender).is_some_and(|ip| contains(trusted_proxies, ip))
            }
            // Whoever sent the fields, it was not this peer.
            Caller::Anonymous { .. } => false,
        };
        if !trusted {
            return Self { client: sender.clone(), peer, sender, trusted, scheme: "http".into() };
        }
        let client = first_untrusted(trusted_proxies, head).map_or_else(|| sender.clone(), ClientAddress::Ip);
        let scheme = match head.header("x-forwarded-proto") {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            _ => "http",
        };
        Self { client, peer, sender, trusted, scheme: scheme.into() }
    }

    /// Says to the endpoint who is asking.
    pub fn tell(&self, edits: &mut Vec<Edit>, head: &impl RequestHead) {
        let sender = ip(&self.sender);
        let mut chain = self.believed(head, "x-forwarded-for");
        append(&mut chain, &sender.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()));
        edits.push(Edit::set(X_FORWARDED_FOR, &chain));
        edits.push(Edit::set(X_FORWARDED_PROTO, &self.scheme));
        let host =
            self.trusted.then(|| head.header("x-forwarded-host")).flatten().unwrap_or(head.authority());
        edits.push(match host {
            "" => Edit::Remove(X_FORWARDED_HOST),
            host => Edit::set(X_FORWARDED_HOST, host),
        });
        let mut forwarded = self.believed(head, "forwarded");
        append(&mut forwarded, &element(sender, head.authority()));
        edits.push(Edit::set(http::header::FORWARDED, &forwarded));
        edits.push(match ip(&self.client) {
            Some(ip) => Edit::set(X_REAL_IP, &ip.to_string()),
            None => Edit::Remove(X_REAL_IP),
        });
    }

    /// What a trusted sender has sent under that name, as one list.
    fn believed(&self, head: &impl RequestHead, name: &str) -> String {
        let mut list = String::new();
        if self.trusted {
            head.each_header(name, &mut |value| append(&mut list, value.trim()));
        }
        list
    }
}

/// Walks X-Forwarded-For from the right, where the trusted proxies wrote, to the first address that is not theirs.
fn first_untrusted(trusted_proxies: &[IpNet], head: &impl RequestHead) -> Option<IpAddr> {
    let mut chain: Vec<IpAddr> = Vec::new();
    head.each_header("x-forwarded-for", &mut |value| {
        for entry in value.split(',') {
            match address(entry.trim()) {
                Some(ip) => chain.push(ip),
                // What is left of something unreadable cannot be believed.
                None => chain.clear(),
            }
        }
    });
    let outside = chain.iter().rev().find(|ip| !contains(trusted_proxies, **ip));
    outside.or(chain.first()).copied()
}

/// An address with or without port or brackets.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: std::net::SocketAddr| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

fn element(sender: Option<IpAddr>, host: &str) -> String {
    let mut element = String::from("for=");
    // Writing to a string cannot fail.
    let _ = match sender {
        Some(IpAddr::V4(ip)) => write!(element, "{ip}"),
        Some(IpAddr::V6(ip)) => write!(element, "\"[{ip}]\""),
        None => write!(element, "unknown"),
    };
    if !host.is_empty() && !host.contains(['"', '\\']) {
        let quote = if host.contains(|byte: char| !byte.is_ascii_alphanumeric() && byte != '.' && byte != '-')
        {
            "\""
        } else {
            ""
        };
        let _ = write!(element, ";host={quote}{host}{quote}");
    }
    element.push_str(";proto=http");
    element
}

fn append(list: &mut String, entry: &str) {
    if !list.is_empty() && !entry.is_empty() {
        list.push_str(", ");
    }
    list.push_str(entry);
}

fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn ip(address: &ClientAddress) -> Option<IpAddr> {
    match address {
        ClientAddress::Inet(address) => Some(address.ip().to_canonical()),
        ClientAddress::Ip(ip) => Some(ip.to_canonical()),
        ClientAddress::Unix => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::builder().uri("/").header("host", "example.com");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request").into_parts().0
    }

    fn inet(address: &str) -> ClientAddress {
        ClientAddress::Inet(address.parse().expect("an address"))
    }

    fn tell(peer: &str, trusted: &[&str], fields: &[(&str, &str)]) -> (Origin, Vec<Edit>) {
        tell_of(Caller::Peer(inet(peer)), trusted, fields)
    }

    fn tell_of(caller: Caller, trusted: &[&str], fields: &[(&str, &str)]) -> (Origin, Vec<Edit>) {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().expect("a net")).collect();
        let head = head(fields);
        let origin = Origin::new(caller, &trusted, &head);
        let mut edits = Vec::new();
        origin.tell(&mut edits, &head);
        (origin, edits)
    }

    fn value(edits: &[Edit], wanted: &str) -> String {
        let found = edits.iter().find_map(|edit| match edit {
            Edit::Set(name, value) if name == wanted => value.to_str().ok().map(str::to_owned),
            _ => None,
        });
        found.unwrap_or_default()
    }

    const SPOOFED: [(&str, &str); 4] = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=6.6.6.6"),
    ];

    #[test]
    fn what_a_stranger_claims_is_replaced() {
        let (origin, edits) = tell("192.0.2.1:4000", &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(value(&edits, "x-forwarded-proto"), "http");
        assert_eq!(value(&edits, "x-forwarded-host"), "example.com");
        assert_eq!(value(&edits, "forwarded"), "for=192.0.2.1;host=example.com;proto=http");
        assert_eq!(value(&edits, "x-real-ip"), "192.0.2.1");
        assert_eq!(origin.client, ClientAddress::Inet("192.0.2.1:4000".parse().expect("an address")));
    }

    #[test]
    fn what_a_trusted_proxy_says_is_appended_to() {
        let (origin, edits) = tell("10.0.0.9:4000", &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "6.6.6.6, 10.0.0.9");
        assert_eq!(value(&edits, "x-forwarded-proto"), "https");
        assert_eq!(value(&edits, "x-forwarded-host"), "evil.example");
        assert_eq!(value(&edits, "forwarded"), "for=6.6.6.6, for=10.0.0.9;host=example.com;proto=http");
        assert_eq!(origin.client, ClientAddress::Ip("6.6.6.6".parse().expect("an address")));
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_is() {
        let chain = [("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "10.0.0.7")];
        let (origin, _) = tell("10.0.0.9:4000", &["10.0.0.0/8"], &chain);
        assert_eq!(origin.client, ClientAddress::Ip("2.2.2.2".parse().expect("an address")));
    }

    #[test]
    fn nothing_left_of_an_unreadable_entry_is_believed() {
        let chain = [("x-forwarded-for", "1.1.1.1, garbage, 10.0.0.7")];
        let (origin, _) = tell("10.0.0.9:4000", &["10.0.0.0/8"], &chain);
        assert_eq!(origin.client, ClientAddress::Ip("10.0.0.7".parse().expect("an address")));
    }

    #[test]
    fn a_relayed_client_is_who_must_be_trusted() {
        let relayed = |client: &str| Caller::Relayed { client: inet(client), by: inet("10.0.0.9:4000") };
        let (origin, edits) = tell_of(relayed("192.0.2.1:5000"), &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(value(&edits, "forwarded"), "for=192.0.2.1;host=example.com;proto=http");
        assert_eq!((origin.client, origin.peer), (inet("192.0.2.1:5000"), inet("10.0.0.9:4000")));
        let (origin, edits) = tell_of(relayed("10.1.1.1:5000"), &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "6.6.6.6, 10.1.1.1");
        assert_eq!(origin.client, ClientAddress::Ip("6.6.6.6".parse().expect("an address")));
    }

    #[test]
    fn a_client_whom_nobody_can_name_is_not_believed() {
        let (origin, edits) =
            tell_of(Caller::Anonymous { by: inet("10.0.0.9:4000") }, &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "10.0.0.9");
        assert_eq!(origin.client, inet("10.0.0.9:4000"));
    }

    #[test]
    fn ipv6_is_quoted_in_forwarded() {
        let (_, edits) = tell("[2001:db8::1]:4000", &[], &[]);
        assert_eq!(value(&edits, "forwarded"), "for=\"[2001:db8::1]\";host=example.com;proto=http");
        let (_, edits) = tell("[::ffff:192.0.2.1]:4000", &[], &[]);
        assert_eq!(value(&edits, "x-forwarded-for"), "192.0.2.1");
    }
}
