//! Header fields and cookies of a request and its response that somebody has asked for.

use std::sync::Arc;

use http::HeaderName;

use crate::config::FieldNames;
use crate::routing::{RequestHead, cookie};

/// The longest value that is kept, in bytes; what is beyond is cut off.
const VALUE_BYTES_MAX: usize = 512;

/// What stands for the rest of a value that was cut.
const CUT: &[u8] = b"...";

/// Where a value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldPlace {
    Request,
    Response,
    Cookie,
}

/// The values that there were, each with its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured(Vec<(FieldPlace, FieldName, Box<[u8]>)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldName {
    Header(HeaderName),
    Cookie(Arc<str>),
}

// === impl FieldNames ===

impl FieldNames {
    fn has(&self, place: FieldPlace, name: &str) -> bool {
        match place {
            FieldPlace::Request => self.request.iter().any(|one| one == name),
            FieldPlace::Response => self.response.iter().any(|one| one == name),
            FieldPlace::Cookie => self.cookies.iter().any(|one| **one == *name),
        }
    }
}

// === impl FieldPlace ===

impl FieldPlace {
    pub const ALL: [Self; 3] = [Self::Request, Self::Response, Self::Cookie];
}

// === impl Captured ===

impl Captured {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add_request(&mut self, names: &FieldNames, head: &impl RequestHead) {
        for name in &names.request {
            if let Some(value) = head.joined(name) {
                self.add(FieldPlace::Request, FieldName::Header(name.clone()), &value);
            }
        }
        for name in &names.cookies {
            if let Some(value) = cookie(head, name) {
                self.add(FieldPlace::Cookie, FieldName::Cookie(name.clone()), value);
            }
        }
    }

    pub fn add_response<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
        &mut self,
        names: &FieldNames,
        fields: impl Fn() -> I,
    ) {
        for name in &names.response {
            let is_meant = |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_str().as_bytes());
            let values: Vec<&[u8]> = fields().filter(is_meant).map(|(_, value)| value).collect();
            if !values.is_empty() {
                self.add(FieldPlace::Response, FieldName::Header(name.clone()), &values.join(&b", "[..]));
            }
        }
    }

    /// The values of one place that have one of these names, in the order in which they were captured.
    pub fn named<'a>(
        &'a self,
        place: FieldPlace,
        names: &'a FieldNames,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().filter(move |(at, ..)| *at == place).filter_map(move |(_, name, value)| {
            let name = name.as_str();
            names.has(place, name).then_some((name, &**value))
        })
    }

    /// The value of a field of the request.
    pub fn request_field(&self, name: &HeaderName) -> Option<&[u8]> {
        let found = self
            .0
            .iter()
            .find(|(place, one, _)| *place == FieldPlace::Request && one.as_str() == name.as_str());
        found.map(|(_, _, value)| &**value)
    }

    /// Once for each name, although several may have asked for it.
    fn add(&mut self, place: FieldPlace, name: FieldName, value: &[u8]) {
        if self.0.iter().any(|(at, one, _)| *at == place && *one == name) {
            return;
        }
        self.0.push((place, name, bounded(value)));
    }
}

impl FieldName {
    fn as_str(&self) -> &str {
        match self {
            Self::Header(name) => name.as_str(),
            Self::Cookie(name) => name,
        }
    }
}

fn bounded(value: &[u8]) -> Box<[u8]> {
    match value.get(..VALUE_BYTES_MAX) {
        Some(begin) if value.len() > VALUE_BYTES_MAX => [begin, CUT].concat().into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_kept_once_and_bounded() {
        let names = FieldNames {
            request: [HeaderName::from_static("x-tenant"), HeaderName::from_static("x-none")].into(),
            response: [HeaderName::from_static("via")].into(),
            cookies: ["lang".into()].into(),
        };
        let head = http::Request::builder()
            .header("X-Tenant", "acme")
            .header("X-Tenant", "x".repeat(1000))
            .header("Cookie", "a=b; lang=de")
            .body(())
            .expect("a request")
            .into_parts()
            .0;
        let mut captured = Captured::default();
        captured.add_request(&names, &head);
        captured.add_request(&names, &head);
        let response: [(&[u8], &[u8]); 3] = [(b"Via", b"1.1 a"), (b"Age", b"1"), (b"VIA", b"1.1 b")];
        captured.add_response(&names, || response.iter().copied());
        let all = |place| captured.named(place, &names).collect::<Vec<_>>();
        let [(name, value)] = all(FieldPlace::Request)[..] else { panic!("{captured:?}") };
        assert_eq!((name, value.len()), ("x-tenant", 515));
        assert!(value.starts_with(b"acme, xxx") && value.ends_with(b"x..."));
        assert_eq!(all(FieldPlace::Response), [("via", &b"1.1 a, 1.1 b"[..])]);
        assert_eq!(all(FieldPlace::Cookie), [("lang", &b"de"[..])]);
        assert_eq!(captured.named(FieldPlace::Response, &FieldNames::default()).count(), 0);
    }
}
