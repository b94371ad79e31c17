//! Which pages of other origins may read a response (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use http::{HeaderName, StatusCode, header};

use super::super::edits::Edits;
use super::super::{Exchange, LocalReply};
use crate::config::{Cors, CorsHeaders, Origins};
use crate::routing::RequestHead;

/// What a response says about other origins: evenkeel's answer counts alone.
const FIELDS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// The longest list of fields that is repeated to a browser that asks for them.
const ASKED_FIELDS_MAX: usize = 1024;

/// What a request says about its origin, as far as its route's `cors` cares.
#[derive(Debug, Default)]
pub struct CorsRequest {
    /// The origin, if it may read responses.
    origin: Option<Box<str>>,
    /// The fields that a preflight asks for; `None`: it is no preflight.
    preflight: Option<Box<str>>,
}

impl CorsRequest {
    pub fn of(cors: &Cors, head: &impl RequestHead) -> Self {
        let Some(origin) = head.header_text(&header::ORIGIN) else { return Self::default() };
        let is_allowed = match &cors.origins {
            Origins::Any => true,
            Origins::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(origin)),
        };
        let is_preflight =
            head.method() == "OPTIONS" && head.header(&header::ACCESS_CONTROL_REQUEST_METHOD).is_some();
        let asked = || asked_fields(head.header_text(&header::ACCESS_CONTROL_REQUEST_HEADERS)).into();
        Self { origin: is_allowed.then(|| origin.into()), preflight: is_preflight.then(asked) }
    }

    pub fn is_preflight(&self) -> bool {
        self.preflight.is_some()
    }

    /// Replaces what the response says about other origins.
    pub fn edits(&self, cors: &Cors, edits: &mut Edits) {
        FIELDS.into_iter().for_each(|name| edits.remove(name));
        if let Origins::Only(_) = cors.origins {
            edits.append(header::VARY, b"Origin");
        }
        let Some(origin) = &self.origin else { return };
        edits.set(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            match cors.origins {
                Origins::Any => "*",
                Origins::Only(_) => origin,
            },
        );
        if cors.credentials {
            edits.set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        match &self.preflight {
            Some(asked) => answer(cors, asked, edits),
            None => set_list(edits, header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose),
        }
    }
}

/// The fields that an answer to a preflight has.
fn answer(cors: &Cors, asked: &str, edits: &mut Edits) {
    set_list(edits, header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods);
    match &cors.headers {
        CorsHeaders::Any if asked.is_empty() => {}
        // By name, because `*` has no meaning beside credentials, and never covers Authorization.
        CorsHeaders::Any => {
            edits.append(header::VARY, b"Access-Control-Request-Headers");
            edits.set(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
        CorsHeaders::Only(names) => set_list(edits, header::ACCESS_CONTROL_ALLOW_HEADERS, names),
    }
    edits.set(header::ACCESS_CONTROL_MAX_AGE, &cors.max_age.as_secs().to_string());
}

/// Sets a field to a list; an empty one is left out.
fn set_list<T: AsRef<str>>(edits: &mut Edits, name: HeaderName, items: &[T]) {
    if items.is_empty() {
        return;
    }
    edits.set_with(name, |line| {
        for (index, item) in items.iter().enumerate() {
            line.extend_from_slice(if index == 0 { b"" } else { b", " });
            line.extend_from_slice(item.as_ref().as_bytes());
        }
    });
}

/// The fields that a browser asks for, if they are names and not too many.
fn asked_fields(value: Option<&str>) -> &str {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(&byte);
    let value = value.unwrap_or_default();
    if value.len() <= ASKED_FIELDS_MAX && value.bytes().all(is_of_names) { value } else { "" }
}

impl Exchange {
    /// The answer to a browser that asks whether a page of another origin may send a request.
    pub(in super::super) fn answer_preflight(&mut self) -> Option<LocalReply> {
        self.wishes.as_ref()?.cors.preflight.as_ref()?;
        self.record.unusual_mut().action = Some("cors_preflight");
        let text = &self.record.text;
        let reply = LocalReply::new(StatusCode::NO_CONTENT, Some(text.accept()), text.request_id());
        Some(reply.without_body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_repeated() {
        for (asked, expected) in [
            (Some("content-type, x-a"), "content-type, x-a"),
            (Some("x-a\tx-b"), ""),
            (Some("<script>"), ""),
            (None, ""),
        ] {
            assert_eq!(asked_fields(asked), expected);
        }
        assert_eq!(asked_fields(Some(&"x".repeat(ASKED_FIELDS_MAX + 1))), "");
    }
}
