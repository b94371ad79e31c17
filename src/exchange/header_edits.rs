//! What a route changes of the header fields that an endpoint gets.

use http::HeaderName;

use super::edits::Edits;
use super::proxy_claims::X_FORWARDED_PREFIX;
use super::{Exchange, Failure};
use crate::config::HeaderEdits;
use crate::header_field::is_valid_value;
use crate::template::Values;

impl Exchange {
    /// The names that the engine has to withhold from the request's trailers: those that the route sets or removes, and
    /// those that its authentication manages.
    pub fn withheld_names(&self) -> Box<[HeaderName]> {
        let Some(route) = self.route() else { return Box::default() };
        let of_auth = route.auth.iter().flat_map(|gate| gate.managed());
        let of_edits = route.request_headers.iter().flat_map(|headers| headers.replaced());
        of_auth.chain(of_edits).cloned().collect()
    }

    /// Refuses a request whose parts would break the fields that the route makes of them.
    pub(super) fn check_header_edits(&self) -> Result<(), Failure> {
        match self.route().and_then(|route| route.request_headers.as_ref()) {
            Some(headers) if headers.has_placeholders() => check(&self.template_values()),
            _ => Ok(()),
        }
    }

    /// Adds the route's edits to those that every request has.
    pub(super) fn add_route_edits(&self, edits: &mut Edits) {
        let Some(route) = self.route() else { return };
        if let Some(prefix) = self.stripped_prefix() {
            set_forwarded_prefix(edits, self.sender.prefix(), prefix);
        }
        if let Some(headers) = &route.request_headers {
            apply(headers, &self.template_values(), edits);
        }
    }
}

/// Tells the endpoint of the prefix that was stripped, behind what proxies `in_front` have stripped.
pub(super) fn set_forwarded_prefix(edits: &mut Edits, in_front: &str, prefix: &str) {
    edits.set_with(X_FORWARDED_PREFIX, |value| {
        value.extend_from_slice(in_front.as_bytes());
        value.extend_from_slice(prefix.as_bytes());
    });
}

pub(super) fn apply(headers: &HeaderEdits, values: &Values<'_>, edits: &mut Edits) {
    headers.remove.iter().for_each(|name| edits.remove(name.clone()));
    for (name, value) in &headers.set {
        edits.set_with(name.clone(), |out| value.render(values, out));
    }
    for (name, value) in &headers.add {
        edits.append_with(name.clone(), |out| value.render(values, out));
    }
}

/// All that placeholders stand for is text of one line.
pub(super) fn check(values: &Values<'_>) -> Result<(), Failure> {
    let Values { authority, method, path, query, cert_subject, .. } = *values;
    let all = [authority, method, path, query.unwrap_or_default(), cert_subject];
    match all.into_iter().all(|part| is_valid_value(part.as_bytes())) {
        true => Ok(()),
        false => Err(Failure::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_request_ends_a_field() {
        assert_eq!(check(&Values { query: Some("a=b"), path: "/x", ..Values::default() }), Ok(()));
        for query in ["a\r\nb: c", "a\0", "\u{7f}"] {
            let values = Values { query: Some(query), ..Values::default() };
            assert_eq!(check(&values), Err(Failure::BadRequest), "{query:?}");
        }
    }
}
