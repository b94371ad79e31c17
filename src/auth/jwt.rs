//! Signed tokens (RFC 7519), as clients send them in `Authorization: Bearer` (RFC 6750) or in a cookie.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::key_cache::KeyCache;
use super::{Answer, Passed, Verdict};
use crate::config::{JwtAuth, JwtKeys};
use crate::jwks::{Invalid, KeySet, Token};
use crate::routing::{RequestHead, cookie};

pub(super) struct JwtGate {
    /// `None`: the keys are in the config.
    cache: Option<Arc<KeyCache>>,
}

/// Why a token does not let its request pass.
enum Fault {
    Invalid(&'static str),
    Unavailable(String),
}

impl JwtGate {
    pub fn new(config: &JwtAuth) -> Self {
        let cache = match &config.keys {
            JwtKeys::File { .. } => None,
            JwtKeys::Url { url, tls, refresh } => KeyCache::new(url, tls.as_ref(), *refresh).map(Arc::new),
        };
        Self { cache }
    }

    pub async fn answer(&self, config: &JwtAuth, token: Option<String>) -> Answer {
        let Some(token) = token else { return refused(config, Verdict::Missing, None) };
        match self.claims(config, &token).await {
            Ok(claims) => passed(config, &claims),
            Err(Fault::Invalid(why)) => refused(config, Verdict::Refused, Some(why)),
            Err(Fault::Unavailable(why)) => Answer::Unavailable(why),
        }
    }

    /// As [`Self::answer`], by the keys that are known; `None`: they have to be fetched.
    pub fn peek(&self, config: &JwtAuth, token: Option<String>) -> Option<Answer> {
        let Some(text) = token else { return Some(refused(config, Verdict::Missing, None)) };
        let claims = match Token::read(&text) {
            Ok(token) => {
                let keys = match (&config.keys, &self.cache) {
                    (JwtKeys::File { keys, .. }, _) => keys.clone(),
                    (JwtKeys::Url { .. }, cache) => cache.as_ref()?.known(token.key_id())?,
                };
                verified(config, &keys, &token)
            }
            Err(fault) => Err(in_words(fault)),
        };
        Some(match claims {
            Ok(claims) => passed(config, &claims),
            Err(why) => refused(config, Verdict::Refused, Some(why)),
        })
    }

    async fn claims(&self, config: &JwtAuth, token: &str) -> Result<Map<String, Value>, Fault> {
        let token = Token::read(token).map_err(|fault| Fault::Invalid(in_words(fault)))?;
        let keys = self.keys(config, token.key_id()).await?;
        verified(config, &keys, &token).map_err(Fault::Invalid)
    }

    async fn keys(&self, config: &JwtAuth, id: Option<&str>) -> Result<Arc<KeySet>, Fault> {
        match (&config.keys, &self.cache) {
            (JwtKeys::File { keys, .. }, _) => Ok(keys.clone()),
            (JwtKeys::Url { .. }, Some(cache)) => cache.keys(id).await.map_err(Fault::Unavailable),
            (JwtKeys::Url { url, .. }, None) => Err(Fault::Unavailable(format!("{url} names no host"))),
        }
    }
}

fn verified(config: &JwtAuth, keys: &KeySet, token: &Token<'_>) -> Result<Map<String, Value>, &'static str> {
    let claims = keys.verify(token).map_err(in_words)?;
    check(config, &claims, SystemTime::now())?;
    Ok(claims)
}

/// The token of a request; `None`: it has none, or more than one, of which two readers could choose differently.
pub(super) fn token_of(config: &JwtAuth, head: &impl RequestHead) -> Option<String> {
    if let Some(name) = &config.cookie {
        return cookie(head, name).and_then(|value| str::from_utf8(value).ok().map(str::to_owned));
    }
    let mut values = head.values(&header::AUTHORIZATION);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.split_at_checked(7)?;
    let token = str::from_utf8(token.trim_ascii()).ok().filter(|token| !token.is_empty())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.to_owned())
}

/// Checks what a token says of its time, its issuer and whom it is for. The error is for the client, and the log.
fn check(config: &JwtAuth, claims: &Map<String, Value>, now: SystemTime) -> Result<(), &'static str> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let leeway = config.leeway.as_secs_f64();
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().ok_or("a time in it is no number"));
    let expires = time("exp").transpose()?.ok_or("it does not say when it expires")?;
    if now - leeway >= expires {
        return Err("it has expired");
    }
    if time("nbf").transpose()?.is_some_and(|begins| begins > now + leeway) {
        return Err("it is not valid yet");
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    if config.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
        return Err("another issuer has made it");
    }
    let is_wanted = |value: &Value| {
        value.as_str().is_some_and(|named| config.audience.iter().any(|wanted| **wanted == *named))
    };
    let is_for_us = match claims.get("aud") {
        _ if config.audience.is_empty() => true,
        Some(Value::Array(list)) => list.iter().any(is_wanted),
        Some(value) => is_wanted(value),
        None => false,
    };
    if is_for_us { Ok(()) } else { Err("it is for another audience") }
}

fn passed(config: &JwtAuth, claims: &Map<String, Value>) -> Answer {
    let field = |(name, claim): &(HeaderName, Box<str>)| {
        let text = text(find(claims, claim)?)?;
        Some((name.clone(), HeaderValue::from_bytes(text.as_bytes()).ok()?))
    };
    let user = find(claims, &config.user).and_then(text).map(|user| user.as_ref().into());
    Answer::Passed(Passed {
        user,
        fields: config.set.iter().filter_map(field).collect(),
        cookies: Vec::new(),
    })
}

/// A claim by its name, or by a path of names with dots between them.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

/// Lists of texts are one, with commas.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(is) => Some(Cow::Borrowed(if *is { "true" } else { "false" })),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(Value::as_str).collect::<Option<_>>()?;
            Some(items.join(",").into())
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn in_words(fault: Invalid) -> &'static str {
    match fault {
        Invalid::Malformed => "it is no signed token",
        Invalid::UnknownKey => "no key fits it",
        Invalid::Signature => "its signature is wrong",
    }
}

fn refused(config: &JwtAuth, verdict: Verdict, why: Option<&'static str>) -> Answer {
    let realm = &config.realm;
    let challenge = match why {
        None => format!("Bearer realm=\"{realm}\""),
        Some(why) => {
            format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{why}\"")
        }
    };
    let challenge = HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    Answer::Refused { verdict, challenge, user: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> JwtAuth {
        let keys = KeySet::parse(br#"{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}"#).expect("a key");
        JwtAuth {
            keys: JwtKeys::File {
                keys: Arc::new(keys),
                file: crate::tls::WatchedFile::with(std::path::Path::new("keys"), b""),
            },
            issuer: Some("https://issuer".into()),
            audience: vec!["a".into(), "b".into()],
            leeway: Duration::from_secs(30),
            cookie: None,
            set: vec![
                (HeaderName::from_static("x-user"), "sub".into()),
                (HeaderName::from_static("x-roles"), "realm.roles".into()),
                (HeaderName::from_static("x-dots"), "https://x.example/claim".into()),
                (HeaderName::from_static("x-none"), "none".into()),
                (HeaderName::from_static("x-object"), "realm".into()),
                (HeaderName::from_static("x-bad"), "bad".into()),
            ],
            user: "sub".into(),
            pass_on: true,
            realm: "x".into(),
        }
    }

    #[test]
    fn times_issuer_and_audience_are_checked() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let good = json!({ "exp": 1100, "nbf": 900, "iss": "https://issuer", "aud": "b" });
        let of = |name: &str, value: Value| {
            let mut claims = good.as_object().cloned().expect("an object");
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.to_owned(), value)),
            }
            check(&config(), &claims, now)
        };
        for (name, value) in [
            ("exp", json!(1000.5)),
            ("exp", json!(971)),
            ("nbf", json!(1030)),
            ("nbf", Value::Null),
            ("aud", json!(["x", "a"])),
        ] {
            assert_eq!(of(name, value.clone()), Ok(()), "{name} {value}");
        }
        for (name, value) in [
            ("exp", json!(970)),
            ("exp", json!("1100")),
            ("exp", Value::Null),
            ("exp", json!(-1)),
            ("nbf", json!(1031)),
            ("nbf", json!("now")),
            ("iss", json!("https://issuer/")),
            ("iss", json!(["https://issuer"])),
            ("iss", Value::Null),
            ("aud", json!("c")),
            ("aud", json!([])),
            ("aud", json!({ "b": "b" })),
            ("aud", Value::Null),
        ] {
            assert!(of(name, value.clone()).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn claims_become_fields() {
        let claims = json!({
            "sub": "bob", "realm": { "roles": ["a", "b"] }, "https://x.example/claim": 7, "bad": "a\r\nb: c",
        });
        let answer = passed(&config(), claims.as_object().expect("an object"));
        let Answer::Passed(Passed { user, fields, .. }) = answer else { panic!("{answer:?}") };
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
        assert_eq!(user.as_deref(), Some("bob"));
        assert_eq!(fields, [("x-user", "bob"), ("x-roles", "a,b"), ("x-dots", "7")]);
    }
}
