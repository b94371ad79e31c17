//! The head of the request that is asked about, as a client would send it, read by the parser of requests that are served.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::Question;
use super::question::QuestionError;
use crate::client::http2::validate;
use crate::config::Limits;
use crate::exchange::Failure;
use crate::http1::head::{Parse, RequestMemory, RequestView};
use crate::message::{Http2Request, RequestFields};

/// A head whose path an engine replaces.
pub trait ClientHead {
    type View<'a>: RequestFields
    where
        Self: 'a;

    fn view(&self) -> Self::View<'_>;

    /// `false`: it is no path.
    fn set_path(&mut self, path: &str) -> bool;
}

impl ClientHead for RequestMemory {
    type View<'a> = RequestView<'a>;

    fn view(&self) -> RequestView<'_> {
        RequestMemory::view(self)
    }

    fn set_path(&mut self, path: &str) -> bool {
        self.request.set_path(path)
    }
}

impl ClientHead for Http2Request {
    type View<'a> = &'a Http2Request;

    fn view(&self) -> &Http2Request {
        self
    }

    fn set_path(&mut self, path: &str) -> bool {
        Http2Request::set_path(self, path).is_some()
    }
}

/// Why a head is refused before anything else is asked: what the client is answered, and the reason.
pub type Refusal = Option<(Failure, &'static str)>;

/// The head over HTTP/1.1.
pub fn http1(question: &Question, limits: &Limits) -> (RequestMemory, Refusal) {
    let mut text = format!("{} {} HTTP/1.1\r\n", question.method, question.target);
    // Writing to a `String` cannot fail.
    if !question.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        let _ = write!(text, "Host: {}\r\n", question.authority);
    }
    for (name, value) in &question.fields {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    let mut memory = RequestMemory::default();
    let refusal = match memory.request.parse(text.as_bytes(), limits) {
        Parse::Complete { .. } => None,
        Parse::Refused(refusal) => Some((refusal.failure, refusal.reason)),
        Parse::Partial => Some((Failure::BadRequest, "its head has no end")),
    };
    memory.head.set(text.as_bytes());
    (memory, refusal)
}

/// The head over HTTP/2.
pub fn http2(question: &Question) -> Result<(Http2Request, Refusal), QuestionError> {
    let bad = |error: &dyn std::fmt::Display| QuestionError::Http2(error.to_string());
    let scheme = if question.secure { "https" } else { "http" };
    let uri = format!("{scheme}://{}{}", question.host(), question.target);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(question.method.as_bytes()).map_err(|error| bad(&error))?;
    *request.uri_mut() = uri.parse::<Uri>().map_err(|error| bad(&error))?;
    let mut fields = HeaderMap::new();
    for (name, value) in &question.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| bad(&error))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| bad(&error))?;
        if name != header::HOST {
            fields.append(name, value);
        }
    }
    *request.headers_mut() = fields;
    let request = Http2Request::new(request.into_parts().0, true);
    let refusal = match validate::check(request.parts()) {
        _ if request.is_plain_connect() => Some((Failure::MethodNotAllowed, "it asks for a tunnel")),
        Ok(()) => None,
        Err(reason) => Some((Failure::BadRequest, reason)),
    };
    Ok((request, refusal))
}
