//! The request that is asked about: read, and refused where no client could send it.

use std::net::IpAddr;

use crate::admin::ExplainRequest;
use crate::authority;
use crate::http1::head::is_token;

/// The longest that is shown of something wrong.
const SHOWN_MAX: usize = 60;

/// A request that a client could send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub method: String,
    /// As it was written, without a fragment.
    pub url: String,
    /// The URL has `https`.
    pub secure: bool,
    /// Host and port, as the URL has them.
    pub authority: String,
    /// Path and query.
    pub target: String,
    pub fields: Vec<(String, String)>,
    /// The address of its client, if it is said.
    pub from: Option<IpAddr>,
    pub http2: bool,
    pub listener: Option<String>,
}

/// What is wrong with a question, with a remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("the URL {0} has no scheme: write http://{0} or https://{0}")]
    NoScheme(String),
    #[error("the URL {0} has no host: write the whole URL, such as http://www.example.com/x")]
    NoHost(String),
    #[error("the URL {0} is neither http nor https")]
    OtherScheme(String),
    #[error("the URL {0} has a user: write -H 'Authorization: Basic ...' instead")]
    User(String),
    #[error("the URL {0} has the host {1}: {2}")]
    BadHost(String, String, &'static str),
    #[error("the URL {0} has {1:?} in it: write it escaped, as %{2:02X}")]
    BadLetter(String, char, u32),
    #[error("the method {0:?} is none: it is a word such as GET")]
    Method(String),
    #[error("the header field {0:?} is not written as 'Name: value'")]
    Field(String),
    #[error("the client's address {0:?} is no IP address: write one such as 192.0.2.7 or 2001:db8::7")]
    From(String),
    #[error("there is no listener {name}: the listeners are {known}")]
    UnknownListener { name: String, known: String },
    #[error("no listener has {what}: the listeners are {known}; choose one by --listener NAME")]
    NoListener { what: String, known: String },
    #[error("several listeners have {what}: {known}; choose one by --listener NAME")]
    Ambiguous { what: String, known: String },
    #[error("listener {0} has no HTTP/2: {1}")]
    NoHttp2(String, &'static str),
    #[error("no request over HTTP/2 can be like this: {0}")]
    Http2(String),
}

// === impl Question ===

impl Question {
    pub fn new(request: &ExplainRequest) -> Result<Self, QuestionError> {
        let ExplainRequest { method, url, headers, from, http2, listener } = request;
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(QuestionError::Method(shown(method)));
        }
        let url = url.split_once('#').map_or(&**url, |(url, _)| url);
        let (secure, authority, target) = parts(url)?;
        let address = |text: &String| text.parse().map_err(|_| QuestionError::From(shown(text)));
        let from = from.as_ref().map(address).transpose()?;
        Ok(Self {
            method: method.clone(),
            url: url.to_owned(),
            secure,
            authority,
            target,
            fields: headers.iter().map(|field| self::field(field)).collect::<Result<_, _>>()?,
            from,
            http2: *http2,
            listener: listener.clone(),
        })
    }

    /// The port of the URL, or that of its scheme.
    pub fn port(&self) -> u16 {
        let usual = if self.secure { 443 } else { 80 };
        authority::split(&self.authority).1.and_then(|port| port.parse().ok()).unwrap_or(usual)
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// What the request names as its host: a field of that name comes before the URL.
    pub fn host(&self) -> &str {
        let named = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        named.map_or(&self.authority, |(_, value)| value)
    }
}

/// Whether the scheme is https, the authority, and the target.
fn parts(url: &str) -> Result<(bool, String, String), QuestionError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        let begins_with_path = url.starts_with(['/', '?']) || url.is_empty();
        let error = if begins_with_path { QuestionError::NoHost } else { QuestionError::NoScheme };
        return Err(error(shown(url)));
    };
    let secure = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ => return Err(QuestionError::OtherScheme(shown(url))),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(QuestionError::User(shown(&format!("{scheme}://{}", after_user(rest)))));
    }
    if authority::host(authority).is_empty() {
        return Err(QuestionError::NoHost(shown(url)));
    }
    if let Err(why) = authority::check(authority.as_bytes()) {
        return Err(QuestionError::BadHost(shown(url), shown(authority), why));
    }
    let is_bad = |letter: char| letter.is_whitespace() || letter.is_control() || !letter.is_ascii();
    if let Some(letter) = target.chars().find(|letter| is_bad(*letter)) {
        let mut bytes = [0; 4];
        let first = letter.encode_utf8(&mut bytes).bytes().next().unwrap_or_default();
        return Err(QuestionError::BadLetter(shown(url), letter, first.into()));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((secure, authority.to_owned(), format!("{slash}{target}")))
}

/// Without the user, who may have a password.
fn after_user(rest: &str) -> &str {
    rest.split_once('@').map_or(rest, |(_, rest)| rest)
}

fn field(text: &str) -> Result<(String, String), QuestionError> {
    let error = || QuestionError::Field(shown(text.split_once(':').map_or(text, |(name, _)| name)));
    let (name, value) = text.split_once(':').ok_or_else(error)?;
    let is_value = value.bytes().all(|byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    if name.is_empty() || !name.bytes().all(is_token) || !is_value {
        return Err(error());
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, url: &str, fields: &[&str], from: Option<&str>) -> Result<Question, String> {
        let request = ExplainRequest {
            method: method.into(),
            url: url.into(),
            headers: fields.iter().map(|field| (*field).to_owned()).collect(),
            from: from.map(Into::into),
            ..Default::default()
        };
        Question::new(&request).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_says_scheme_host_port_and_target() {
        for (url, authority, port, target) in [
            ("http://a.example", "a.example", 80, "/"),
            ("https://a.example/x?y=1#z", "a.example", 443, "/x?y=1"),
            ("HTTP://a.example:8080?y", "a.example:8080", 8080, "/?y"),
            ("http://[::1]:81/", "[::1]:81", 81, "/"),
        ] {
            let question = read("GET", url, &[], None).expect(url);
            assert_eq!((&*question.authority, question.port(), &*question.target), (authority, port, target));
        }
        let question = read("GET", "http://a/", &["Host: b.example", "X-A:1:2"], Some("::1")).expect("valid");
        assert_eq!((question.host(), &*question.fields[1].1), ("b.example", "1:2"));
    }

    #[test]
    fn what_no_client_could_send_is_refused_with_a_remedy() {
        for (method, url, fields, from, words) in [
            ("GET", "/x", &[][..], None, "has no host: write the whole URL"),
            ("GET", "http:///x", &[], None, "has no host"),
            ("GET", "", &[], None, "has no host"),
            ("GET", "a.example/x", &[], None, "write http://a.example/x or https://a.example/x"),
            ("GET", "ftp://a/", &[], None, "neither http nor https"),
            ("GET", "http://me:pass@a/", &[], None, "the URL http://a/ has a user"),
            ("GET", "http://a/x y", &[], None, "has ' ' in it: write it escaped, as %20"),
            ("GET", "http://a/\u{e9}", &[], None, "as %C3"),
            ("GET", "http://a_b\"/", &[], None, "has the host a_b\""),
            ("G T", "http://a/", &[], None, "a word such as GET"),
            ("", "http://a/", &[], None, "a word such as GET"),
            ("GET", "http://a/", &["X-A"], None, "\"X-A\" is not written as 'Name: value'"),
            ("GET", "http://a/", &["X A: b"], None, "\"X A\" is not written"),
            ("GET", "http://a/", &["X-Token: s3cret\r\nX-B: c"], None, "the header field \"X-Token\" is not"),
            ("GET", "http://a/", &[": b"], None, "is not written"),
            ("GET", "http://a/", &[], Some("10.0.0"), "\"10.0.0\" is no IP address"),
        ] {
            let error = read(method, url, fields, from).expect_err(url);
            assert!(error.contains(words) && !error.contains("s3cret"), "{url} {fields:?}: {error}");
        }
    }
}
