//! Which header fields and parameters of queries are secret, by their names, and how their values are masked.

use std::borrow::Cow;

use crate::routing::decoded_parameter;

/// What stands for a value that is not shown.
pub(in crate::telemetry) const MASK: &[u8] = b"***";

/// A name with one of these in it is a secret's.
const PARTS: [&str; 11] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "signature",
    "credential",
    "session",
    "authorization",
    "apikey",
    "accesskey",
];

/// A name that has one of these as a word is a secret's: `key` and `api_key`, but not `keyword`.
const WORDS: [&str; 10] = ["key", "code", "sig", "auth", "pwd", "pass", "sid", "jwt", "otp", "assertion"];

/// Beside those of parameters, all cookies.
pub(in crate::telemetry) fn is_secret_field(name: &str) -> bool {
    name.ends_with("cookie") || is_secret(name)
}

/// Whether a parameter of that name is likely to be a secret. `***` for a harmless one is no harm.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    PARTS.iter().any(|part| name.contains(part)) || words.any(|word| WORDS.contains(&word))
}

/// A URL, or path and query, with the values of secret parameters masked.
pub(in crate::telemetry) fn masked(target: &[u8]) -> Cow<'_, [u8]> {
    let Some(query) = target.iter().position(|byte| *byte == b'?') else { return Cow::Borrowed(target) };
    let (path, query) = target.split_at(query + 1);
    let mut out = path.to_vec();
    let mut is_changed = false;
    for pair in query.split_inclusive(|byte| matches!(byte, b'&' | b';')) {
        let (pair, end) = match pair {
            [pair @ .., end @ (b'&' | b';')] => (pair, Some(*end)),
            pair => (pair, None),
        };
        match pair.iter().position(|byte| *byte == b'=').map(|equals| pair.split_at(equals + 1)) {
            Some((name, _)) if is_secret(&decoded_parameter(name)) => {
                is_changed = true;
                out.extend_from_slice(name);
                out.extend_from_slice(MASK);
            }
            _ => out.extend_from_slice(pair),
        }
        out.extend(end);
    }
    if is_changed { Cow::Owned(out) } else { Cow::Borrowed(target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_masked() {
        for (target, shown) in [
            ("/v1/x", "/v1/x"),
            ("/v1/x?a=1&keyword=shoes&page=2", "/v1/x?a=1&keyword=shoes&page=2"),
            ("/cb?code=abc&state=1", "/cb?code=***&state=1"),
            ("/x?access_token=abc;b=2", "/x?access_token=***;b=2"),
            ("/x?%74oken=abc&Api-Key=k&x[password]=p", "/x?%74oken=***&Api-Key=***&x[password]=***"),
            (
                "/x?X-Amz-Signature=f00&AWSAccessKeyId=1&sig=",
                "/x?X-Amz-Signature=***&AWSAccessKeyId=***&sig=***",
            ),
            ("/x?token&a", "/x?token&a"),
            ("https://a.example/?a=1&secret=x=y", "https://a.example/?a=1&secret=***"),
            ("/x?", "/x?"),
        ] {
            assert_eq!(String::from_utf8_lossy(&masked(target.as_bytes())), shown);
        }
        assert_eq!(masked(b"/x?\xfckey=1&key=2").as_ref(), b"/x?\xfckey=***&key=***");
    }

    #[test]
    fn fields_that_are_secret() {
        for name in
            ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"]
        {
            assert!(is_secret_field(name), "{name}");
        }
        for name in ["accept", "x-tenant", "content-type", "user-agent", "keep-alive"] {
            assert!(!is_secret_field(name), "{name}");
        }
    }
}
