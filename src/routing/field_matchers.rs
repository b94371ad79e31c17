//! Conditions on header fields and query parameters.

use std::borrow::Cow;

use super::RequestHead;
use super::matching::{HeaderMatch, QueryMatch, ValueMatch};
use crate::percent;

pub(super) fn header_holds(condition: &HeaderMatch, head: &impl RequestHead) -> bool {
    let any = |value: &[u8]| condition.values.iter().any(|wanted| value_holds(wanted, value));
    let mut fields = head.values(&condition.name);
    let (Some(first), second) = (fields.next(), fields.next()) else { return false };
    let Some(second) = second else { return any(first) };
    any(first)
        || any(second)
        || fields.any(any)
        // An endpoint may read several fields as one.
        || head.joined(&condition.name).is_some_and(|joined| any(&joined))
}

fn value_holds(wanted: &ValueMatch, value: &[u8]) -> bool {
    match wanted {
        ValueMatch::Present => true,
        ValueMatch::Exact(expected) => *value == *expected.as_bytes(),
        ValueMatch::Regex(regex) => regex.is_match(value),
    }
}

pub(super) fn query_holds(condition: &QueryMatch, query: Option<&str>) -> bool {
    parameters(query, &condition.name).any(|value| {
        condition.values.iter().any(|wanted| match wanted {
            ValueMatch::Present => true,
            ValueMatch::Exact(expected) => decoded(value).eq(expected.bytes()),
            ValueMatch::Regex(regex) => regex.is_match(decoded_bytes(value)),
        })
    })
}

/// The value of the first query parameter of that name, decoded.
pub fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    parameters(query, name).next().map(decoded_bytes)
}

/// The values of all query parameters of that name, as sent.
fn parameters<'a>(query: Option<&'a str>, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let parameters = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    parameters.filter(move |(one, _)| decoded(one).eq(name.bytes())).map(|(_, value)| value)
}

/// A name or value of a query, decoded: `%41` is `A`, and `+` is a space. A `%` without two hex digits stays.
fn decoded(part: &str) -> impl Iterator<Item = u8> + '_ {
    let bytes = part.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        let escaped = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(percent::byte);
        at += if escaped.is_some() { 3 } else { 1 };
        Some(match (escaped, byte) {
            (Some(escaped), _) => escaped,
            (None, b'+') => b' ',
            (None, byte) => byte,
        })
    })
}

/// A name or value of a query, decoded, for people.
pub fn decoded_parameter(part: &[u8]) -> String {
    String::from_utf8_lossy(&decoded_bytes(&String::from_utf8_lossy(part))).into_owned()
}

fn decoded_bytes(part: &str) -> Cow<'_, [u8]> {
    if part.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        Cow::Owned(decoded(part).collect())
    } else {
        Cow::Borrowed(part.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(name: &str, value: &str) -> QueryMatch {
        QueryMatch { name: name.into(), values: vec![ValueMatch::Exact(value.into())] }
    }

    #[test]
    fn query_values_are_compared_decoded() {
        let a_b = exact("k y", "a b");
        for (query, holds) in [
            ("k+y=a+b", true),
            ("x=1&k%20y=a%20b", true),
            ("k%20y=a%2bb", false),
            ("k y=a b&k+y=other", true),
            ("k+y=other&k+y=a+b", true),
            ("k+y=other&k+y=others", false),
            ("k+y", false),
            ("", false),
        ] {
            assert_eq!(query_holds(&a_b, Some(query)), holds, "{query}");
        }
        assert!(query_holds(&exact("a", "%zz%4"), Some("a=%zz%4")));
        assert!(query_holds(&exact("a", ""), Some("a&b")));
        assert!(!query_holds(&exact("a", ""), None));
    }

    #[test]
    fn presence_and_expressions() {
        let present = QueryMatch { name: "a".into(), values: vec![ValueMatch::Present] };
        assert!(query_holds(&present, Some("b=1&a")));
        assert!(!query_holds(&present, Some("ab=1")));
        let regex = QueryMatch {
            name: "a".into(),
            values: vec![ValueMatch::Regex(crate::routing::Regex::new("^é$").unwrap())],
        };
        assert!(query_holds(&regex, Some("a=%C3%A9")));
        assert!(!query_holds(&regex, Some("a=%C3")));
    }

    /// As an allow-list or a `not` must see them: whichever of them an endpoint reads.
    #[test]
    fn every_field_of_a_repeated_name_is_seen() {
        let named = HeaderMatch {
            name: http::HeaderName::from_static("x-env"),
            values: vec![ValueMatch::Exact("canary".into()), ValueMatch::Exact("a, b".into())],
        };
        for (fields, holds) in [
            (&["canary"][..], true),
            (&["stable", "canary"], true),
            (&["canary", "stable"], true),
            (&["x", "y", "canary"], true),
            (&["a", "b"], true),
            (&["a", "b", "c"], false),
            (&["canary, stable"], false),
            (&["Canary"], false),
            (&[], false),
        ] {
            let mut request = http::Request::builder();
            for value in fields {
                request = request.header("x-env", *value);
            }
            let head = request.body(()).expect("a request").into_parts().0;
            assert_eq!(header_holds(&named, &head), holds, "{fields:?}");
        }
    }
}
