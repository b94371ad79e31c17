//! Repairs heads that Pingora forwards otherwise than the engine `native` does; policy is in `exchange`.

use http::uri::Scheme;
use http::{HeaderMap, Uri, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

/// HTTP/2 clients may send their cookies in several fields; in HTTP/1.1 they are one (RFC 9113, section 8.2.3).
pub fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let cookies: Vec<_> = request.headers.get_all(header::COOKIE).iter().map(|one| one.as_bytes()).collect();
    if cookies.len() < 2 {
        return Ok(());
    }
    let joined = cookies.join(&b"; "[..]);
    request.insert_header(header::COOKIE, joined)
}

/// Replaces the path; the query stays.
pub fn set_path(request: &mut RequestHeader, path: &str) -> Result<()> {
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if request.uri.authority().is_none() {
        return request.set_raw_path(target.as_bytes());
    }
    // An HTTP/2 request: the authority stays, because it names the host.
    let mut parts = request.uri.clone().into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    let refused = || format!("no target: {target}");
    parts.path_and_query = Some(target.parse().or_err_with(ErrorType::InvalidHTTPHeader, refused)?);
    request.set_uri(Uri::from_parts(parts).or_err_with(ErrorType::InvalidHTTPHeader, refused)?);
    Ok(())
}

/// Moves `Host` to the target's authority, as HTTP/2 has it (RFC 9113, section 8.3.1), and asks for trailers where they
/// are passed on: from HTTP/2 to HTTP/2. `secured`: over TLS.
pub fn for_http2(client: &RequestHeader, request: &mut RequestHeader, secured: bool) -> Result<()> {
    let mut asked = client.headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    let is_trailers = |coding: &str| coding.trim().eq_ignore_ascii_case("trailers");
    if client.version == Version::HTTP_2 && asked.any(|value| value.split(',').any(is_trailers)) {
        request.insert_header(header::TE, "trailers")?;
    }
    let Some(host) = request.headers.get(header::HOST).cloned() else { return Ok(()) };
    let mut parts = request.uri.clone().into_parts();
    parts.scheme = Some(if secured { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(host.as_bytes().try_into().or_err(ErrorType::InvalidHTTPHeader, "no host")?);
    request.set_uri(Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "no target")?);
    request.remove_header(&header::HOST);
    Ok(())
}

/// Reduces an absolute target to path and query, as an origin server expects it (RFC 9112, section 3.2).
pub fn origin_form(request: &mut RequestHeader) -> Result<()> {
    let raw = String::from_utf8_lossy(request.raw_path());
    let Some((_, rest)) = raw.split_once("://").filter(|_| !raw.starts_with(['/', '?', '*'])) else {
        return Ok(());
    };
    if request.method == http::Method::OPTIONS && !rest.contains(['/', '?']) {
        return request.set_raw_path(b"*");
    }
    // Pingora keeps the raw target beside the URI, which has only the path; setting the URI drops it.
    request.set_uri(request.uri.clone());
    Ok(())
}

/// Name and value of each field.
pub fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// Sends the head of a response; `ended`: it has no body.
///
/// Over HTTP/2, END_STREAM is then set on HEADERS, which gRPC clients require where a call fails at once. Pingora would
/// send an empty DATA frame instead.
pub async fn send(session: &mut Session, response: Box<ResponseHeader>, ended: bool) -> Result<()> {
    match session.as_downstream_mut() {
        ServerSession::H2(client) if ended => client.write_response_header(response, true),
        _ => session.write_response_header(response, ended).await,
    }
}

/// Replaces the endpoint's version by HTTP/1.1, and removes ambiguous framing.
pub fn own_framing(response: &mut ResponseHeader) -> Result<()> {
    response.set_version(Version::HTTP_11);
    // Trailers that are not forwarded must not be announced.
    response.remove_header(&header::TRAILER);
    if response.status.is_informational() && response.status != http::StatusCode::SWITCHING_PROTOCOLS {
        // Pingora replaces that of other responses.
        response.remove_header(&header::CONNECTION);
    }
    if response.status == http::StatusCode::NO_CONTENT || response.status.is_informational() {
        // Some clients wait for a body that is announced, although there is none (RFC 9110, section 8.6).
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        // Pingora has checked that they are equal.
        response.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http2_has_the_host_in_its_target_and_its_own_scheme() {
        let client = RequestHeader::build("GET", b"/", None).expect("a head");
        for (secured, expected) in
            [(true, "https://test.example:81/a?b"), (false, "http://test.example:81/a?b")]
        {
            let mut request = client.clone();
            request.set_uri("http://other.example/a?b".parse().expect("a target"));
            request.insert_header("host", "test.example:81").expect("a field");
            for_http2(&client, &mut request, secured).expect("a target");
            assert_eq!(request.uri.to_string(), expected);
        }
    }
}
