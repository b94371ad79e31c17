//! How a route finds out who its clients are.

use serde_json::{Value as Json, json};

use super::balance::HeaderNameText;
use super::sticky::CookieName;
use super::tls::{FilePath, PoolTlsSection};
use crate::config::address::ListUrlText;
use crate::config::decode::{Fault, List, Named, OneOrList, OrOff, Scalar, ShortOr, shown};
use crate::config::scalar::{Flag, NonZeroPeriod, Period, Text, words};
use crate::config::section::section;

section! {
    /// Who may pass: one of these keys. It acts after the rate limit and before everything else that the route does.
    AuthSection "`auth`" {
        /// Names and passwords (RFC 7617): a file that `htpasswd -B` writes, or `{ file, realm, ... }`.
        basic: ShortOr<FilePath, BasicSection>, optional;
        /// Another service is asked about each request: it goes on if the answer is 2xx, and else gets that answer.
        forward: ForwardSection, optional;
        /// Signed tokens (JWT, RFC 7519), checked with public keys from a file or a URL.
        jwt: JwtSection, optional;
    }
}

section! {
    /// Names and passwords (RFC 7617).
    BasicSection "`basic`" {
        /// Lines of NAME:HASH as `htpasswd -B` writes them; bcrypt alone is read. It is read again when it changes.
        file: FilePath, required "/etc/evenkeel/users";
        /// What browsers show when they ask for a password.
        realm: Realm = "restricted";
        /// The field in which endpoints get the user's name; what clients send in it, or in a name that endpoints may
        /// take for it, is removed. Default: none.
        user_header: HeaderNameText, optional;
        /// Endpoints get `Authorization`, with the password, too.
        pass_on: Flag = false;
        /// How long a password that was right is remembered, as a keyed hash in memory; of others each costs a hash
        /// each time. `off`: not at all.
        remember: OrOff<NonZeroPeriod> = "5m";
    }
}

section! {
    /// An auth service that is asked about each request.
    ForwardSection "`forward`" {
        /// The URL that is asked, with GET and without a body. What cannot be asked within `timeout`, or answers more
        /// than 64 KiB, lets nothing through: 503.
        url: ServiceUrl, required "http://127.0.0.1:9091/api/authz/forward-auth";
        /// `get`, or `same`: that of the request.
        method: AskMethod = "get";
        /// The fields of the request that the service gets, beside `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and
        /// `-For`, which are written afresh.
        pass: List<HeaderNameText> = ["Accept", "Accept-Language", "Authorization", "Cookie", "User-Agent", "X-Requested-With"];
        /// The fields of an answer with 2xx that endpoints get; the first one names the user in the log. What clients
        /// send in them, or in names that endpoints may take for them, is removed in any case.
        set: List<HeaderNameText> = [];
        /// For the whole answer.
        timeout: NonZeroPeriod = "2s";
        /// TLS with the service, where the URL is one of https. Default: the system's authorities.
        tls: PoolTlsSection, optional;
    }
}

section! {
    /// Signed tokens (RFC 7519), by RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA: the key decides.
    JwtSection "`jwt`" {
        /// The public keys (a JWK set, RFC 7517): an absolute path, or a URL of http or https. A file is read again when it
        /// changes.
        jwks: KeysText, required "https://login.example.com/.well-known/jwks.json";
        /// How old keys of a URL get until they are fetched again, in the background.
        refresh: NonZeroPeriod = "10m";
        /// TLS with the host of the keys, where the URL is one of https. Default: the system's authorities.
        tls: PoolTlsSection, optional;
        /// What tokens must have as `iss`. Default: anything.
        issuer: Text, optional;
        /// What tokens must have in `aud`: one of these. Default: anything.
        audience: OneOrList<Text>, optional;
        /// How far clocks may differ, for `exp`, which tokens must have, and `nbf`.
        leeway: Period = "30s";
        /// The cookie with the token. Default: none; it is in `Authorization: Bearer`.
        cookie: CookieName, optional;
        /// Fields that endpoints get, each with the claim that it is made of, such as `sub` or `realm_access.roles`. What
        /// clients send in them, or in names that endpoints may take for them, is removed in any case.
        set: Named<Text> = {};
        /// The claim that names the user in the log.
        user: Text = "sub";
        /// Endpoints get `Authorization`, with the token, too.
        pass_on: Flag = true;
        /// What clients are told with a 401.
        realm: Realm = "restricted";
    }
}

/// Where public keys are: a file or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeysText {
    File(FilePath),
    Url(String),
}

impl Scalar for KeysText {
    const WHAT: &'static str = "a file or a URL of keys";
    const REMEDY: &'static str =
        "write an absolute path, or a URL such as https://login.example.com/jwks.json";

    fn parse(text: &str) -> Result<KeysText, Fault> {
        match text.starts_with('/') {
            true => FilePath::parse(text).map(KeysText::File),
            false => ListUrlText::parse(text).map(|url| KeysText::Url(url.0)).map_err(|fault| {
                let remedy =
                    if fault.remedy == ListUrlText::REMEDY { Self::REMEDY.to_owned() } else { fault.remedy };
                Fault::new(Self::fault(text).message, remedy)
            }),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^(/|https?://)", "examples": ["/etc/evenkeel/jwks.json"] })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskMethod {
    Get,
    Same,
}

words!(AskMethod, "a method to ask by" {
    "get" => AskMethod::Get,
    "same" => AskMethod::Same,
});

/// A kind of authentication, as its label in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthLabel(pub(crate) &'static str);

words!(AuthLabel, "a kind of authentication" {
    "basic" => AuthLabel("basic"),
    "forward" => AuthLabel("forward"),
    "jwt" => AuthLabel("jwt"),
});

/// What browsers show with the question for a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Realm(pub(crate) String);

impl Scalar for Realm {
    const WHAT: &'static str = "a realm";
    const REMEDY: &'static str =
        "write a short text of ASCII without quotes and backslashes, such as back office";

    fn parse(text: &str) -> Result<Realm, Fault> {
        let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if !text.trim().is_empty() && text.len() <= 100 && text.bytes().all(is_allowed) {
            return Ok(Realm(text.to_owned()));
        }
        Err(Fault::new(format!("`{}` is no realm", shown(text)), Self::REMEDY))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["back office"] })
    }
}

/// Where an auth service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceUrl(pub(crate) String);

impl Scalar for ServiceUrl {
    const WHAT: &'static str = "the URL of an auth service";
    const REMEDY: &'static str = "write a URL such as http://127.0.0.1:9091/api/authz/forward-auth";

    fn parse(text: &str) -> Result<ServiceUrl, Fault> {
        match ListUrlText::parse(text) {
            Ok(url) => Ok(ServiceUrl(url.0)),
            // It has a user and a password.
            Err(Fault { remedy, .. }) if remedy != ListUrlText::REMEDY => {
                Err(Fault::new(Self::fault(text).message, remedy))
            }
            Err(_) => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://", "examples": ["http://127.0.0.1:9091/"] })
    }
}

/// `auth`, or none.
pub(crate) type AuthForm = OrOff<AuthSection>;
