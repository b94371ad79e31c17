//! Keeps endpoints hidden: their addresses in `Location`, `Refresh` and cookie domains become the host that the client asked for.

use std::sync::Arc;

use http::{HeaderName, header};

use super::edits::Edits;
use super::response::{cookies, location, refresh};
use crate::authority;
use crate::config::{CookieEdits, PrefixChange};
use crate::pool::authorities::Authorities;

/// The names by which the client and the endpoint know this site.
pub struct HideEndpoint<'a, F> {
    /// The scheme and authority that the client used.
    pub scheme: &'a str,
    pub authority: &'a str,
    /// The `Host` that the endpoint was sent.
    pub sent_host: &'a str,
    /// Every name that the pool's endpoints have. Called only for a field that could contain one.
    pub endpoints: F,
    /// What the route changes of cookies.
    pub cookies: Option<&'a CookieEdits>,
    /// The prefix that the endpoint knows paths by, and the client's; `None`: they are the same.
    pub prefix: Option<PrefixChange>,
}

/// Whether a field of that name can contain an endpoint's address.
pub fn concerns(name: &[u8]) -> bool {
    match name.len() {
        7 => name.eq_ignore_ascii_case(b"refresh"),
        8 => name.eq_ignore_ascii_case(b"location"),
        10 => name.eq_ignore_ascii_case(b"set-cookie"),
        16 => name.eq_ignore_ascii_case(b"content-location"),
        _ => false,
    }
}

impl<F: Fn() -> Option<Arc<Authorities>>> HideEndpoint<'_, F> {
    pub fn apply<'a, I>(&self, edits: &mut Edits, fields: impl Fn() -> I)
    where
        I: Iterator<Item = (&'a [u8], &'a [u8])>,
    {
        let values = |name: &HeaderName| {
            let named = fields().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_str().as_bytes()));
            named.map(|(_, value)| value).collect::<Vec<_>>()
        };
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let values = values(&name);
            replace(edits, name, &values, |value| self.moved(value));
        }
        replace(edits, header::REFRESH, &values(&header::REFRESH), |value| {
            refresh::with_url(value, |url| self.moved(url))
        });
        replace(edits, header::SET_COOKIE, &values(&header::SET_COOKIE), |value| {
            let hidden = self.cookie(value);
            let edited =
                self.cookies.and_then(|cookies| cookies::edited(cookies, hidden.as_deref().unwrap_or(value)));
            edited.or(hidden)
        });
    }

    /// The location to send instead, with the prefix that clients know; `None`: it stays as it is.
    fn moved(&self, location: &[u8]) -> Option<Vec<u8>> {
        let hidden = self.location(location);
        let known = hidden.as_deref().unwrap_or(location);
        let prefix = self.prefix.as_ref();
        let moved = prefix.and_then(|prefix| location::with_prefix(known, prefix, self.authority));
        moved.or(hidden)
    }

    /// The location to send instead; `None`: it stays as it is.
    fn location(&self, location: &[u8]) -> Option<Vec<u8>> {
        // Scheme and authority are text; what follows may be anything.
        let text = location.utf8_chunks().next()?.valid();
        let (scheme, rest) = text.split_once("//")?;
        if !["", "http:", "https:"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // User name and password are the endpoint's, and go with its address.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        if authority.eq_ignore_ascii_case(self.authority) || !self.names_endpoint(authority) {
            return None;
        }
        let mut replaced = format!("{}://{}{path}", self.scheme, self.authority).into_bytes();
        replaced.extend_from_slice(location.get(text.len()..).unwrap_or_default());
        Some(replaced)
    }

    /// The cookie to send instead; `None`: it stays as it is.
    fn cookie(&self, cookie: &[u8]) -> Option<Vec<u8>> {
        let parts = || cookie.split(|byte| *byte == b';');
        let names_endpoint = |attribute: &[u8]| {
            let text = str::from_utf8(attribute).unwrap_or_default();
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let domain = value.trim().trim_start_matches('.');
            name.trim().eq_ignore_ascii_case("domain") && self.names_endpoint_host(domain)
        };
        if !parts().skip(1).any(names_endpoint) {
            return None;
        }
        let ours = authority::host(self.authority);
        let kept = parts().enumerate().filter_map(|(index, part)| match part {
            part if index == 0 || !names_endpoint(part) => Some(part.to_owned()),
            // An address cannot be a cookie's domain; without `Domain` the cookie is for this host alone.
            _ if ours.parse::<std::net::IpAddr>().is_ok() || ours.starts_with('[') || !ours.contains('.') => {
                None
            }
            _ => Some(format!(" Domain={ours}").into_bytes()),
        });
        Some(kept.collect::<Vec<_>>().join(&b';'))
    }

    fn names_endpoint(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = authority::split(&authority);
        let with_port = |default: &str| format!("{host}:{}", port.unwrap_or(default));
        let (plain, secure) = (with_port("80"), with_port("443"));
        let bare = if port.is_none() { host } else { &plain };
        let is = |name: &str| [bare, &plain, &secure].iter().any(|other| name.eq_ignore_ascii_case(other));
        let sent = self.sent_host != self.authority && is(self.sent_host);
        sent || (self.endpoints)().is_some_and(|names| names.has(&plain) || names.has(&secure))
    }

    fn names_endpoint_host(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case(authority::host(self.authority)) {
            return false;
        }
        let sent =
            self.sent_host != self.authority && authority::host(self.sent_host).eq_ignore_ascii_case(host);
        sent || (self.endpoints)().is_some_and(|names| names.has_host(&host.to_ascii_lowercase()))
    }
}

/// Changes the fields of that name for which `replacement` gives another value, and keeps the order of all of them.
fn replace(
    edits: &mut Edits,
    name: HeaderName,
    fields: &[&[u8]],
    replacement: impl Fn(&[u8]) -> Option<Vec<u8>>,
) {
    let changed: Vec<_> = fields.iter().map(|field| replacement(field)).collect();
    if changed.iter().any(Option::is_some) {
        edits.remove(name.clone());
        for (new, old) in changed.iter().zip(fields) {
            edits.append(name.clone(), new.as_deref().unwrap_or(old));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{EndpointTable, Target};

    fn replacement(location: impl AsRef<[u8]>, authority: &str, sent_host: &str) -> Option<String> {
        let replaced = with(authority, sent_host, |hide_endpoint| hide_endpoint.location(location.as_ref()));
        replaced.map(|bytes| bytes.escape_ascii().to_string())
    }

    fn with<T>(
        authority: &str,
        sent_host: &str,
        ask: impl Fn(&HideEndpoint<'_, &dyn Fn() -> Option<Arc<Authorities>>>) -> T,
    ) -> T {
        let target = Target::Inet("10.0.0.1:3000".parse().expect("an address"));
        let endpoint = EndpointTable::new(std::time::Instant::now()).endpoint(
            "x",
            &"app.internal:3000".into(),
            &target,
            None,
        );
        let names = Arc::new(Authorities::new([endpoint].iter()));
        let endpoints = move || Some(names.clone());
        ask(&HideEndpoint {
            scheme: "http",
            authority,
            sent_host,
            endpoints: &endpoints,
            cookies: None,
            prefix: None,
        })
    }

    #[test]
    fn a_location_that_names_an_endpoint_names_us_instead() {
        let cases = [
            ("http://10.0.0.1:3000/x?y#z", Some("http://example.com/x?y#z")),
            ("http://app.internal:3000/x", Some("http://example.com/x")),
            ("HTTP://APP.internal:3000", Some("http://example.com")),
            ("//10.0.0.1:3000/x", Some("http://example.com/x")),
            ("http://10.0.0.1:3001/x", None),
            ("http://elsewhere.example/10.0.0.1:3000", None),
            ("http://example.com/x", None),
            ("/x", None),
            ("", None),
            ("ftp://10.0.0.1:3000/x", None),
            ("http://user:secret@10.0.0.1:3000/x", Some("http://example.com/x")),
        ];
        for (location, expected) in cases {
            assert_eq!(
                replacement(location, "example.com", "example.com").as_deref(),
                expected,
                "{location}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_no_endpoint() {
        let location = replacement(b"http://10.0.0.1:3000/gr\xf6\xdfe?x", "example.com", "example.com");
        assert_eq!(location.as_deref(), Some("http://example.com/gr\\xf6\\xdfe?x"));
        let cookie: &[u8] = b"n=J\xfcrgen; Domain=app.internal; Path=/";
        let cookie = with("example.com", "example.com", |hide_endpoint| hide_endpoint.cookie(cookie));
        assert_eq!(cookie.as_deref(), Some(&b"n=J\xfcrgen; Domain=example.com; Path=/"[..]));
    }

    #[test]
    fn a_location_that_names_the_host_we_sent_names_us_instead() {
        let location = replacement("http://fixed.internal/x", "example.com:8080", "fixed.internal");
        assert_eq!(location.as_deref(), Some("http://example.com:8080/x"));
    }

    #[test]
    fn a_cookie_for_an_endpoint_is_for_us_instead() {
        let cases = [
            ("a=1; Domain=app.internal; Path=/", "example.com", Some("a=1; Domain=example.com; Path=/")),
            ("a=1; domain=.App.Internal", "example.com:80", Some("a=1; Domain=example.com")),
            ("a=1; Domain=10.0.0.1; Secure", "127.0.0.1:8080", Some("a=1; Secure")),
            ("a=Domain=app.internal", "example.com", None),
            ("a=1; Domain=example.com", "example.com", None),
            ("a=1", "example.com", None),
        ];
        for (cookie, authority, expected) in cases {
            let got = with(authority, authority, |hide_endpoint| hide_endpoint.cookie(cookie.as_bytes()));
            assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{cookie}");
        }
    }
}
