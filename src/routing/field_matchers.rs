//! Conditions on header fields and query parameters.

use std::borrow::Cow;

use super::RequestHead;
use super::matching::{HeaderMatch, QueryMatch, ValueMatch};
use crate::percent;

pub(super) fn header_holds(condition: &HeaderMatch, head: &impl RequestHead) -> bool {
    let Some(value) = head.joined(&condition.name) else { return false };
    match &condition.value {
        ValueMatch::Present => true,
        ValueMatch::Exact(expected) => *value == *expected.as_bytes(),
        ValueMatch::Regex(regex) => regex.is_match(value),
    }
}

pub(super) fn query_holds(condition: &QueryMatch, query: Option<&str>) -> bool {
    let Some(value) = parameter(query, &condition.name) else { return false };
    match &condition.value {
        ValueMatch::Present => true,
        ValueMatch::Exact(expected) => decoded(value).eq(expected.bytes()),
        ValueMatch::Regex(regex) => regex.is_match(decoded_bytes(value)),
    }
}

/// The value of a query parameter, decoded.
pub fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    parameter(query, name).map(decoded_bytes)
}

/// The value of a query parameter as sent. The first of the name decides, as most endpoints do it.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut parameters = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    parameters.find(|(one, _)| decoded(one).eq(name.bytes())).map(|(_, value)| value)
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
        QueryMatch { name: name.into(), value: ValueMatch::Exact(value.into()) }
    }

    #[test]
    fn query_values_are_compared_decoded() {
        let a_b = exact("k y", "a b");
        for (query, holds) in [
            ("k+y=a+b", true),
            ("x=1&k%20y=a%20b", true),
            ("k%20y=a%2bb", false),
            ("k y=a b&k+y=other", true),
            ("k+y=other&k+y=a+b", false),
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
        let present = QueryMatch { name: "a".into(), value: ValueMatch::Present };
        assert!(query_holds(&present, Some("b=1&a")));
        assert!(!query_holds(&present, Some("ab=1")));
        let regex = QueryMatch {
            name: "a".into(),
            value: ValueMatch::Regex(crate::routing::Regex::new("^é$").unwrap()),
        };
        assert!(query_holds(&regex, Some("a=%C3%A9")));
        assert!(!query_holds(&regex, Some("a=%C3")));
    }
}
