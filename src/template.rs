//! Texts with placeholders such as `{host}`: compiled once, rendered for each request.
//!
//! What a placeholder stands for is text of one line: [`Values`] come from heads that have been parsed.

use std::fmt;
use std::ops::Range;

use crate::authority;

/// A compiled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As it was written.
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Placeholder(Placeholder),
}

/// What a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// The client's IP address; `unknown` on a unix socket.
    Client,
    /// The host that the request asks for, as routes match it: in lower case, without port.
    Host,
    /// `http` or `https`, as the client sees it.
    Scheme,
    /// The port that the request asks for, else that of the scheme.
    Port,
    Method,
    /// The path that the route has matched, in its normal form.
    Path,
    /// The query as sent, without question mark.
    Query,
    /// The query with its question mark; empty if there is none.
    QuestionQuery,
    RequestId,
    /// The subject of the client's certificate (RFC 4514); empty without one.
    CertSubject,
    /// A group of a regular expression, by its number.
    Group(usize),
}

/// What placeholders stand for in one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// The client's IP address, if it has one.
    pub client: Option<&'a str>,
    /// Host and port, as the request asks for them.
    pub authority: &'a str,
    pub scheme: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub request_id: &'a str,
    pub cert_subject: &'a str,
    pub groups: Option<&'a Groups>,
}

/// What the groups of a regular expression have found in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    text: Box<str>,
    /// By number; the first one is the whole match. `None`: the group has no part in the match.
    ranges: Box<[Option<Range<usize>>]>,
}

/// Why a text is no template, and where, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    pub place: Range<usize>,
    pub kind: TemplateFault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateFault {
    /// A brace that is not closed.
    Unclosed,
    /// There is no such placeholder.
    Unknown(String),
    /// There is no such group in the regular expression.
    NoGroup(String),
}

/// The names of all placeholders but groups.
pub const NAMES: [&str; 10] =
    ["client", "host", "scheme", "port", "method", "path", "query", "?query", "request_id", "cert_subject"];

// === impl Template ===

impl Template {
    /// Compiles a text, in which `{{` is a brace. `group` finds the number of a group by its number or name.
    pub fn parse(
        text: &str,
        mut group: impl FnMut(&str) -> Option<usize>,
    ) -> Result<Template, TemplateError> {
        let (mut parts, mut plain, mut at) = (Vec::new(), String::new(), 0);
        while let Some(open) = text.get(at..).and_then(|rest| rest.find('{')).map(|found| at + found) {
            plain.push_str(text.get(at..open).unwrap_or_default());
            let rest = text.get(open + 1..).unwrap_or_default();
            if rest.starts_with('{') {
                plain.push('{');
                at = open + 2;
                continue;
            }
            let fault = |end: usize, kind| TemplateError { place: open..end, kind };
            let length = rest.find('}').ok_or_else(|| fault(text.len(), TemplateFault::Unclosed))?;
            let name = rest.get(..length).unwrap_or_default();
            at = open + length + 2;
            let placeholder = Placeholder::parse(name, &mut group).map_err(|kind| fault(at, kind))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Placeholder(placeholder));
        }
        plain.push_str(text.get(at..).unwrap_or_default());
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Template { text: text.into(), parts: parts.into() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole text, if it is the same for all requests.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first placeholder.
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Placeholder(_)) | None => "",
        }
    }

    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(placeholder) => Some(*placeholder),
        })
    }

    /// Appends the text for one request.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Placeholder(placeholder) => placeholder.render(values, out),
            }
        }
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

// === impl Placeholder ===

impl Placeholder {
    fn parse(name: &str, group: &mut impl FnMut(&str) -> Option<usize>) -> Result<Self, TemplateFault> {
        Ok(match name {
            "client" => Self::Client,
            "host" => Self::Host,
            "scheme" => Self::Scheme,
            "port" => Self::Port,
            "method" => Self::Method,
            "path" => Self::Path,
            "query" => Self::Query,
            "?query" => Self::QuestionQuery,
            "request_id" => Self::RequestId,
            "cert_subject" => Self::CertSubject,
            _ => match group(name) {
                Some(number) => Self::Group(number),
                None if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) => {
                    return Err(TemplateFault::NoGroup(name.to_owned()));
                }
                None => return Err(TemplateFault::Unknown(name.to_owned())),
            },
        })
    }

    fn render(self, values: &Values<'_>, out: &mut Vec<u8>) {
        let mut write = |text: &str| out.extend_from_slice(text.as_bytes());
        match self {
            Self::Client => write(values.client.unwrap_or("unknown")),
            Self::Host => write(&authority::normalize_host(values.authority)),
            Self::Scheme => write(values.scheme),
            Self::Port => {
                let of_scheme = if values.scheme == "https" { "443" } else { "80" };
                write(authority::split(values.authority).1.unwrap_or(of_scheme));
            }
            Self::Method => write(values.method),
            Self::Path => write(values.path),
            Self::Query => write(values.query.unwrap_or_default()),
            Self::QuestionQuery => {
                if let Some(query) = values.query {
                    write("?");
                    write(query);
                }
            }
            Self::RequestId => write(values.request_id),
            Self::CertSubject => write(values.cert_subject),
            Self::Group(number) => write(values.groups.map_or("", |groups| groups.get(number))),
        }
    }
}

// === impl Groups ===

impl Groups {
    /// `ranges` are parts of `text`; one that is none counts as empty.
    pub fn new(text: &str, ranges: impl Iterator<Item = Option<Range<usize>>>) -> Self {
        Self { text: text.into(), ranges: ranges.collect() }
    }

    /// Where a group has found something.
    pub fn range(&self, number: usize) -> Option<Range<usize>> {
        self.ranges.get(number).and_then(Clone::clone)
    }

    /// What a group has found; empty if it has no part in the match.
    pub fn get(&self, number: usize) -> &str {
        self.range(number).and_then(|range| self.text.get(range)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text, |name| match name {
            "1" | "id" => Some(1),
            _ => None,
        })
    }

    fn rendered(text: &str, values: &Values<'_>) -> String {
        let mut out = Vec::new();
        parse(text).expect("a template").render(values, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn values(groups: &Groups) -> Values<'_> {
        Values {
            client: Some("192.0.2.1"),
            authority: "Www.Example.com.:8080",
            scheme: "https",
            method: "GET",
            path: "/a%20b",
            query: Some("x=1&y"),
            request_id: "id-1",
            cert_subject: "CN=ann",
            groups: Some(groups),
        }
    }

    #[test]
    fn each_placeholder_stands_for_its_part_of_the_request() {
        let groups = Groups::new("/a/77", [Some(0..5), Some(3..5)].into_iter());
        let values = values(&groups);
        for (text, expected) in [
            ("", ""),
            ("plain } text", "plain } text"),
            ("{client}", "192.0.2.1"),
            ("{scheme}://{host}:{port}{path}?{query}", "https://www.example.com:8080/a%20b?x=1&y"),
            ("{path}{?query}", "/a%20b?x=1&y"),
            ("{method}-{request_id}-{cert_subject}", "GET-id-1-CN=ann"),
            ("<{1}|{id}>", "<77|77>"),
            ("{{host}", "{host}"),
            ("{{{host}", "{www.example.com"),
            ("{{\"a\":{{}}", "{\"a\":{}}"),
        ] {
            assert_eq!(rendered(text, &values), expected, "{text}");
        }
    }

    #[test]
    fn what_a_request_has_not_is_empty() {
        let values = Values { authority: "[::1]", scheme: "http", ..Values::default() };
        assert_eq!(rendered("{client} {host} {port} [{query}{?query}{1}]", &values), "unknown [::1] 80 []");
        assert_eq!(rendered("{?query}", &Values { query: Some(""), ..values }), "?");
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let unknown = |name: &str| TemplateFault::Unknown(name.to_owned());
        for (text, place, kind) in [
            ("a{hots}b", 1..7, unknown("hots")),
            ("a{}", 1..3, unknown("")),
            ("é{Host}", 2..8, unknown("Host")),
            ("{path}{2}", 6..9, TemplateFault::NoGroup("2".to_owned())),
            ("a{host", 1..6, TemplateFault::Unclosed),
            ("{{{", 2..3, TemplateFault::Unclosed),
        ] {
            assert_eq!(parse(text), Err(TemplateError { place, kind }), "{text}");
        }
    }

    #[test]
    fn a_text_without_placeholders_is_known_as_such() {
        for (text, fixed, beginning) in [
            ("", Some(""), ""),
            ("a{{b", Some("a{b"), "a{b"),
            ("https://x{path}", None, "https://x"),
            ("{path}", None, ""),
        ] {
            let template = parse(text).expect("a template");
            assert_eq!((template.fixed(), template.beginning()), (fixed, beginning), "{text}");
            assert_eq!(template.to_string(), text);
        }
        let template = parse("{host}{1}").expect("a template");
        assert_eq!(template.placeholders().collect::<Vec<_>>(), [Placeholder::Host, Placeholder::Group(1)]);
    }

    #[test]
    fn every_name_is_a_placeholder() {
        for name in NAMES {
            assert!(parse(&format!("{{{name}}}")).is_ok(), "{name}");
        }
    }
}
