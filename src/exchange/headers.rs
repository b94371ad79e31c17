//! Which header fields are changed on the way, as a list of edits that each carrier applies to its own form.

use http::{HeaderName, HeaderValue};

/// One change of a head. Edits apply in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// All fields of that name go.
    Remove(HeaderName),
    /// One field of that name, in the place of all others.
    Set(HeaderName, HeaderValue),
    /// One more field of that name.
    Append(HeaderName, HeaderValue),
}

impl Edit {
    /// Sets `name`, or removes it where `value` could not be sent.
    pub fn set(name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => Self::Set(name, value),
            Err(_) => Self::Remove(name),
        }
    }
}

/// Fields that belong to one connection (RFC 9110, section 7.6.1); `Transfer-Encoding` is framing and so the carrier's,
/// and `Upgrade` goes unless the connection is upgraded.
const HOP_BY_HOP: [&str; 5] =
    ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te"];

/// Fields that must reach the other side whatever `Connection` says, because somebody trusts them.
const PROTECTED: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "cookie",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
];

/// Of those, the ones that the client has written: a carrier that lets `Connection` remove them puts them back.
pub const END_TO_END: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::COOKIE];

/// Removes what belongs to one connection: the fields of that kind, and those that `Connection` names.
///
/// `connection` gives every `Connection` field's value.
pub fn remove_hop_by_hop<'a>(
    edits: &mut Vec<Edit>,
    connection: impl Iterator<Item = &'a str>,
    upgrade: bool,
) {
    for name in connection.flat_map(|value| value.split(',')).map(str::trim) {
        if PROTECTED.iter().any(|protected| protected.eq_ignore_ascii_case(name))
            || (upgrade && name.eq_ignore_ascii_case("upgrade"))
        {
            continue;
        }
        edits.extend(HeaderName::try_from(name).ok().map(Edit::Remove));
    }
    edits.extend(HOP_BY_HOP.into_iter().map(HeaderName::from_static).map(Edit::Remove));
    if !upgrade {
        edits.push(Edit::Remove(http::header::UPGRADE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(connection: &str, upgrade: bool) -> Vec<String> {
        let mut edits = Vec::new();
        remove_hop_by_hop(&mut edits, [connection].into_iter(), upgrade);
        edits
            .into_iter()
            .map(|edit| match edit {
                Edit::Remove(name) => name.to_string(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn fields_named_by_connection_go() {
        let removed = removed("close, X-Secret-Of-Hop ,, bad name", false);
        assert!(removed.contains(&"x-secret-of-hop".into()) && removed.contains(&"upgrade".into()));
    }

    #[test]
    fn fields_that_somebody_trusts_stay() {
        let removed = removed("Authorization, X-Forwarded-For, Host", false);
        assert!(
            !removed.iter().any(|name| ["authorization", "x-forwarded-for", "host"].contains(&name.as_str()))
        );
    }

    #[test]
    fn an_upgrade_keeps_its_field() {
        assert!(!removed("Upgrade", true).contains(&"upgrade".into()));
    }
}
