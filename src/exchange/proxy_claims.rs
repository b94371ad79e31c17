//! Where a request comes from, as trusted proxies tell it: in `X-Forwarded-*`, or in `Forwarded` (RFC 7239).
//!
//! One of the two forms is believed as a whole: `X-Forwarded-*` where there is any of it, else `Forwarded`. A balancer
//! that writes the one passes the other on as its client has sent it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, header};
use ipnet::IpNet;

use crate::authority;
use crate::routing::{EscapedSlashes, PathRules, RequestHead, path};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyClaims {
    /// The client and the proxies that it came through, in order, each as it was told.
    pub chain: Vec<String>,
    /// The last address in `chain` that is no trusted proxy's.
    pub client: Option<IpAddr>,
    /// `http` or `https`: how the client reached the first trusted proxy.
    pub scheme: Option<&'static str>,
    /// Whom the client asked for.
    pub host: Option<String>,
    /// What the proxies in front have stripped of the path; "": nothing.
    pub prefix: String,
}

impl ProxyClaims {
    pub fn of(head: &impl RequestHead, trusted_proxies: &[IpNet]) -> Self {
        let told = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST];
        match told.iter().any(|name| head.header(name).is_some()) {
            true => Self::of_x_forwarded(head, trusted_proxies),
            false => Self::of_forwarded(head, trusted_proxies),
        }
    }

    fn of_x_forwarded(head: &impl RequestHead, trusted_proxies: &[IpNet]) -> Self {
        let chain: Vec<String> = members(head, &X_FORWARDED_FOR).collect();
        let client = client_in(&chain, trusted_proxies);
        Self {
            client: client.and_then(|at| address(chain.get(at)?)),
            scheme: members(head, &X_FORWARDED_PROTO).next().and_then(|name| scheme(&name)),
            host: members(head, &X_FORWARDED_HOST).next().and_then(host),
            prefix: prefix(head),
            chain,
        }
    }

    fn of_forwarded(head: &impl RequestHead, trusted_proxies: &[IpNet]) -> Self {
        let elements: Vec<Element> =
            head.values(&header::FORWARDED).flat_map(|value| elements(&readable(value))).collect();
        let chain: Vec<String> = elements.iter().map(|element| element.node.clone()).collect();
        let client = client_in(&chain, trusted_proxies);
        // What the first trusted proxy says of its client, or, where it does not, the next one of its own.
        let known = elements.get(client.unwrap_or(elements.len().saturating_sub(1))..).unwrap_or_default();
        Self {
            client: client.and_then(|at| address(chain.get(at)?)),
            scheme: known.iter().find_map(|element| element.scheme),
            host: known.iter().find_map(|element| element.host.clone()),
            prefix: prefix(head),
            chain,
        }
    }
}

/// Walks a chain from the end, where the trusted proxies wrote, to the first address that is not theirs. What is in front
/// of an entry that is no address cannot be believed.
fn client_in(chain: &[String], trusted_proxies: &[IpNet]) -> Option<usize> {
    let mut client = None;
    for (at, entry) in chain.iter().enumerate().rev() {
        let Some(ip) = address(entry) else { break };
        client = Some(at);
        if !contains(trusted_proxies, ip) {
            break;
        }
    }
    client
}

/// Whether one of the networks has this address.
pub fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

/// The members of a list, of all lines of that name; empty ones do not count (RFC 9110, section 5.6.1).
fn members(head: &impl RequestHead, name: &HeaderName) -> impl Iterator<Item = String> {
    head.values(name).flat_map(|value| {
        let list: Vec<String> = readable(value).split(',').map(|member| member.trim().to_owned()).collect();
        list.into_iter().filter(|member| !member.is_empty())
    })
}

/// A field's value as text, with `?` for each byte that is not visible ASCII: one bad member must not make the whole list
/// unreadable.
fn readable(value: &[u8]) -> Cow<'_, str> {
    let shown = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(|byte| shown(*byte)) => Cow::Borrowed(text),
        _ => value.iter().map(|byte| if shown(*byte) { char::from(*byte) } else { '?' }).collect(),
    }
}

/// An address with or without port or brackets.
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// Browsers' WebSockets name their own schemes.
fn scheme(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some("https"),
        "http" | "ws" => Some("http"),
        _ => None,
    }
}

/// A path in its normal form, without a slash at its end; "" for anything else.
fn prefix(head: &impl RequestHead) -> String {
    let rules = PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Refuse };
    let told =
        head.header_text(&X_FORWARDED_PREFIX).map(|told| told.trim_end_matches('/')).unwrap_or_default();
    let is_path = told.starts_with('/') && told.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    match path::normalize(told, rules) {
        Ok(normal) if is_path && normal == told => told.to_owned(),
        Ok(_) | Err(_) => String::new(),
    }
}

fn host(name: String) -> Option<String> {
    authority::check(name.as_bytes()).is_ok().then_some(name)
}

/// One element of `Forwarded`: what one proxy tells.
#[derive(Debug, Default)]
struct Element {
    /// Its `for`, as `X-Forwarded-For` would have it; `unknown` where there is none.
    node: String,
    scheme: Option<&'static str>,
    host: Option<String>,
}

/// The elements of one field (RFC 7239, section 4).
fn elements(value: &str) -> Vec<Element> {
    let parsed = split(value, ',').map(|element| {
        let mut read = Element { node: "unknown".to_owned(), ..Element::default() };
        for (name, value) in split(element, ';').filter_map(|pair| pair.split_once('=')) {
            let value = unquoted(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => read.node = node(&value),
                "proto" => read.scheme = scheme(&value),
                "host" => read.host = host(value),
                _ => {}
            }
        }
        read
    });
    parsed.collect()
}

/// A node as `X-Forwarded-For` has it: an IPv6 address without a port has no brackets there, and no entry has a comma.
fn node(value: &str) -> String {
    match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.to_owned(),
        None if value.is_empty() || value.contains(',') => "unknown".to_owned(),
        None => value.to_owned(),
    }
}

/// The parts of a list that are not blank; a separator in quotes does not count.
fn split(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = list.split(move |letter| {
        let was_escaped = std::mem::take(&mut escaped);
        match letter {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        letter == separator && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// The text of a token or a quoted string (RFC 9110, section 5.6.4).
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(fields: &[(&str, &str)]) -> ProxyClaims {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a valid request").into_parts();
        ProxyClaims::of(&head, &["10.0.0.0/8".parse().expect("a net")])
    }

    fn told(fields: &[(&str, &str)]) -> (String, Option<String>, Option<&'static str>, Option<String>) {
        let ProxyClaims { chain, client, scheme, host, prefix: _ } = claims(fields);
        (chain.join(", "), client.map(|ip| ip.to_string()), scheme, host)
    }

    fn expected(
        chain: &str,
        client: &str,
        scheme: &'static str,
        host: &str,
    ) -> (String, Option<String>, Option<&'static str>, Option<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (chain.to_owned(), some(client), Some(scheme).filter(|scheme| !scheme.is_empty()), some(host))
    }

    #[test]
    fn x_forwarded_fields() {
        for (fields, chain, client, scheme, host) in [
            (&[("x-forwarded-for", "1.1.1.1, 10.0.0.7")][..], "1.1.1.1, 10.0.0.7", "1.1.1.1", "", ""),
            (&[("x-forwarded-for", "1.1.1.1,, 10.0.0.7,")], "1.1.1.1, 10.0.0.7", "1.1.1.1", "", ""),
            (&[("x-forwarded-for", "2.2.2.2, 1.1.1.1")], "2.2.2.2, 1.1.1.1", "1.1.1.1", "", ""),
            (&[("x-forwarded-for", "1.1.1.1, x, 10.0.0.7")], "1.1.1.1, x, 10.0.0.7", "10.0.0.7", "", ""),
            (
                &[("x-forwarded-for", "1.1.1.1:80"), ("x-forwarded-for", "10.0.0.7")],
                "1.1.1.1:80, 10.0.0.7",
                "1.1.1.1",
                "",
                "",
            ),
            (
                &[("x-forwarded-proto", "wss"), ("x-forwarded-host", "a.example:8443")],
                "",
                "",
                "https",
                "a.example:8443",
            ),
            (&[("x-forwarded-proto", "https, http")], "", "", "https", ""),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], "", "", "https", ""),
            (&[("x-forwarded-proto", ", HTTP")], "", "", "http", ""),
            (&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b/<c>")], "", "", "", ""),
            (&[("x-forwarded-host", "a.example, b.example")], "", "", "", "a.example"),
            (&[("x-forwarded-proto", "http"), ("forwarded", "for=1.1.1.1;proto=https")], "", "", "http", ""),
        ] {
            assert_eq!(told(fields), expected(chain, client, scheme, host), "{fields:?}");
        }
    }

    #[test]
    fn forwarded_elements() {
        for (value, chain, client, scheme, host) in [
            ("for=1.1.1.1;proto=https;host=a.example", "1.1.1.1", "1.1.1.1", "https", "a.example"),
            ("For=1.1.1.1;PROTO=HTTPS, for=10.0.0.7;proto=http", "1.1.1.1, 10.0.0.7", "1.1.1.1", "https", ""),
            ("for=9.9.9.9;proto=http, for=1.1.1.1;proto=https", "9.9.9.9, 1.1.1.1", "1.1.1.1", "https", ""),
            ("for=1.1.1.1, for=10.0.0.7;proto=https", "1.1.1.1, 10.0.0.7", "1.1.1.1", "https", ""),
            ("for=\"[2001:db8::1]\"", "2001:db8::1", "2001:db8::1", "", ""),
            ("for=\"[2001:db8::1]:4711\"", "[2001:db8::1]:4711", "2001:db8::1", "", ""),
            ("for=unknown;proto=https", "unknown", "", "https", ""),
            (
                "for=_hidden, for=10.0.0.7;host=\"b.example:1\"",
                "_hidden, 10.0.0.7",
                "10.0.0.7",
                "",
                "b.example:1",
            ),
            ("proto=https", "unknown", "", "https", ""),
            ("for=\"1.1.1.1, 2.2.2.2\";proto=\"ht\\tps\"", "unknown", "", "https", ""),
            (", ;, for=1.1.1.1 ;", "unknown, 1.1.1.1", "1.1.1.1", "", ""),
            ("for=\"", "\"", "", "", ""),
            ("", "", "", "", ""),
        ] {
            assert_eq!(told(&[("forwarded", value)]), expected(chain, client, scheme, host), "{value}");
        }
    }
}
