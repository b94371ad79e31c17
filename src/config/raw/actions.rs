//! What a route does with a request.

use http::StatusCode;
use serde_json::{Value as Json, json};

use super::balance::{HashWord, HeaderNameText};
use super::matching::{HeaderText, PathText};
use super::sticky::CookieName;
use super::tls::FilePath;
use crate::config::decode::{DiagnosticSink, Fault, List, Named, OrOff, Scalar, ShortOr, Value};
use crate::config::scalar::{Count, Name, NonZeroPeriod, Text};
use crate::config::section::section;
use crate::config::source::Span;
use crate::config::tree::{Kind, Node};

/// Pools that share the requests: a list of them, or a section.
pub(crate) type SplitForm = ShortOr<List<SplitPoolSection>, SplitSection>;

section! {
    /// Pools that share a route's requests by weight.
    SplitSection "`split`" {
        /// The pools with their weights.
        pools: List<SplitPoolSection>, required "[{ pool: api, weight: 95 }, { pool: canary, weight: 5 }]";
        /// What keeps a client at one of the pools: `{ set_cookie: NAME }`, a cookie of evenkeel's own, or a part of its
        /// requests: `client` (its address), `path`, `{ header: X-User }`, `{ cookie: session }` or `{ query: id }`. The
        /// same part finds the same pool in every process, and few clients move where weights change. `off`: each request
        /// is drawn anew.
        sticky: OrOff<SplitStickyForm> = "off";
    }
}

/// What keeps a client at one of the pools.
pub(crate) type SplitStickyForm = ShortOr<HashWord, SplitStickySection>;

section! {
    /// What keeps a client at one of the pools: exactly one of `set_cookie`, `header`, `cookie` and `query`.
    SplitStickySection "`sticky`" {
        /// The name of a cookie that the first response sets. It says nothing of pools. Over TLS it is `Secure`, and
        /// always `HttpOnly` and `SameSite=Lax`.
        set_cookie: CookieName, optional;
        /// How long a browser keeps that cookie. `off`: until it is closed.
        ttl: OrOff<NonZeroPeriod> = "off";
        /// The value of this header field; several lines are one value.
        header: HeaderNameText, optional;
        /// The value of this cookie, which an endpoint sets.
        cookie: Text, optional;
        /// The first query parameter of this name, decoded.
        query: Text, optional;
    }
}

section! {
    /// A pool that gets a share of the requests.
    SplitPoolSection "a pool of `split`" {
        /// Its name.
        pool: Name, required "NAME";
        /// Its share of the requests relative to the others; 0: none.
        weight: Count<0, 10_000> = 1;
    }
}

/// A redirect: the URL, or a section.
pub(crate) type RedirectForm = ShortOr<LocationText, RedirectSection>;

section! {
    /// A redirect.
    RedirectSection "`redirect`" {
        /// Where to: a URL, or a path of the same host, with placeholders such as `{host}`, `{path}` and `{?query}`. In
        /// the host there may be `{host}` and `{port}` only.
        to: LocationText, required "https://www.example.com{path}{?query}";
        /// 308 or 301 for good, 307 or 302 for now; of 301 and 302, browsers make a GET of a POST; 303: of any method.
        status: RedirectStatus = 308;
    }
}

/// A status with which browsers go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RedirectStatus(pub(crate) StatusCode);

impl Scalar for RedirectStatus {
    const WHAT: &'static str = "a status of a redirect";
    const REMEDY: &'static str = "write 301, 302, 303, 307 or 308";

    fn parse(text: &str) -> Result<RedirectStatus, Fault> {
        match text {
            "301" => Ok(RedirectStatus(StatusCode::MOVED_PERMANENTLY)),
            "302" => Ok(RedirectStatus(StatusCode::FOUND)),
            "303" => Ok(RedirectStatus(StatusCode::SEE_OTHER)),
            "307" => Ok(RedirectStatus(StatusCode::TEMPORARY_REDIRECT)),
            "308" => Ok(RedirectStatus(StatusCode::PERMANENT_REDIRECT)),
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "enum": [301, 302, 303, 307, 308] })
    }
}

/// The text of `Location`, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocationText(pub(crate) String);

impl Scalar for LocationText {
    const WHAT: &'static str = "a URL";
    const REMEDY: &'static str = "write such as \"https://www.example.com{path}{?query}\", in quotes";

    fn parse(text: &str) -> Result<LocationText, Fault> {
        let is_url = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if is_url { Ok(LocationText(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["https://www.example.com{path}{?query}"] })
    }
}

/// A fixed answer: its status, or a section.
pub(crate) type RespondForm = ShortOr<RespondStatus, RespondSection>;

/// The status of a fixed answer.
pub(crate) type RespondStatus = Count<200, 599>;

section! {
    /// A fixed answer.
    RespondSection "`respond`" {
        /// Its status.
        status: RespondStatus = 200;
        /// Its body. Without one, statuses from 400 have the page that evenkeel's own errors have, others none.
        body: Text, optional;
        /// A file with its body, of at most 1 MiB, which is read at the start and at each reload.
        file: FilePath, optional;
        /// Its type. Default: by the ending of `file`, else `text/plain; charset=utf-8`.
        content_type: HeaderText, optional;
        /// Further header fields, with placeholders.
        headers: Named<TemplateText> = {};
    }
}

/// The value of a header field, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateText(pub(crate) String);

impl Scalar for TemplateText {
    const WHAT: &'static str = HeaderText::WHAT;
    const REMEDY: &'static str = HeaderText::REMEDY;

    fn parse(text: &str) -> Result<TemplateText, Fault> {
        HeaderText::parse(text).map(|_| TemplateText(text.to_owned()))
    }

    fn scalar_schema() -> Json {
        HeaderText::scalar_schema()
    }
}

/// The port of HTTPS, or a section.
pub(crate) type RedirectHttpsForm = ShortOr<Count<1, 65_535>, RedirectHttpsSection>;

section! {
    /// The redirect to HTTPS.
    RedirectHttpsSection "`redirect_https`" {
        /// The port of HTTPS as clients see it.
        port: Count<1, 65_535> = 443;
        /// Paths that are served without TLS, as prefixes of whole segments.
        except: List<PathText> = ["/.well-known/acme-challenge"];
    }
}

impl RedirectHttpsSection {
    /// What a section without keys stands for.
    pub(crate) fn of_nothing() -> Self {
        let nothing = Node { span: Span::default(), kind: Kind::Map(Vec::new()) };
        Self::decode(&nothing, &mut DiagnosticSink::default()).expect("a section of no keys can be read")
    }
}
