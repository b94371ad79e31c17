//! HTTP/1.1 as RFC 9110 and RFC 9112 have it, with what this project refuses beyond that, in the most naive form.

use std::sync::LazyLock;

use regex::bytes::Regex;

macro_rules! pattern {
    ($name:ident, $($part:expr),+) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new(concat!("(?s-u)^(?:", $($part),+, ")$")).unwrap());
    };
}

pattern!(REQUEST_LINE, r"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([^ ]+) HTTP/1\.([01])");
pattern!(STATUS_LINE, r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?");
pattern!(FIELD, r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*");
pattern!(PATH, r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/|\[\]^{}]|%[0-9A-Fa-f]{2})*");
pattern!(QUERY, r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%|\[\]^{}`\\]*");
pattern!(ABSOLUTE, r"(?i:(https?)://)([^/?#]+)([^?#]*)(?:\?(.*))?");
pattern!(NAMED_HOST, r"((?:[A-Za-z0-9\-_~]+\.)*[A-Za-z0-9\-_~]+\.?)(?::([0-9]{0,5}))?");
pattern!(ADDRESS_HOST, r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{0,5}))?");
pattern!(NUMBER, r"[0-9]+");
pattern!(
    CHUNK_LINE,
    r"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+",
    r#"(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*)"#
);

pub type Field = (String, Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub http11: bool,
    /// Names in lower case.
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub length: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub reason: Vec<u8>,
    pub http11: bool,
    /// Names in lower case.
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub length: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    pub payload: Vec<u8>,
    /// Names in lower case.
    pub trailers: Vec<Field>,
    pub length: usize,
}

/// `None`: this is not, or not yet, a whole and good head.
pub fn request(bytes: &[u8]) -> Option<Request> {
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let (lines, length) = head(&bytes[skipped..])?;
    let line = REQUEST_LINE.captures(lines[0])?;
    let http11 = &line[3] == b"1";
    let fields = fields(&lines[1..])?;
    let method = text(&line[1]);
    let (target_host, path, query) = target(&method, &line[2])?;
    let hosts = values(&fields, "host");
    let authority = match (hosts.as_slice(), target_host) {
        ([], _) if http11 => return None,
        ([], None) => String::new(),
        ([], Some((_, host))) => text(&host),
        ([host], target) => {
            let (scheme, target) = target.unwrap_or_else(|| ("http".into(), host.clone()));
            if same_host(&scheme, host)? != same_host(&scheme, &target)? {
                return None;
            }
            text(&target)
        }
        _ => return None,
    };
    let lengths = values(&fields, "content-length");
    let lengths: Vec<&[u8]> = lengths.iter().map(|length| length.as_ref()).collect();
    let framing = framing(&fields, http11, &lengths)?;
    Some(Request { method, authority, path, query, http11, fields, framing, length: skipped + length })
}

/// `None`: this is not, or not yet, a whole and good head.
pub fn response(bytes: &[u8]) -> Option<Response> {
    let (lines, length) = head(bytes)?;
    let line = STATUS_LINE.captures(lines[0])?;
    let http11 = &line[1] == b"1";
    let fields = fields(&lines[1..])?;
    // One length may be said several times.
    let lengths: Vec<_> = values(&fields, "content-length");
    let mut lengths: Vec<&[u8]> =
        lengths.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(trimmed).collect();
    if lengths.iter().all(|length| NUMBER.is_match(length)) {
        lengths.dedup_by_key(|length| text(length).parse::<u128>().unwrap_or(u128::MAX));
    }
    let framing = framing(&fields, http11, &lengths)?;
    let reason = line.get(3).map_or(Vec::new(), |reason| reason.as_bytes().to_vec());
    Some(Response { status: text(&line[2]).parse().unwrap(), reason, http11, fields, framing, length })
}

/// `None`: this is not, or not yet, a whole and good chunked body.
pub fn chunked(bytes: &[u8]) -> Option<Body> {
    let mut payload = Vec::new();
    let mut rest = bytes;
    loop {
        let end = find(rest, b"\r\n")?;
        let line = CHUNK_LINE.captures(&rest[..end])?;
        if line[2].len() > 8 * 1024 {
            return None;
        }
        let size = u64::from_str_radix(&text(&line[1]), 16).unwrap();
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok().filter(|size| *size < rest.len())?;
        payload.extend_from_slice(&rest[..size]);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    let (lines, length) = section(rest)?;
    let trailers = fields(&lines)?;
    if lines.len() > 100 || length > 64 * 1024 + 2 {
        return None;
    }
    Some(Body { payload, trailers, length: bytes.len() - rest.len() + length })
}

/// The lines up to an empty one, without their ends, and how long all of it is.
fn section(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let mut lines = Vec::new();
    let mut begin = 0;
    loop {
        let end = begin + find(&bytes[begin..], b"\r\n")?;
        if end == begin {
            return Some((lines, end + 2));
        }
        lines.push(&bytes[begin..end]);
        begin = end + 2;
    }
}

/// A section with at least one line.
fn head(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    section(bytes).filter(|(lines, _)| !lines.is_empty())
}

fn fields(lines: &[&[u8]]) -> Option<Vec<Field>> {
    let field = |line: &&[u8]| {
        let field = FIELD.captures(line)?;
        Some((text(&field[1]).to_ascii_lowercase(), field[2].to_vec()))
    };
    lines.iter().map(field).collect()
}

fn values(fields: &[Field], name: &str) -> Vec<Vec<u8>> {
    fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
}

/// No more than 64 names are nominated in `Connection`.
fn nominations(fields: &[Field]) -> Option<usize> {
    let count =
        values(fields, "connection").iter().map(|names| names.split(|byte| *byte == b',').count()).sum();
    (count <= 64).then_some(count)
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    &value[begin..end]
}

fn framing(fields: &[Field], http11: bool, lengths: &[&[u8]]) -> Option<Framing> {
    nominations(fields)?;
    let coding = values(fields, "transfer-encoding");
    match (coding.as_slice(), lengths) {
        ([], []) => Some(Framing::None),
        ([coding], []) if http11 && coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        ([], [length]) if NUMBER.is_match(length) => {
            text(length).parse().ok().filter(|length| *length <= i64::MAX as u64).map(Framing::Length)
        }
        _ => None,
    }
}

/// Scheme and authority of an absolute target.
type TargetHost = (String, Vec<u8>);

/// The authority if there is one, path and query as they go on.
fn target(method: &str, target: &[u8]) -> Option<(Option<TargetHost>, String, Option<String>)> {
    if target == b"*" {
        return (method == "OPTIONS").then(|| (None, "*".into(), None));
    }
    let (host, path, query) = if target[0] == b'/' {
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        (None, parts.next()?.to_vec(), parts.next().map(<[u8]>::to_vec))
    } else {
        let parts = ABSOLUTE.captures(target)?;
        let scheme = text(&parts[1]).to_ascii_lowercase();
        same_host(&scheme, &parts[2])?;
        (
            Some((scheme, parts[2].to_vec())),
            parts[3].to_vec(),
            parts.get(4).map(|query| query.as_bytes().to_vec()),
        )
    };
    let path = match path.as_slice() {
        b"" if method == "OPTIONS" && query.is_none() => return Some((host, "*".into(), None)),
        b"" => b"/".to_vec(),
        _ => path,
    };
    let good = PATH.is_match(&path)
        && !text(&path).contains("%00")
        && query.as_ref().is_none_or(|query| QUERY.is_match(query));
    good.then(|| (host, text(&path), query.map(|query| text(&query))))
}

/// The host in a form that can be compared; `None`: it is no good host.
fn same_host(scheme: &str, authority: &[u8]) -> Option<(String, u32)> {
    let parts = NAMED_HOST.captures(authority).filter(|parts| parts[1].len() <= 255).or_else(|| {
        let parts = ADDRESS_HOST.captures(authority)?;
        text(&parts[1]).parse::<std::net::Ipv6Addr>().ok().map(|_| parts)
    })?;
    let port = match parts.get(2).filter(|port| !port.is_empty()) {
        None => {
            if scheme == "https" {
                443
            } else {
                80
            }
        }
        Some(port) => text(port.as_bytes()).parse().unwrap(),
    };
    (1..=65535).contains(&port).then(|| (text(&parts[1]).to_ascii_lowercase(), port))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
