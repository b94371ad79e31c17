//! Cookies that keep a client at its endpoint.

use serde_json::{Value as Json, json};

use super::tls::FilePath;
use crate::config::decode::{Fault, OrOff, Scalar};
use crate::config::model::SameSite;
use crate::config::scalar::{NonZeroPeriod, words};
use crate::config::section::section;

section! {
    /// Keeps a client at the endpoint that has answered it first, by a cookie that is signed and names no address. Over TLS
    /// it is `Secure`, and always `HttpOnly`.
    StickySection "`sticky`" {
        /// The name of the cookie.
        cookie: CookieName = "evenkeel";
        /// A file of keys: lines of 64 hex digits; the first signs, all are understood. All machines that have the same
        /// understand each other's cookies.
        key: FilePath, required "/etc/evenkeel/sticky.key";
        /// How long a browser keeps it, from the response that sets it. `off`: until it is closed.
        ttl: OrOff<NonZeroPeriod> = "off";
        /// The paths that it is sent with.
        path: CookiePath = "/";
        /// Whether it is sent with requests from other sites: `lax`, `strict` or `none`.
        same_site: SameSite = "lax";
    }
}

words!(SameSite, "a value of SameSite" {
    "lax" => SameSite::Lax,
    "strict" => SameSite::Strict,
    "none" => SameSite::None,
});

/// The name of a cookie: a token (RFC 6265, section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CookieName(pub(crate) String);

impl Scalar for CookieName {
    const WHAT: &'static str = "the name of a cookie";
    const REMEDY: &'static str = "write letters, digits, `-` and `_`, such as session";

    fn parse(text: &str) -> Result<CookieName, Fault> {
        // The same characters as in the name of a header field.
        let is_token = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
        if is_token { Ok(CookieName(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["session"] })
    }
}

/// The path of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CookiePath(pub(crate) String);

impl Scalar for CookiePath {
    const WHAT: &'static str = "the path of a cookie";
    const REMEDY: &'static str = "write a path such as /shop";

    fn parse(text: &str) -> Result<CookiePath, Fault> {
        let is_path =
            text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
        if is_path { Ok(CookiePath(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "examples": ["/"] })
    }
}
