//! What a route does with responses.

use http::Method;
use serde_json::{Value as Json, json};

use super::sticky::CookiePath;
use super::{HeaderNameText, header_name};
use crate::config::address::is_host_name;
use crate::config::decode::{Fault, Named, OneOrList, OrOff, Scalar, ShortOr, shown};
use crate::config::model::{Encoding, MediaPattern, OriginPattern, SameSite};
use crate::config::scalar::{Count, Period, Size, Switch, words};
use crate::config::section::section;

section! {
    /// Changes of the header fields of a route's responses, those that evenkeel makes itself among them; interim ones
    /// stay as they are. Fields are removed first, then set, then added.
    ResponseHeadersSection "`response_headers`" {
        /// Fields by name, each in the place of all others of that name. Values may have placeholders such as {host}
        /// and {request_id}; `{{` is a brace.
        set: Named<FieldTemplate> = {};
        /// Fields by name, each beside others of that name; a value, or a list of them.
        add: Named<OneOrList<FieldTemplate>> = {};
        /// Names of fields that clients do not get.
        remove: OneOrList<HeaderNameText> = [];
    }
}

section! {
    /// Changes of the cookies that endpoints set.
    ResponseCookiesSection "`response_cookies`" {
        /// `{ from: /app, to: / }`: cookies whose path begins with `from`, in whole segments, get `to` in its place; or
        /// a list, of which the first that fits counts.
        path: OneOrList<CookiePathSection> = [];
        /// `{ from: internal.example, to: example.com }`: cookies for a domain are for another; or a list.
        domain: OneOrList<CookieDomainSection> = [];
        /// `on`: every cookie is `Secure`; `off`: none is. Default: as it comes.
        secure: Switch, optional;
        /// `on`: every cookie is `HttpOnly`; `off`: none is. Default: as it comes.
        http_only: Switch, optional;
        /// The `SameSite` of every cookie: `lax`, `strict` or `none`. Default: as it comes.
        same_site: SameSite, optional;
    }
}

section! {
    /// Another path for cookies.
    CookiePathSection "a change of paths" {
        /// The path that endpoints give, or the beginning of it.
        from: CookiePath, required "/app";
        /// What clients get in its place.
        to: CookiePath, required "/";
    }
}

section! {
    /// Another domain for cookies.
    CookieDomainSection "a change of domains" {
        /// The domain that endpoints give.
        from: DomainText, required "internal.example";
        /// The domain that clients get; `off`: none, so that the cookie is for the host alone.
        to: OrOff<DomainText>, required "example.com";
    }
}

section! {
    /// Which pages of other origins may read a route's responses. Preflights are answered here, and what endpoints say
    /// about it is replaced.
    CorsSection "`cors`" {
        /// Origins such as https://app.example.com, `"https://*.example.com"` for one label or more before it, or `"*"`
        /// for all.
        origins: OneOrList<OriginText>, required "[https://app.example.com]";
        /// Methods that pages may use.
        methods: OneOrList<Method> = ["GET", "HEAD", "POST"];
        /// Fields that their requests may have, such as Content-Type and Authorization; `"*"`: all.
        headers: OneOrList<CorsHeaderText> = [];
        /// Fields of responses that their scripts may read, beside the usual ones.
        expose: OneOrList<HeaderNameText> = [];
        /// `on`: requests may have cookies and passwords. Not with origins `"*"`.
        credentials: Switch = "off";
        /// How long browsers remember the answer to a preflight; they have maxima of their own.
        max_age: Period = "10m";
    }
}

/// The value of a header field, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldTemplate(pub(crate) String);

impl Scalar for FieldTemplate {
    const WHAT: &'static str = "the value of a header field";
    const REMEDY: &'static str = "write one line of visible characters";

    fn parse(text: &str) -> Result<FieldTemplate, Fault> {
        let is_value = http::HeaderValue::from_str(text).is_ok() && text.trim() == text;
        if is_value { Ok(FieldTemplate(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// `on`, or a section.
pub(crate) type CompressForm = ShortOr<On, CompressSection>;

/// The word `on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct On;

impl Scalar for On {
    const WHAT: &'static str = "on";
    const REMEDY: &'static str = "write on, or a section of keys";

    fn parse(text: &str) -> Result<On, Fault> {
        match Switch::parse(text) {
            Ok(Switch(true)) => Ok(On),
            Ok(Switch(false)) | Err(_) => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "enum": ["on", true] })
    }
}

section! {
    /// What is compressed on its way to clients that take it. What is encoded already, a part of something
    /// (206), `no-transform`, an event stream or gRPC never is.
    CompressSection "`compress`" {
        /// `zstd`, `br` and `gzip`: of those that a client likes best, the first is taken.
        encodings: OneOrList<Encoding> = ["zstd", "br", "gzip"];
        /// Media types: `text/html`, `text/*`, or `"*+json"`.
        types: OneOrList<MediaPattern> = ["text/*", "*+json", "*+xml", "application/json", "application/javascript", "application/xml", "application/wasm", "application/x-ndjson", "font/ttf", "font/otf"];
        /// Smaller responses stay as they are; those of unknown length are compressed.
        min_size: Size = "1KiB";
        /// From 1, the fastest, to 9, the smallest. Brotli goes no further than 6.
        level: Count<1, 9> = 4;
    }
}

words!(Encoding, "an encoding" {
    "zstd" => Encoding::Zstd,
    "br" => Encoding::Br,
    "gzip" => Encoding::Gzip,
});

impl Scalar for MediaPattern {
    const WHAT: &'static str = "a media type";
    const REMEDY: &'static str = "write one such as text/html, \"text/*\" or \"*+json\"";

    fn parse(text: &str) -> Result<MediaPattern, Fault> {
        let is_token = |text: &str| {
            let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
            !text.is_empty() && text.bytes().all(of_token)
        };
        let lower = text.to_ascii_lowercase();
        if let Some(suffix) = lower.strip_prefix("*+").filter(|suffix| is_token(suffix)) {
            return Ok(Self::Suffix(format!("+{suffix}").into()));
        }
        match lower.split_once('/') {
            Some((kind, "*")) if is_token(kind) => Ok(Self::Kind(format!("{kind}/").into())),
            Some((kind, rest)) if is_token(kind) && is_token(rest) => Ok(Self::Exact(lower.into())),
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["text/html", "text/*", "*+json"] })
    }
}

/// The domain of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainText(pub(crate) String);

impl Scalar for DomainText {
    const WHAT: &'static str = "a domain";
    const REMEDY: &'static str = "write a domain such as example.com";

    fn parse(text: &str) -> Result<DomainText, Fault> {
        let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
        if is_host_name(&name) { Ok(DomainText(name)) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["example.com"] })
    }
}

/// A field that requests of other origins may have, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CorsHeaderText {
    Any,
    Named(http::HeaderName),
}

impl Scalar for CorsHeaderText {
    const WHAT: &'static str = "the name of a header field";
    const REMEDY: &'static str = "write a name such as Content-Type, or \"*\"";

    fn parse(text: &str) -> Result<CorsHeaderText, Fault> {
        if text == "*" { Ok(Self::Any) } else { header_name(text).map(Self::Named) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["Content-Type", "*"] })
    }
}

/// An origin, with a star for subdomains, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OriginText {
    Any,
    Pattern(OriginPattern),
}

impl Scalar for OriginText {
    const WHAT: &'static str = "an origin";
    const REMEDY: &'static str =
        "write one such as https://app.example.com, \"https://*.example.com\" or \"*\"";

    fn parse(text: &str) -> Result<OriginText, Fault> {
        let fault = |remedy: String| Fault::new(Self::fault(text).message, remedy);
        if text == "*" {
            return Ok(Self::Any);
        }
        let lower = text.to_ascii_lowercase();
        let Some((scheme, rest)) = lower.split_once("://") else {
            return Err(match is_host_name(lower.trim_start_matches("*.")) {
                true => fault(format!("write the scheme, too: https://{}", shown(&lower))),
                false => Self::fault(text),
            });
        };
        if let Some((authority, _)) = rest.split_once(['/', '?', '#']) {
            return Err(fault(format!("an origin has no path: write {scheme}://{}", shown(authority))));
        }
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (host, port) = crate::authority::split(rest);
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if !is_scheme || !is_port || rest.contains('@') {
            return Err(Self::fault(text));
        }
        let port = match (scheme, port) {
            ("http", Some("80")) | ("https", Some("443")) | (_, None) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        if let Some(parent) = host.strip_prefix("*.") {
            return match is_host_name(parent) {
                true => Ok(Self::Pattern(OriginPattern::Subdomains {
                    before: format!("{scheme}://").into(),
                    after: format!(".{parent}{port}").into(),
                })),
                false => Err(Self::fault(text)),
            };
        }
        if host.contains('*') {
            return Err(fault(
                "a star stands for whole labels, at the start: \"https://*.example.com\"".into(),
            ));
        }
        let is_host = is_host_name(host)
            || host.parse::<std::net::Ipv4Addr>().is_ok()
            || crate::authority::ipv6(host).is_some();
        match is_host {
            true => Ok(Self::Pattern(OriginPattern::Exact(format!("{scheme}://{host}{port}").into()))),
            false => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["https://app.example.com", "https://*.example.com", "*"] })
    }
}
