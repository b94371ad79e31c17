//! What an endpoint learns about the client: X-Forwarded-*, Forwarded (RFC 7239), X-Real-IP, X-Request-Id.
//!
//! These fields are written afresh, because anybody can send them; only those from an address in `trusted_proxies` are
//! believed, and their lists appended to. Where a PROXY header names the client, it is the client's address that must
//! be trusted: a TCP balancer does not see the fields that it forwards.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderName, header};
use ipnet::IpNet;

use super::client_identity::ClientIdentity;
use super::edits::Edits;
use crate::routing::RequestHead;
use crate::telemetry::record::ClientAddress;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who sent a request, as far as we believe it.
#[derive(Debug, Clone)]
pub struct RequestSender {
    /// Its address decides whether the fields are believed.
    identity: ClientIdentity,
    /// The client that believed fields name, in front of `identity`.
    before: Option<ClientAddress>,
    /// The fields are believed.
    pub trusted: bool,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// The scheme of the connection itself.
    hop: &'static str,
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
        let hop = if secured { "https" } else { "http" };
        if !trusted {
            return Self { identity, before: None, trusted, scheme: hop, hop };
        }
        let before = first_untrusted(trusted_proxies, head).map(ClientAddress::of_ip);
        let scheme = match head.header_text(&X_FORWARDED_PROTO) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            Some(_) => "http",
            None => hop,
        };
        Self { identity, before, trusted, scheme, hop }
    }

    pub fn client(&self) -> &ClientAddress {
        self.before.as_ref().unwrap_or(self.identity.address())
    }

    /// The peer of the connection.
    pub fn peer(&self) -> &ClientAddress {
        self.identity.peer()
    }

    /// Sets the fields that tell the endpoint about the client.
    pub fn set_forwarded_fields(&self, edits: &mut Edits, head: &impl RequestHead) {
        let host = head.authority();
        if !self.trusted {
            edits.remove_claims();
        }
        edits.set_with(X_FORWARDED_FOR, |text| {
            self.believed(text, head, &X_FORWARDED_FOR);
            text.extend_from_slice(self.identity.address().ip_text().unwrap_or("unknown").as_bytes());
        });
        edits.set(X_FORWARDED_PROTO, self.scheme);
        match self.trusted.then(|| head.header_text(&X_FORWARDED_HOST)).flatten().unwrap_or(host) {
            "" => edits.remove(X_FORWARDED_HOST),
            host => edits.set(X_FORWARDED_HOST, host),
        }
        edits.set_with(header::FORWARDED, |text| {
            self.believed(text, head, &header::FORWARDED);
            element(text, self.identity.address(), host, self.hop);
        });
        match self.client().ip_text() {
            Some(ip) => edits.set(X_REAL_IP, ip),
            None => edits.remove(X_REAL_IP),
        }
    }

    /// Begins a list with the values that a trusted sender has sent under that name.
    fn believed(&self, list: &mut Vec<u8>, head: &impl RequestHead, name: &HeaderName) {
        if self.trusted {
            for value in head.values(name).map(readable) {
                let value = value.trim();
                if !value.is_empty() {
                    list.extend_from_slice(value.as_bytes());
                    list.extend_from_slice(b", ");
                }
            }
        }
    }
}

/// Walks X-Forwarded-For from the right, where the trusted proxies wrote, to the first address that is not theirs.
fn first_untrusted(trusted_proxies: &[IpNet], head: &impl RequestHead) -> Option<IpAddr> {
    let mut chain: Vec<IpAddr> = Vec::new();
    for value in head.values(&X_FORWARDED_FOR).map(readable) {
        for entry in value.split(',') {
            match address(entry.trim()) {
                Some(ip) => chain.push(ip),
                // Entries left of an unreadable one cannot be believed.
                None => chain.clear(),
            }
        }
    }
    let outside = chain.iter().rev().find(|ip| !contains(trusted_proxies, **ip));
    outside.or(chain.first()).copied()
}

/// A field's value as text, with `?` for each byte that is not visible ASCII: one bad element must not make the whole
/// list unreadable.
fn readable(value: &[u8]) -> Cow<'_, str> {
    let shown = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(|byte| shown(*byte)) => Cow::Borrowed(text),
        _ => value.iter().map(|byte| if shown(*byte) { char::from(*byte) } else { '?' }).collect(),
    }
}

/// An address with or without port or brackets.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: std::net::SocketAddr| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// One hop (RFC 7239, section 4).
fn element(out: &mut Vec<u8>, sender: &ClientAddress, host: &str, scheme: &str) {
    let mut write = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    match (sender.ip(), sender.ip_text().unwrap_or("unknown")) {
        (Some(IpAddr::V6(_)), ip) => write(&["for=\"[", ip, "]\""]),
        (_, ip) => write(&["for=", ip]),
    }
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if !host.is_empty() && (plain || !host.contains(['"', '\\'])) {
        let quote = if plain { "" } else { "\"" };
        write(&[";host=", quote, host, quote]);
    }
    write(&[";proto=", scheme]);
}

fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| net.contains(&ip))
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
        assert_eq!(value(&edits, "forwarded"), "for=6.6.6.6, for=10.0.0.9;host=example.com;proto=http");
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
