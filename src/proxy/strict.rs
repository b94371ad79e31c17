//! What an HTTP/2 request is refused for before an endpoint is chosen, because it would mean something else in HTTP/1.1.
//!
//! Names in upper case, fields of the connection, and a length that the body does not keep are refused by the codec with
//! a reset of the stream, or of the connection (RFC 9113, sections 8.1.1 and 8.2); a `Host` other than the authority by
//! Pingora with 400. What neither of them shows cannot be judged: a fragment in `:path`, which the codec cuts off, and
//! pseudo-headers among trailers.

use http::{Version, header};
use pingora_http::RequestHeader;

use crate::http1::head::{check_host, check_path};

/// `Err` is why, for the operator. Requests of other versions have been read by the lane's rules, or are not judged.
pub fn check(request: &RequestHeader) -> Result<(), &'static str> {
    if request.version != Version::HTTP_2 || request.method == http::Method::CONNECT {
        return Ok(());
    }
    check_path(request.raw_path(), request.method.as_str().as_bytes())?;
    let is_ours = |scheme: &str| ["http", "https"].iter().any(|ours| ours.eq_ignore_ascii_case(scheme));
    if request.uri.scheme_str().is_some_and(|scheme| !is_ours(scheme)) {
        return Err("scheme that is neither http nor https");
    }
    if request.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err("more than one Content-Length");
    }
    if let Some(authority) = request.uri.authority() {
        check_host(authority.as_str().as_bytes())?;
    }
    request.headers.get_all(header::HOST).iter().try_for_each(|host| check_host(host.as_bytes()))?;
    // RFC 9113, section 8.2.1.
    let padded = |value: &[u8]| {
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        is_blank(value.first()) || is_blank(value.last())
    };
    match request.headers.values().any(|value| padded(value.as_bytes())) {
        true => Err("blank at the beginning or end of a field's value"),
        false => Ok(()),
    }
}
