//! Responses made here instead of by an endpoint: short, in the form the client accepts, and silent about endpoints.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::Failure;

/// The value of `Server`.
pub const SERVER_NAME: &str = "evenkeel";

/// A whole response.
#[derive(Debug, Clone)]
pub struct LocalReply {
    pub status: http::StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Html,
}

impl LocalReply {
    /// The reply to a failure.
    pub fn to(failure: Failure, accept: Option<&str>, request_id: &str) -> Self {
        let mut reply = Self::new(failure.status(), accept, request_id);
        if let Some(seconds) = failure.retry_after() {
            reply.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        reply
    }

    /// A reply that says its status.
    pub fn new(status: http::StatusCode, accept: Option<&str>, request_id: &str) -> Self {
        let form = form(accept);
        let reason = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        let (content_type, body) = match form {
            Form::Text => ("text/plain; charset=utf-8", format!("{code} {reason}\nrequest {request_id}\n")),
            Form::Json => (
                "application/json",
                format!("{{\"status\":{code},\"error\":\"{reason}\",\"request_id\":\"{request_id}\"}}\n"),
            ),
            Form::Html => (
                "text/html; charset=utf-8",
                format!(
                    "<!doctype html>\n<html lang=\"en\"><title>{code} {reason}</title>\n\
                     <h1>{code} {reason}</h1>\n<p>Request {request_id}</p>\n</html>\n"
                ),
            ),
        };
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::SERVER, HeaderValue::from_static(SERVER_NAME)),
        ];
        Self { status, headers, body: body.into() }
    }

    /// The same without a body and what describes it.
    pub fn without_body(mut self) -> Self {
        self.headers.retain(|(name, _)| *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH);
        Self { body: Bytes::new(), ..self }
    }

    /// The same with another page.
    pub(super) fn with_page(mut self, body: Bytes, content_type: &'static str) -> Self {
        self.headers.retain(|(name, _)| *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH);
        self.headers.push((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
        self.headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
        Self { body, ..self }
    }

    /// Puts a body of the config in the place of the page; `None`: it has no type.
    pub(super) fn set_body(&mut self, body: Bytes, content_type: Option<HeaderValue>) {
        let of_page = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CACHE_CONTROL];
        self.headers.retain(|(name, _)| !of_page.contains(name));
        // RFC 9110, section 8.6.
        if !matches!(self.status.as_u16(), 204 | 304) {
            self.headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
        }
        self.headers.extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
        self.body = body;
    }
}

/// The form with the highest quality in `Accept` (RFC 9110, section 12.5.1), the first of equals; text if none is
/// there.
fn form(accept: Option<&str>) -> Form {
    let mut best = (Form::Text, 0.0);
    for range in accept.unwrap_or("").split(',') {
        let mut parts = range.split(';').map(str::trim);
        let form = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
            "application/json" => Form::Json,
            "text/html" | "application/xhtml+xml" => Form::Html,
            "text/plain" | "text/*" | "*/*" => Form::Text,
            other if other.ends_with("+json") => Form::Json,
            _ => continue,
        };
        let quality = parts
            .find_map(|parameter| parameter.strip_prefix("q="))
            .map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0));
        if quality > best.1 {
            best = (form, quality);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_the_client_likes_best() {
        let cases = [
            (None, Form::Text),
            (Some("*/*"), Form::Text),
            (Some("application/json"), Form::Json),
            (Some("application/problem+json"), Form::Json),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Form::Html),
            (Some("text/plain;q=0.5, application/json;q=0.7"), Form::Json),
            (Some("application/json;q=0, text/plain"), Form::Text),
            (Some("image/png"), Form::Text),
            (Some(";;,q=,"), Form::Text),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn every_form_names_status_and_request_and_nothing_else() {
        for accept in ["text/plain", "application/json", "text/html"] {
            let reply = LocalReply::to(Failure::NoHealthyEndpoint, Some(accept), "abc123");
            assert!(reply.body.windows(6).any(|part| part == b"abc123"), "{:?}", reply.body);
            assert!(reply.body.windows(3).any(|part| part == b"503"), "{:?}", reply.body);
            assert!(reply.headers.iter().any(|(name, _)| name == header::RETRY_AFTER));
        }
    }
}
