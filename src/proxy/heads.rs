//! What Pingora leaves in heads, or takes out of them, that neither side should see; policy is in `exchange`.

use http::uri::Scheme;
use http::{Uri, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::exchange::END_TO_END;

/// Puts back what Pingora lets the client's `Connection` remove, and an endpoint may rely on.
pub fn restore_end_to_end(client: &RequestHeader, request: &mut RequestHeader) -> Result<()> {
    for name in END_TO_END {
        if !request.headers.contains_key(&name) {
            for value in client.headers.get_all(&name) {
                request.append_header(name.clone(), value.clone())?;
            }
        }
    }
    Ok(())
}

/// HTTP/2 clients may send their cookies in several fields; in HTTP/1.1 they are one (RFC 9113, section 8.2.3).
pub fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let cookies: Vec<_> = request.headers.get_all(header::COOKIE).iter().map(|one| one.as_bytes()).collect();
    if cookies.len() < 2 {
        return Ok(());
    }
    let joined = cookies.join(&b"; "[..]);
    request.insert_header(header::COOKIE, joined)
}

/// Puts another path in the place of the one that was sent; the query stays.
pub fn set_path(request: &mut RequestHeader, path: &str) -> Result<()> {
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if request.uri.authority().is_none() {
        return request.set_raw_path(target.as_bytes());
    }
    // Of an HTTP/2 request: its authority is what names the host.
    let mut parts = request.uri.clone().into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    let refused = || format!("no target: {target}");
    parts.path_and_query = Some(target.parse().or_err_with(ErrorType::InvalidHTTPHeader, refused)?);
    request.set_uri(Uri::from_parts(parts).or_err_with(ErrorType::InvalidHTTPHeader, refused)?);
    Ok(())
}

/// An endpoint of HTTP/2 is told the host by the authority of the target (RFC 9113, section 8.3.1): the `Host` that the pool
/// wants becomes that.
pub fn authority_form(request: &mut RequestHeader) -> Result<()> {
    let Some(host) = request.headers.get(header::HOST).cloned() else { return Ok(()) };
    let mut parts = request.uri.clone().into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.authority = Some(host.as_bytes().try_into().or_err(ErrorType::InvalidHTTPHeader, "no host")?);
    request.set_uri(Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "no target")?);
    request.remove_header(&header::HOST);
    Ok(())
}

/// A server that is asked directly is asked by path alone (RFC 9112, section 3.2): an authority in the target would
/// count more for it than the `Host` that the pool wants.
pub fn origin_form(request: &mut RequestHeader) -> Result<()> {
    if request.uri.authority().is_some() {
        // Of an HTTP/2 request: `Host` has been made of it.
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        if let Ok(path) = path.parse() {
            request.set_uri(path);
        }
    }
    let raw = String::from_utf8_lossy(request.raw_path());
    let Some((_, rest)) = raw.split_once("://").filter(|_| !raw.starts_with(['/', '?', '*'])) else {
        return Ok(());
    };
    if request.method == http::Method::OPTIONS && !rest.contains(['/', '?']) {
        return request.set_raw_path(b"*");
    }
    // Pingora keeps the bytes of such a target apart from its path; this is the path alone.
    request.set_uri(request.uri.clone());
    Ok(())
}

/// Sends the head of a response; `ended`: and there is nothing more.
///
/// HTTP/2 says so in the head's own frame, and clients of gRPC insist on that where a call fails at once. Pingora would send
/// an empty DATA frame after it.
pub async fn send(session: &mut Session, response: Box<ResponseHeader>, ended: bool) -> Result<()> {
    match session.as_downstream_mut() {
        ServerSession::H2(client) if ended => client.write_response_header(response, true),
        _ => session.write_response_header(response, ended).await,
    }
}

/// Makes the response's framing one of ours: the endpoint's version and its ambiguities end here. `trailers`: they may pass.
pub fn own_framing(response: &mut ResponseHeader, trailers: bool) -> Result<()> {
    response.set_version(Version::HTTP_11);
    if !trailers {
        // What does not come must not be announced.
        response.remove_header(&header::TRAILER);
    }
    if response.status == http::StatusCode::NO_CONTENT {
        // It has no body, and some clients wait for one that is announced (RFC 9110, section 8.6).
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        // Pingora has made sure that they are equal.
        response.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_path(uri: &str, path: &str) -> String {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a head");
        request.set_uri(uri.parse().expect("a target"));
        set_path(&mut request, path).expect("a path");
        request.uri.to_string()
    }

    #[test]
    fn another_path_keeps_all_but_the_path() {
        assert_eq!(with_path("http://test.example/a//b?c", "/a/b"), "http://test.example/a/b?c");
        assert_eq!(with_path("http://test.example:81/%7Eu", "/~u"), "http://test.example:81/~u");
        assert_eq!(with_path("/a//b?c", "/a/b"), "/a/b?c");
    }
}
