//! The head of a request to an HTTP/2 endpoint.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};

use crate::endpoint::OutgoingRequest;
use crate::exchange::Action;
use crate::http1::write;
use crate::message::{Framing, RequestFields, put_edits};

/// `secured`: over TLS, which decides `:scheme`.
pub fn head<R: RequestFields>(
    outgoing: &OutgoingRequest<'_, R>,
    secured: bool,
) -> Result<Request<()>, http::Error> {
    let OutgoingRequest { request, edits, .. } = outgoing;
    let framing = match outgoing.framing {
        // `Trailer` stays, because over HTTP/2 a body of known length may have trailers.
        Framing::None => Framing::None,
        _ => Framing::Chunked,
    };
    let mut fields = HeaderMap::with_capacity(16);

    request.copy_fields(&mut fields, |name, _| !write::is_dropped(name, edits, framing));
    put_edits(&mut fields, edits);
    // `:authority` replaces it (RFC 9113, section 8.3.1).
    fields.remove(header::HOST);
    // A client that expects `100 Continue` has been sent it.
    fields.remove(header::EXPECT);
    if let Framing::Length(length) = outgoing.framing {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    if request.takes_trailers() {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let mut head = Request::new(());
    *head.method_mut() = Method::from_bytes(request.method().as_bytes())?;
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri(outgoing, secured)?;
    *head.headers_mut() = fields;
    Ok(head)
}

fn uri<R: RequestFields>(outgoing: &OutgoingRequest<'_, R>, secured: bool) -> Result<Uri, http::Error> {
    let edited = outgoing.edits.iter().find_map(|(name, action)| match action {
        Action::Set(value) if name == "host" => Some(value),
        _ => None,
    });
    let authority = match (edited, outgoing.request.authority()) {
        (Some(host), _) => Authority::try_from(host)?,
        (None, "") => Authority::try_from(outgoing.host)?,
        (None, host) => Authority::try_from(host)?,
    };
    let path = match outgoing.request.query() {
        Some(query) => PathAndQuery::try_from(format!("{}?{query}", outgoing.request.path()))?,
        None => PathAndQuery::try_from(outgoing.request.path())?,
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secured { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Ok(Uri::from_parts(parts)?)
}
