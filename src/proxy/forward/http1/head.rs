//! Heads on their way to an HTTP/1.1 endpoint, in the lane's normal form, and back.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::exchange::{Edits, Exchange};
use crate::http1::framing::{Framing, Version};
use crate::http1::head::Response;
use crate::http1::write::{self, RequestForm};
use crate::proxy::edits;
use crate::proxy::forward::{Sent, takes_trailers};

/// Room for the fields that are added to a head.
const ADDED: usize = 512;

/// How the body is delimited for an endpoint.
pub fn framing(client: &RequestHeader, sent: &Sent) -> Framing {
    let length = client.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match length.and_then(|length| length.parse().ok()) {
        // The codec sees to it that so much comes, and no more (RFC 9113, section 8.1.1).
        Some(length) => Framing::Length(length),
        None if sent.has_no_body() => Framing::None,
        None => Framing::Chunked,
    }
}

/// The request as the endpoint is to see it; `host` is what it is called where nobody names one.
pub fn request(client: &RequestHeader, exchange: &Exchange, framing: Framing, host: &str) -> Vec<u8> {
    let mut edits = Edits::default();
    // HTTP/2 knows no `Connection` (RFC 9113, section 8.2.2).
    exchange.request_edits(&**client, std::iter::empty(), &mut edits);
    let form = RequestForm { edits: &edits, framing, upgrade: false, trailers: takes_trailers(client), host };
    let mut out = Vec::with_capacity(client.headers.len() * 64 + ADDED);
    let path = client.uri.path_and_query().map_or("/", |path| path.as_str());
    write(&mut out, &[client.method.as_str().as_bytes(), b" ", path.as_bytes(), b" HTTP/1.1\r\n"]);
    if !edits.gives("host") {
        let authority = client.uri.authority().map(|authority| authority.as_str().as_bytes());
        let named = authority.or_else(|| client.headers.get(header::HOST).map(|host| host.as_bytes()));
        write(&mut out, &[b"Host: ", named.unwrap_or(host.as_bytes()), b"\r\n"]);
    }
    // Trailers of requests do not pass, and what does not come must not be announced.
    let not_here = |name: &HeaderName| [header::HOST, header::COOKIE, header::TRAILER].contains(name);
    for (name, value) in &client.headers {
        let text = name.as_str().as_bytes();
        if !not_here(name) && !write::goes(text, &edits, framing) {
            write(&mut out, &[text, b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    cookies(&mut out, client);
    write::request_end(&mut out, &form);
    out
}

/// HTTP/2 clients may send their cookies in several fields; in HTTP/1.1 they are one (RFC 9113, section 8.2.3).
fn cookies(out: &mut Vec<u8>, client: &RequestHeader) {
    let mut between: &[u8] = b"cookie: ";
    for cookie in client.headers.get_all(header::COOKIE) {
        write(out, &[between, cookie.as_bytes()]);
        between = b"; ";
    }
    if between == b"; " {
        out.extend_from_slice(b"\r\n");
    }
}

fn write(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The response as the client is to see it; its head lies in `bytes`, and what goes on of it stays there.
pub fn response(
    response: &Response,
    bytes: &Bytes,
    method: &http::Method,
    exchange: &Exchange,
) -> http::Result<ResponseHeader> {
    let view = response.view(bytes);
    let mut edits = Edits::default();
    exchange.response_edits(view.status(), || view.fields(), &mut edits);
    let onward = view.onward(method.as_str(), Version::Http11);
    let mut fields = HeaderMap::with_capacity(view.fields().count() + 4);
    for (name, value) in view.fields().filter(|(name, _)| !write::goes(name, &edits, onward.body)) {
        // It is a part of `bytes`, and is not copied.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value))?;
        fields.append(HeaderName::from_bytes(name)?, value);
    }
    if let Framing::Length(length) = onward.announced {
        fields.append(header::CONTENT_LENGTH, length.into());
    }
    for (name, value) in edits::added(&edits) {
        fields.append(name, value);
    }
    let (mut parts, ()) = http::Response::new(()).into_parts();
    (parts.status, parts.headers) = (StatusCode::from_u16(view.status())?, fields);
    Ok(ResponseHeader::from(parts))
}
