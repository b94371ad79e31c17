//! The values of a route's `match` and of a test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderName, HeaderValue, Method, Uri};
use ipnet::IpNet;
use serde_json::{Value as Json, json};

use crate::authority;
use crate::config::address::is_host_name;
use crate::config::decode::{Fault, List, Named, OneOrList, Scalar, ShortOr, shown};
use crate::config::model::TestRequest;
use crate::config::scalar::{Flag, Name, Text};
use crate::config::section::section;
use crate::config::suggest;
use crate::routing::HostPattern;

section! {
    /// What a request must be like. All the keys that are written must hold; within `hosts`, `paths`, `methods`, `clients`
    /// and a list of values, one entry is enough.
    MatchSection "`match`" {
        /// `api.example.com`, or `*.example.com` for one label or more before it. Without port; case does not matter.
        hosts: List<HostText> = [];
        /// `/v1` is a prefix of whole segments: it matches `/v1` and `/v1/x`, not `/v10`. Also `{ exact: /x }`,
        /// `{ prefix: /x }` and `{ regex: "^/x[0-9]+$" }`, which is searched for anywhere in the path unless it has `^`
        /// and `$`. Paths are compared in the form that goes on to the endpoint: without dot segments, and with escapes
        /// only where they are needed, in capital letters.
        paths: List<PathForm> = [];
        /// Methods such as GET.
        methods: List<Method> = [];
        /// Header fields by name: a value, `{ regex: "^[0-9]+$" }`, `{ present: true }`, or a list of these. Of several
        /// fields of a name one is enough, or all of them as one value, joined by commas.
        headers: Named<OneOrList<ValueForm>> = {};
        /// Query parameters by name: a value, `{ regex: "^[0-9]+$" }`, `{ present: true }`, or a list of these. Compared
        /// after percent escapes and plus signs are decoded; of several parameters of a name one is enough.
        query: Named<OneOrList<ValueForm>> = {};
        /// Networks or addresses of clients: 10.0.0.0/8, 192.0.2.1, fd00::/8. The client is who the access log names;
        /// its address is believed from `trusted_proxies` only. A client of a unix socket is in no network.
        clients: List<IpNet> = [];
        /// What a request must not be like: conditions as above, all of which together exclude it; of a list of such
        /// conditions, each does.
        not: OneOrList<NotSection>, optional;
    }
}

section! {
    /// Conditions that a request must not meet all at once.
    NotSection "`not`" {
        /// As in `match`.
        hosts: List<HostText> = [];
        /// As in `match`.
        paths: List<PathForm> = [];
        /// As in `match`.
        methods: List<Method> = [];
        /// As in `match`.
        headers: Named<OneOrList<ValueForm>> = {};
        /// As in `match`.
        query: Named<OneOrList<ValueForm>> = {};
        /// As in `match`.
        clients: List<IpNet> = [];
    }
}

/// A path: plain text is a prefix.
pub(crate) type PathForm = ShortOr<PathText, PathSection>;

section! {
    /// A path to match: exactly one of these keys.
    PathSection "a path" {
        /// The whole path.
        exact: PathText, optional;
        /// Whole segments: `/v1` matches `/v1` and `/v1/x`, not `/v10`.
        prefix: PathText, optional;
        /// A regular expression that matches anywhere in the path. `\w`, `\d`, `\s`, `\b`, `.` and `(?i)` mean ASCII
        /// only, unless `(?u)` precedes them.
        regex: RegexText, optional;
    }
}

/// A header field or query parameter: plain text is its value.
pub(crate) type ValueForm = ShortOr<Text, ValueSection>;

section! {
    /// A value to match: exactly one of these keys.
    ValueSection "a value" {
        /// The whole value.
        exact: Text, optional;
        /// A regular expression that matches anywhere in the value.
        regex: RegexText, optional;
        /// `true`: any value.
        present: Flag, optional;
    }
}

/// A host to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostText(pub(crate) HostPattern);

impl Scalar for HostText {
    const WHAT: &'static str = "a host";
    const REMEDY: &'static str = "write a host such as api.example.com or \"*.example.com\"";

    fn parse(text: &str) -> Result<HostText, Fault> {
        let fault = |remedy: String| Fault::new(Self::fault(text).message, remedy);
        if text == "*" {
            return Err(fault("leave `hosts` out to match every host".into()));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or("");
            return Err(fault(format!("write {}", authority::host(host))));
        }
        if !text.is_ascii() {
            return Err(fault("write international names in their xn-- form".into()));
        }
        if let (host, Some(_)) = authority::split(text) {
            return Err(fault(format!("hosts are matched without port: write {host}")));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(parent) = name.strip_prefix("*.") {
            return if is_host_name(parent) {
                Ok(HostText(HostPattern::Wildcard(parent.to_owned())))
            } else {
                Err(Self::fault(text))
            };
        }
        if name.contains('*') {
            return Err(fault("a star stands for whole labels, at the start: \"*.example.com\"".into()));
        }
        if let Ok(address) = name.parse::<Ipv6Addr>() {
            return Err(fault(format!("write IPv6 addresses in brackets: \"[{address}]\"")));
        }
        if name.starts_with('[') {
            let address = authority::ipv6(&name)
                .ok_or_else(|| fault("write an IPv6 address in the brackets: \"[2001:db8::1]\"".into()))?;
            return Ok(HostText(HostPattern::Exact(format!("[{address}]"))));
        }
        if is_host_name(&name) || name.parse::<Ipv4Addr>().is_ok() {
            return Ok(HostText(HostPattern::Exact(name)));
        }
        Err(Self::fault(text))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["api.example.com", "*.example.com"] })
    }
}

/// A path, which begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathText(pub(crate) String);

impl Scalar for PathText {
    const WHAT: &'static str = "a path";
    const REMEDY: &'static str = "write a path such as /v1, { exact: /v1 } or { regex: \"^/v[0-9]+$\" }";

    fn parse(text: &str) -> Result<PathText, Fault> {
        let fault = |remedy: String| Fault::new(Self::fault(text).message, remedy);
        if let Some((_, rest)) = text.split_once("://") {
            let path = rest.find('/').map_or("/", |at| &rest[at..]);
            return Err(fault(format!("write {}, and the host under `hosts`", shown(path))));
        }
        if text.starts_with(['^', '~']) {
            return Err(fault("write { regex: \"...\" } for a regular expression".into()));
        }
        if !text.starts_with('/') {
            let message = format!("the path `{}` does not start with a slash", shown(text));
            return Err(Fault::new(message, format!("write /{}", shown(text))));
        }
        if let Some(prefix) = text.strip_suffix('*') {
            let prefix = prefix.strip_suffix('/').filter(|prefix| !prefix.is_empty()).unwrap_or(prefix);
            return Err(fault(format!("a prefix needs no star: write {}", shown(prefix))));
        }
        if let Some((path, _)) = text.split_once(['?', '#']) {
            return Err(fault(format!("write {}, and parameters under `query`", shown(path))));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault("write it as it is sent, with %20 for a space".into()));
        }
        Ok(PathText(text.to_owned()))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "examples": ["/v1"] })
    }
}

/// A regular expression; `compile` checks its syntax and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegexText(pub(crate) String);

impl Scalar for RegexText {
    const WHAT: &'static str = "a regular expression";
    const REMEDY: &'static str = "write a regular expression in single quotes";

    fn parse(text: &str) -> Result<RegexText, Fault> {
        Ok(RegexText(text.to_owned()))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "format": "regex" })
    }
}

impl Scalar for Method {
    const WHAT: &'static str = "a method";
    const REMEDY: &'static str = "write a method such as GET or POST";

    fn parse(text: &str) -> Result<Method, Fault> {
        const KNOWN: [&str; 9] =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
        let upper = text.to_ascii_uppercase();
        if text != upper && KNOWN.contains(&upper.as_str()) {
            return Err(Fault::new("methods are in capital letters", format!("write {upper}")));
        }
        Method::from_bytes(text.as_bytes()).map_err(|_| match suggest::nearest(text, KNOWN) {
            Some(near) => Fault::new(Self::fault(text).message, suggest::did_you_mean(near)),
            None => Self::fault(text),
        })
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z]+$", "examples": ["GET", "POST"] })
    }
}

/// The name of a header field, from the key of a map.
pub(crate) fn header_name(text: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let meant: String = text.trim_end_matches(':').replace([' ', '_'], "-");
        let remedy = match HeaderName::from_bytes(meant.as_bytes()) {
            Ok(_) => format!("write {meant}"),
            Err(_) => "use letters, digits and `-`".to_owned(),
        };
        Fault::new(format!("`{}` is not the name of a header field", shown(text)), remedy)
    })
}

/// The address of a test's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientText(pub(crate) IpAddr);

impl Scalar for ClientText {
    const WHAT: &'static str = "the address of a client";
    const REMEDY: &'static str = "write an address without port, such as 10.1.2.3 or 2001:db8::1";

    fn parse(text: &str) -> Result<ClientText, Fault> {
        text.parse::<IpAddr>().map(|ip| ClientText(ip.to_canonical())).map_err(|_| Self::fault(text))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["10.1.2.3", "2001:db8::1"] })
    }
}

/// The value of a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderText(pub(crate) HeaderValue);

impl Scalar for HeaderText {
    const WHAT: &'static str = "the value of a header field";
    const REMEDY: &'static str = "write one line of visible characters";

    fn parse(text: &str) -> Result<HeaderText, Fault> {
        let value = HeaderValue::from_str(text).ok().filter(|_| text.trim() == text);
        // Header values are often tokens, so Debug output must not show them.
        let hidden = |mut value: HeaderValue| {
            value.set_sensitive(true);
            HeaderText(value)
        };
        value.map(hidden).ok_or_else(|| Self::fault(text))
    }

    fn scalar_schema() -> Json {
        Text::scalar_schema()
    }
}

/// Method and URL of a test's request.
#[derive(Debug, Clone)]
pub(crate) struct RequestText(pub(crate) TestRequest);

impl Scalar for RequestText {
    const WHAT: &'static str = "a request";
    const REMEDY: &'static str = "write a method and a URL: GET http://api.example.com/v1/users";

    fn parse(text: &str) -> Result<RequestText, Fault> {
        let fault = |remedy: String| Fault::new(Self::fault(text).message, remedy);
        let Some((method, url)) = text.split_once(' ') else {
            let is_url = text.contains("://");
            return Err(if is_url { fault(format!("write GET {}", shown(text))) } else { Self::fault(text) });
        };
        let method = Method::parse(method)?;
        let url = url.trim();
        if url.starts_with('/') {
            return Err(fault(format!("write the host too: {method} http://example.com{}", shown(url))));
        }
        let uri: Uri = url.split('#').next().unwrap_or("").parse().map_err(|_| Self::fault(text))?;
        let scheme_fits = matches!(uri.scheme_str(), Some("http" | "https"));
        let Some(authority) = uri.authority().filter(|_| scheme_fits) else { return Err(Self::fault(text)) };
        Ok(RequestText(TestRequest {
            method,
            secure: uri.scheme_str() == Some("https"),
            authority: authority.as_str().to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            headers: Vec::new(),
        }))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z]+ https?://", "examples": ["GET http://api.example.com/v1/users"] })
    }
}

/// The route that a test expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteExpected {
    None,
    Named(String),
}

impl Scalar for RouteExpected {
    const WHAT: &'static str = Name::WHAT;
    const REMEDY: &'static str = "write the name of a route, or none";

    fn parse(text: &str) -> Result<RouteExpected, Fault> {
        match text {
            "none" => Ok(RouteExpected::None),
            _ => Name::parse(text).map(|name| RouteExpected::Named(name.0)),
        }
    }

    fn scalar_schema() -> Json {
        Name::scalar_schema()
    }
}
