//! Heads on their way to an HTTP/2 endpoint and back.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version, header};
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::exchange::{Edits, Exchange};
use crate::proxy::forward::takes_trailers;
use crate::proxy::{edits, heads};

/// The request as the endpoint is to see it.
pub fn request(session: &Session, exchange: &Exchange) -> Result<Request<()>> {
    let client = session.req_header();
    let mut head = RequestHeader::build(client.method.clone(), b"/", Some(client.headers.len() + 8))?;
    head.set_uri(client.uri.clone());
    for (name, value) in &client.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let mut changes = Edits::default();
    let connection =
        client.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    exchange.request_edits(&**client, connection, &mut changes);
    edits::apply(&mut head, &changes)?;
    heads::restore_end_to_end(client, &mut head)?;
    // Trailers do not pass, and what does not come must not be announced.
    for ends_here in [header::CONNECTION, header::TRANSFER_ENCODING, header::EXPECT, header::TRAILER] {
        head.remove_header(&ends_here);
    }
    if takes_trailers(client) {
        head.insert_header(header::TE, "trailers")?;
    }
    let uri = uri(client, &head, exchange)?;
    // The authority says it (RFC 9113, section 8.3.1).
    head.remove_header(&header::HOST);
    let mut parts: http::request::Parts = head.into();
    (parts.version, parts.uri) = (Version::HTTP_2, uri);
    Ok(Request::from_parts(parts, ()))
}

fn uri(client: &RequestHeader, head: &RequestHeader, exchange: &Exchange) -> Result<Uri> {
    let secured = exchange.pool().is_some_and(|pool| pool.spec().tls.is_some());
    let host = head.headers.get(header::HOST).map(|host| host.as_bytes());
    let authority = match (host, client.uri.authority()) {
        (Some(host), _) => Authority::try_from(host).or_err(ErrorType::InvalidHTTPHeader, "no host")?,
        (None, Some(authority)) => authority.clone(),
        // Of an HTTP/1.0 client, whose absolute target has said it, if anything has.
        (None, None) => {
            Authority::try_from(exchange.host()).or_err(ErrorType::InvalidHTTPHeader, "no host")?
        }
    };
    let path = match client.uri.path_and_query() {
        Some(path) => path.clone(),
        None if client.method == Method::OPTIONS => PathAndQuery::from_static("*"),
        None => PathAndQuery::from_static("/"),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secured { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "no target")
}

/// The response as the client is to see it; `ended`: it has no body.
pub fn response(
    parts: http::response::Parts,
    session: &mut Session,
    exchange: &Exchange,
    ended: bool,
) -> Result<Box<ResponseHeader>> {
    let status = parts.status.as_u16();
    let mut response = ResponseHeader::from(parts);
    let mut changes = Edits::default();
    let fields = || response.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    exchange.response_edits(status, fields, &mut changes);
    edits::apply(&mut response, &changes)?;
    let client = session.req_header();
    let http2 = client.version == Version::HTTP_2;
    // Pingora has no trailers for HTTP/1.1 clients.
    heads::own_framing(&mut response, http2)?;
    let bodiless = client.method == Method::HEAD || matches!(status, 204 | 304);
    if !http2 && !bodiless && !response.headers.contains_key(header::CONTENT_LENGTH) {
        if ended {
            response.insert_header(header::CONTENT_LENGTH, "0")?;
        } else if client.version == Version::HTTP_11 {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        } else {
            // An HTTP/1.0 client knows no chunks: the end of the connection ends the body.
            session.set_keepalive(None);
        }
    }
    Ok(Box::new(response))
}
