//! Heads of HTTP/2, in the types of the `http` crate.

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header, request, response};

use super::{Framing, Onward, RequestFields, ResponseHead, Version, of_response};
use crate::header_field::same_name;
use crate::routing::RequestHead;
use crate::websocket;

/// The head of a request received over HTTP/2.
#[derive(Debug)]
pub struct Http2Request {
    parts: request::Parts,
    framing: Framing,
    /// The client asks for a WebSocket (RFC 8441): the `Sec-WebSocket-Key` for the endpoint, which speaks HTTP/1.1.
    websocket_key: Option<String>,
}

/// The head of a response received over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Http2Response<'a> {
    status: StatusCode,
    fields: Option<&'a HeaderMap>,
    /// The stream ended with the head.
    ended: bool,
}

// === impl Http2Request ===

impl Http2Request {
    /// `ended`: the stream ended with the head.
    pub fn new(mut parts: request::Parts, ended: bool) -> Self {
        let websocket_key = is_websocket(&parts).then(websocket::fresh_key).flatten();
        let framing = match length(&parts.headers) {
            _ if websocket_key.is_some() => Framing::None,
            Some(length) => Framing::Length(length),
            None if ended => Framing::None,
            None => Framing::Chunked,
        };
        if websocket_key.is_some() {
            parts.method = Method::GET;
        }
        Self { parts, framing, websocket_key }
    }

    pub fn parts(&self) -> &request::Parts {
        &self.parts
    }

    /// A CONNECT that is no WebSocket: it asks for a tunnel to another host.
    pub fn is_plain_connect(&self) -> bool {
        self.parts.method == Method::CONNECT
    }

    /// Replaces the path; the query stays. `None`: `path` is not valid in a URI.
    pub fn set_path(&mut self, path: &str) -> Option<()> {
        let target = match self.parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = self.parts.uri.clone().into_parts();
        parts.path_and_query = Some(target.parse().ok()?);
        if parts.authority.is_some() {
            parts.scheme.get_or_insert(http::uri::Scheme::HTTP);
        }
        self.parts.uri = Uri::from_parts(parts).ok()?;
        Some(())
    }

    fn handshake(&self, out: &mut Vec<u8>) {
        if let Some(key) = &self.websocket_key {
            write(out, &[b"Upgrade: websocket\r\nSec-WebSocket-Key: ", key.as_bytes(), b"\r\n"]);
        }
    }
}

fn is_websocket(parts: &request::Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    parts.method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

fn length(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn write(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

impl RequestHead for &Http2Request {
    fn method(&self) -> &str {
        self.parts.method.as_str()
    }

    fn authority(&self) -> &str {
        self.parts.authority()
    }

    fn path(&self) -> &str {
        self.parts.path()
    }

    fn query(&self) -> Option<&str> {
        self.parts.query()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.parts.values(name)
    }

    fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        self.parts.header(name)
    }
}

impl RequestFields for &Http2Request {
    fn version(&self) -> Version {
        Version::Http2
    }

    fn framing(&self) -> Framing {
        self.framing
    }

    fn target(&self) -> &[u8] {
        self.parts.uri.path_and_query().map_or(b"", |target| target.as_str().as_bytes())
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4)
    }

    /// HTTP/2 has no `Connection` (RFC 9113, section 8.2.2).
    fn connection(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    fn is_upgrade(&self) -> bool {
        self.websocket_key.is_some()
    }

    fn websocket_key(&self) -> Option<&[u8]> {
        self.websocket_key.as_deref().map(str::as_bytes)
    }

    fn takes_trailers(&self) -> bool {
        let values = self.parts.headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("trailers"))
    }

    fn copy_lines(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let host = self.authority().as_bytes();
        if !host.is_empty() && keep(b"host", host) {
            write(out, &[b"Host: ", host, b"\r\n"]);
        }
        let mut has_cookie = false;
        for (name, value) in &self.parts.headers {
            let (text, value) = (name.as_str().as_bytes(), value.as_bytes());
            has_cookie |= *name == header::COOKIE;
            let is_written_apart = *name == header::HOST || *name == header::COOKIE;
            if !is_written_apart && !self.is_of_handshake(text) && keep(text, value) {
                write(out, &[text, b": ", value, b"\r\n"]);
            }
        }
        if has_cookie && keep(b"cookie", b"") {
            self.cookie(out);
        }
        self.handshake(out);
    }

    fn copy_fields(&self, map: &mut HeaderMap, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        for (name, value) in &self.parts.headers {
            if *name != header::HOST && keep(name.as_str().as_bytes(), value.as_bytes()) {
                map.append(name, value.clone());
            }
        }
    }
}

impl Http2Request {
    /// Fields of the HTTP/1.1 handshake, which we write ourselves.
    fn is_of_handshake(&self, name: &[u8]) -> bool {
        let of_handshake: [&[u8]; 4] =
            [b"upgrade", b"sec-websocket-key", b"sec-websocket-accept", b"content-length"];
        self.websocket_key.is_some() && of_handshake.iter().any(|other| same_name(name, other))
    }

    /// HTTP/2 clients may send their cookies in several fields; in HTTP/1.1 they are one (RFC 9113, section 8.2.3).
    fn cookie(&self, out: &mut Vec<u8>) {
        let mut between: &[u8] = b"cookie: ";
        for cookie in self.parts.headers.get_all(header::COOKIE) {
            write(out, &[between, cookie.as_bytes()]);
            between = b"; ";
        }
        out.extend_from_slice(b"\r\n");
    }
}

// === impl Http2Response ===

impl<'a> Http2Response<'a> {
    /// `head` is `None` before a response has arrived; the flag says whether the stream ended with the head.
    pub fn of(head: Option<(&'a response::Parts, bool)>) -> Self {
        match head {
            Some((parts, ended)) => Self { status: parts.status, fields: Some(&parts.headers), ended },
            None => Self { status: StatusCode::BAD_GATEWAY, fields: None, ended: true },
        }
    }
}

impl ResponseHead for Http2Response<'_> {
    fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn reason(&self) -> &[u8] {
        self.status.canonical_reason().unwrap_or_default().as_bytes()
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.fields.into_iter().flatten();
        all.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }

    fn announced(&self) -> Framing {
        match self.fields.and_then(length) {
            Some(length) => Framing::Length(length),
            None if self.ended => Framing::None,
            None => Framing::Chunked,
        }
    }

    fn framing(&self, method: &str) -> Framing {
        match of_response(method, self.status(), self.announced()) {
            _ if self.ended => Framing::None,
            Framing::UntilClose => Framing::Chunked,
            framing => framing,
        }
    }

    /// Over HTTP/1.1, an empty body has to be announced where the status allows one.
    fn onward(&self, method: &str, client: Version) -> Onward {
        let could_have_body = of_response(method, self.status(), Framing::Chunked) != Framing::None;
        let onward = Onward::new(self.announced(), self.framing(method), self.status(), client);
        match onward.announced {
            Framing::None if could_have_body && client != Version::Http2 => {
                Onward { announced: Framing::Length(0), ..onward }
            }
            _ => onward,
        }
    }

    fn copy_lines(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        for (name, value) in self.fields() {
            if keep(name, value) {
                write(out, &[name, b": ", value, b"\r\n"]);
            }
        }
    }

    fn copy_fields(&self, map: &mut HeaderMap, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        for (name, value) in self.fields.into_iter().flatten() {
            if keep(name.as_str().as_bytes(), value.as_bytes()) {
                map.append(name, value.clone());
            }
        }
    }
}
