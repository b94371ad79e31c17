//! What an endpoint learns about the client: X-Forwarded-*, Forwarded (RFC 7239), X-Real-IP.
//!
//! These fields are written afresh, because anybody can send them; only those from an address in `trusted_proxies` are
//! believed. Both forms tell the same: what is believed of one is written in both. Where a PROXY header names the client,
//! it is the client's address that must be trusted: a TCP balancer does not see the fields that it forwards.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, header};
use ipnet::IpNet;

use super::client_identity::ClientIdentity;
use super::edits::Edits;
use super::proxy_claims::{
    ProxyClaims, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, address, contains,
};
use crate::routing::RequestHead;
use crate::telemetry::record::ClientAddress;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who sent a request, as far as we believe it.
#[derive(Debug, Clone)]
pub struct RequestSender {
    /// Its address decides whether the fields are believed.
    identity: ClientIdentity,
    /// The client that believed fields name, in front of `identity`.
    before: Option<ClientAddress>,
    /// What believed fields tell; `None`: they are not believed. Boxed to keep the exchange small.
    claims: Option<Box<ProxyClaims>>,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
}

impl RequestSender {
    pub fn new(
        identity: ClientIdentity,
        secured: bool,
        trusted_proxies: &[IpNet],
        head: &impl RequestHead,
    ) -> Self {
        let trusted = match identity {
            ClientIdentity::Peer(_) | ClientIdentity::Relayed { .. } => {
                identity.address().ip().is_some_and(|ip| contains(trusted_proxies, ip))
            }
            // The sender of the fields is not the peer, and not known.
            ClientIdentity::Anonymous { .. } => false,
        };
        let scheme = if secured { "https" } else { "http" };
        if !trusted {
            return Self { identity, before: None, claims: None, scheme };
        }
        let claims = ProxyClaims::of(head, trusted_proxies);
        Self {
            identity,
            before: claims.client.map(ClientAddress::of_ip),
            scheme: claims.scheme.unwrap_or(scheme),
            claims: Some(Box::new(claims)),
        }
    }

    pub fn client(&self) -> &ClientAddress {
        self.before.as_ref().unwrap_or(self.identity.address())
    }

    /// The peer of the connection.
    pub fn peer(&self) -> &ClientAddress {
        self.identity.peer()
    }

    /// The host and port that the client has asked for, where the request asks for `authority`.
    pub fn host<'a>(&'a self, authority: &'a str) -> &'a str {
        self.claims.as_ref().and_then(|claims| claims.host.as_deref()).unwrap_or(authority)
    }

    /// What the trusted proxies in front have stripped of the path; "": nothing.
    pub fn prefix(&self) -> &str {
        self.claims.as_ref().map_or("", |claims| &claims.prefix)
    }

    /// Sets the fields that tell the endpoint about the client.
    pub fn set_forwarded_fields(&self, edits: &mut Edits, head: &impl RequestHead) {
        let host = self.host(head.authority());
        if self.claims.is_none() {
            edits.remove_claims();
        }
        edits.set_with(X_FORWARDED_FOR, |text| self.x_forwarded_for(text));
        edits.set(X_FORWARDED_PROTO, self.scheme);
        match host {
            "" => edits.remove(X_FORWARDED_HOST),
            host => edits.set(X_FORWARDED_HOST, host),
        }
        edits.set_with(header::FORWARDED, |text| self.forwarded(text, host));
        match self.client().ip_text() {
            Some(ip) => edits.set(X_REAL_IP, ip),
            None => edits.remove(X_REAL_IP),
        }
    }

    /// What believed fields name, in front of the sender.
    fn chain(&self) -> &[String] {
        self.claims.as_ref().map_or(&[], |claims| &claims.chain)
    }

    fn x_forwarded_for(&self, list: &mut Vec<u8>) {
        for entry in self.chain() {
            list.extend_from_slice(entry.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(self.identity.address().ip_text().unwrap_or("unknown").as_bytes());
    }

    /// An element for each hop (RFC 7239, section 4); the first one tells of the client.
    fn forwarded(&self, list: &mut Vec<u8>, host: &str) {
        let mut hops = self.chain().iter().map(|entry| node(entry));
        match hops.next() {
            None => own_node(list, self.identity.address()),
            Some(first) => write(list, &["for=", &first]),
        }
        client_parameters(list, host, self.scheme);
        if !self.chain().is_empty() {
            hops.for_each(|hop| write(list, &[", for=", &hop]));
            list.extend_from_slice(b", ");
            own_node(list, self.identity.address());
        }
    }
}

fn write(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn own_node(out: &mut Vec<u8>, sender: &ClientAddress) {
    match (sender.ip(), sender.ip_text().unwrap_or("unknown")) {
        (Some(IpAddr::V6(_)), ip) => write(out, &["for=\"[", ip, "]\""]),
        (_, ip) => write(out, &["for=", ip]),
    }
}

/// An entry of `X-Forwarded-For` as a node of `Forwarded` (RFC 7239, section 6).
fn node(entry: &str) -> String {
    let is_hidden = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        text.starts_with('_') && text.bytes().all(allowed)
    };
    match (entry.parse::<SocketAddr>(), address(entry)) {
        (Ok(with_port), _) => format!("\"{with_port}\""),
        (_, Some(IpAddr::V6(ip))) => format!("\"[{ip}]\""),
        (_, Some(IpAddr::V4(ip))) => ip.to_string(),
        _ if is_hidden(entry) => entry.to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn client_parameters(out: &mut Vec<u8>, host: &str, scheme: &str) {
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if !host.is_empty() && (plain || !host.contains(['"', '\\'])) {
        let quote = if plain { "" } else { "\"" };
        write(out, &[";host=", quote, host, quote]);
    }
    write(out, &[";proto=", scheme]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::edits::Action;

    fn head(fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::builder().uri("/").header("host", "example.com");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request").into_parts().0
    }

    fn inet(address: &str) -> ClientAddress {
        ClientAddress::inet(address.parse().expect("an address"))
    }

    fn forwarded(peer: &str, trusted: &[&str], fields: &[(&str, &str)]) -> (RequestSender, Edits) {
        forwarded_of(ClientIdentity::Peer(inet(peer)), trusted, fields)
    }

    fn forwarded_of(
        identity: ClientIdentity,
        trusted: &[&str],
        fields: &[(&str, &str)],
    ) -> (RequestSender, Edits) {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().expect("a net")).collect();
        let head = head(fields);
        let sender = RequestSender::new(identity, false, &trusted, &head);
        let mut edits = Edits::default();
        sender.set_forwarded_fields(&mut edits, &head);
        (sender, edits)
    }

    fn value(edits: &Edits, wanted: &str) -> String {
        let found = edits.iter().find_map(|(name, action)| match action {
            Action::Set(value) if name == wanted => Some(String::from_utf8_lossy(value).into_owned()),
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
        let (sender, edits) = forwarded("192.0.2.1:4000", &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(value(&edits, "x-forwarded-proto"), "http");
        assert_eq!(value(&edits, "x-forwarded-host"), "example.com");
        assert_eq!(value(&edits, "forwarded"), "for=192.0.2.1;host=example.com;proto=http");
        assert_eq!(value(&edits, "x-real-ip"), "192.0.2.1");
        assert_eq!(*sender.client(), ClientAddress::inet("192.0.2.1:4000".parse().expect("an address")));
    }

    #[test]
    fn what_a_trusted_proxy_says_is_appended_to() {
        let (sender, edits) = forwarded("10.0.0.9:4000", &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "6.6.6.6, 10.0.0.9");
        assert_eq!(value(&edits, "x-forwarded-proto"), "https");
        assert_eq!(value(&edits, "x-forwarded-host"), "evil.example");
        assert_eq!(value(&edits, "forwarded"), "for=6.6.6.6;host=evil.example;proto=https, for=10.0.0.9");
        assert_eq!(*sender.client(), ClientAddress::of_ip("6.6.6.6".parse().expect("an address")));
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_is() {
        let chain = [("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "10.0.0.7")];
        let (sender, _) = forwarded("10.0.0.9:4000", &["10.0.0.0/8"], &chain);
        assert_eq!(*sender.client(), ClientAddress::of_ip("2.2.2.2".parse().expect("an address")));
    }

    #[test]
    fn nothing_left_of_an_unreadable_entry_is_believed() {
        let chain = [("x-forwarded-for", "1.1.1.1, garbage, 10.0.0.7")];
        let (sender, _) = forwarded("10.0.0.9:4000", &["10.0.0.0/8"], &chain);
        assert_eq!(*sender.client(), ClientAddress::of_ip("10.0.0.7".parse().expect("an address")));
    }

    #[test]
    fn both_forms_tell_the_same() {
        for fields in [
            &[
                ("x-forwarded-for", "2001:db8::7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "a.example"),
            ][..],
            &[("forwarded", "for=\"[2001:db8::7]\";by=10.0.0.1;proto=https;host=a.example")],
        ] {
            let (sender, edits) = forwarded("10.0.0.9:4000", &["10.0.0.0/8"], fields);
            assert_eq!(value(&edits, "x-forwarded-for"), "2001:db8::7, 10.0.0.9");
            assert_eq!(value(&edits, "x-forwarded-proto"), "https");
            assert_eq!(value(&edits, "x-forwarded-host"), "a.example");
            let forwarded = "for=\"[2001:db8::7]\";host=a.example;proto=https, for=10.0.0.9";
            assert_eq!(value(&edits, "forwarded"), forwarded);
            assert_eq!(value(&edits, "x-real-ip"), "2001:db8::7");
            assert_eq!((sender.scheme, sender.host("b.example")), ("https", "a.example"));
        }
    }

    #[test]
    fn nodes_are_those_of_rfc_7239() {
        for (entry, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:80", "\"1.2.3.4:80\""),
            ("2001:db8::1", "\"[2001:db8::1]\""),
            ("[2001:db8::1]", "\"[2001:db8::1]\""),
            ("[2001:db8::1]:80", "\"[2001:db8::1]:80\""),
            ("_hidden", "_hidden"),
            ("_a\"b", "unknown"),
            ("unknown", "unknown"),
            ("any thing", "unknown"),
        ] {
            assert_eq!(node(entry), expected, "{entry}");
        }
    }

    #[test]
    fn a_relayed_client_is_who_must_be_trusted() {
        let relayed =
            |client: &str| ClientIdentity::Relayed { client: inet(client), by: inet("10.0.0.9:4000") };
        let (sender, edits) = forwarded_of(relayed("192.0.2.1:5000"), &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(value(&edits, "forwarded"), "for=192.0.2.1;host=example.com;proto=http");
        assert_eq!(
            (sender.client().clone(), sender.peer().clone()),
            (inet("192.0.2.1:5000"), inet("10.0.0.9:4000"))
        );
        let (sender, edits) = forwarded_of(relayed("10.1.1.1:5000"), &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "6.6.6.6, 10.1.1.1");
        assert_eq!(*sender.client(), ClientAddress::of_ip("6.6.6.6".parse().expect("an address")));
    }

    #[test]
    fn a_client_whom_nobody_can_name_is_not_believed() {
        let (sender, edits) =
            forwarded_of(ClientIdentity::Anonymous { by: inet("10.0.0.9:4000") }, &["10.0.0.0/8"], &SPOOFED);
        assert_eq!(value(&edits, "x-forwarded-for"), "10.0.0.9");
        assert_eq!(*sender.client(), inet("10.0.0.9:4000"));
    }

    #[test]
    fn ipv6_is_quoted_in_forwarded() {
        let (_, edits) = forwarded("[2001:db8::1]:4000", &[], &[]);
        assert_eq!(value(&edits, "forwarded"), "for=\"[2001:db8::1]\";host=example.com;proto=http");
        let (_, edits) = forwarded("[::ffff:192.0.2.1]:4000", &[], &[]);
        assert_eq!(value(&edits, "x-forwarded-for"), "192.0.2.1");
    }
}
