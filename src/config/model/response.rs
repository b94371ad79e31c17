//! What a route does with responses on their way to its clients.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};

use super::{HeaderEdits, SameSite};

/// Everything that a route changes of responses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponsePolicy {
    pub headers: HeaderEdits,
    /// Fields that ask browsers for caution are set where a response has none of its own.
    pub security_headers: bool,
    /// `None`: cookies pass as they are.
    pub cookies: Option<CookieEdits>,
    /// `None`: what endpoints say about other origins passes as it is.
    pub cors: Option<Cors>,
    /// `None`: failures have the pages of the listener, if it has some.
    pub errors: Option<Arc<ErrorPages>>,
    /// Endpoints' statuses get these pages, too.
    pub intercept_errors: bool,
    /// `None`: nothing is compressed.
    pub compress: Option<Compress>,
}

/// Changes of the cookies that endpoints set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CookieEdits {
    /// The first whose `from` the path begins with, in whole segments.
    pub paths: Vec<PrefixChange>,
    pub domains: Vec<DomainChange>,
    /// `Some(true)`: every cookie has the flag; `Some(false)`: none has it.
    pub secure: Option<bool>,
    pub http_only: Option<bool>,
    pub same_site: Option<SameSite>,
}

/// Both without a slash at the end: `/` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixChange {
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainChange {
    /// In small letters, without a dot in front.
    pub from: String,
    /// `None`: the cookie is for the host alone that sets it.
    pub to: Option<String>,
}

/// Which pages of other origins may read responses (the Fetch standard's CORS protocol).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    pub origins: Origins,
    pub methods: Vec<Method>,
    pub headers: CorsHeaders,
    /// The fields that scripts may read beside the usual ones.
    pub expose: Vec<HeaderName>,
    /// Requests may have cookies and passwords.
    pub credentials: bool,
    /// How long a browser remembers the answer to a preflight.
    pub max_age: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    Any,
    Only(Vec<OriginPattern>),
}

/// An origin, as browsers send it: in small letters, and without the usual port of its scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    Exact(Box<str>),
    /// One label or more between the two.
    Subdomains {
        before: Box<str>,
        after: Box<str>,
    },
}

/// The fields that requests may have beside the usual ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsHeaders {
    Any,
    Only(Vec<HeaderName>),
}

/// The pages of failures by their statuses; single statuses come before classes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorPages(pub Vec<ErrorPage>);

#[derive(Clone, PartialEq, Eq)]
pub struct ErrorPage {
    pub statuses: RangeInclusive<u16>,
    pub content_type: &'static str,
    pub body: Bytes,
}

/// What is compressed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// The first that a client likes as much as any other is taken.
    pub encodings: Vec<Encoding>,
    pub types: Vec<MediaPattern>,
    /// In bytes.
    pub min_size: u64,
    /// From 1, the fastest, to 9.
    pub level: u8,
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Zstd,
    Br,
    Gzip,
}

/// Media types, in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPattern {
    /// `text/html`.
    Exact(Box<str>),
    /// `text/`, of `text/*`.
    Kind(Box<str>),
    /// `+json`, of `*+json`.
    Suffix(Box<str>),
}

impl ResponsePolicy {
    /// `None`: it changes nothing.
    pub fn shared(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }
}

impl OriginPattern {
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *origin,
            Self::Subdomains { before, after } => {
                let labels = origin.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after));
                labels.is_some_and(|labels| {
                    let is_label = |label: &str| {
                        let is_of_name =
                            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                        !label.is_empty() && label.bytes().all(is_of_name)
                    };
                    labels.split('.').all(is_label)
                })
            }
        }
    }
}

impl ErrorPages {
    pub fn of(&self, status: u16) -> Option<&ErrorPage> {
        self.0.iter().find(|page| page.statuses.contains(&status))
    }
}

/// Without the page's text.
impl fmt::Debug for ErrorPage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ErrorPage")
            .field("statuses", &self.statuses)
            .field("content_type", &self.content_type)
            .field("length", &self.body.len())
            .finish()
    }
}

impl Encoding {
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// As `Content-Encoding` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl MediaPattern {
    /// Whether it has a media type, which is given without parameters.
    pub fn has(&self, media_type: &str) -> bool {
        let ends = |part: Option<&str>, with: &str| part.is_some_and(|part| part.eq_ignore_ascii_case(with));
        match self {
            Self::Exact(exact) => media_type.eq_ignore_ascii_case(exact),
            Self::Kind(kind) => ends(media_type.get(..kind.len()), kind),
            Self::Suffix(suffix) => {
                let at = media_type.len().checked_sub(suffix.len());
                ends(at.and_then(|at| media_type.get(at..)), suffix)
            }
        }
    }
}
