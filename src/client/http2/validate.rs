//! Refuses HTTP/2 requests that would mean something else in HTTP/1.1, or are ambiguous, before an endpoint is chosen.
//!
//! h2 itself resets the stream or the connection for upper-case names, connection-specific fields, and a body that
//! contradicts its length (RFC 9113, sections 8.1.1 and 8.2). It hides two faults, which therefore pass: a fragment in
//! `:path`, which it cuts off, and pseudo-headers among trailers.

use http::header;
use http::request::Parts;

use crate::authority;
use crate::http1::head::{check_method, check_path};

/// The error is the reason, for the log.
pub fn check(request: &Parts) -> Result<(), &'static str> {
    check_method(request.method.as_str())?;
    let target = request.uri.path_and_query().map_or("", |target| target.as_str());
    check_path(target.as_bytes(), request.method.as_str().as_bytes())?;
    let is_ours = |scheme: &str| ["http", "https"].iter().any(|ours| ours.eq_ignore_ascii_case(scheme));
    if request.uri.scheme_str().is_some_and(|scheme| !is_ours(scheme)) {
        return Err("scheme that is neither http nor https");
    }
    if request.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err("more than one Content-Length");
    }
    check_authority(request)?;
    // RFC 9113, section 8.2.1.
    let padded = |value: &[u8]| {
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        is_blank(value.first()) || is_blank(value.last())
    };
    if request.headers.values().any(|value| padded(value.as_bytes())) {
        return Err("blank at the beginning or end of a field's value");
    }
    // The only byte that the `http` crate allows in a name, and RFC 9110, section 5.6.2, does not.
    match request.headers.keys().any(|name| name.as_str().contains('"')) {
        true => Err("quote in a field's name"),
        false => Ok(()),
    }
}

/// `:authority` and `Host` must agree (RFC 9113, section 8.3.1).
fn check_authority(request: &Parts) -> Result<(), &'static str> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let (host, other) = (hosts.next(), hosts.next());
    if other.is_some() {
        return Err("more than one Host");
    }
    let named = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.map(|host| host.as_bytes());
    named.into_iter().chain(host).try_for_each(authority::check)?;
    let secure = request.uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    match named.zip(host) {
        Some((named, host)) if !authority::agree(named, host, secure) => {
            Err("Host is another one than :authority")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_authority_agree_as_in_http1() {
        let differs = Err("Host is another one than :authority");
        for (scheme, authority, host, expected) in [
            ("http", "a.example", "A.example", Ok(())),
            ("http", "a.example:80", "a.example", Ok(())),
            ("https", "a.example", "a.example:443", Ok(())),
            ("http", "[::1]", "[::1]:80", Ok(())),
            ("http", "a.example:443", "a.example", differs),
            ("https", "a.example", "a.example:80", differs),
            ("http", "a.example", "b.example", differs),
            ("http", "a.example", "a.example.", differs),
        ] {
            let request = http::Request::get(format!("{scheme}://{authority}/")).header("host", host);
            let (request, ()) = request.body(()).expect("a request").into_parts();
            assert_eq!(check(&request), expected, "{scheme} {authority} {host}");
        }
    }
}
