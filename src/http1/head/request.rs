//! The head of a request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::super::fields::{BARE_FEED, Bounds, Fault, Fields, NextLine, next_line};
use super::super::framing::{Announced, lists, nominated};
use super::super::syntax::{BUFFER_MAX, Span, is_path, is_token, list};
use super::target::Target;
use super::{HeadBytes, METHOD_MAX, NO_METHOD, Parse, Refusal};
use crate::authority;
use crate::config::Limits;
use crate::exchange::Failure;
use crate::message::{Framing, RequestFields, Version, put_field};
use crate::routing::RequestHead;

const VERSION_LENGTH: usize = "HTTP/1.1".len();

/// A request's head as byte ranges of the buffer that holds it. Reused from request to request for its memory.
#[derive(Debug, Default)]
pub struct Request {
    stage: Stage,
    /// Where the request line begins: 2 after a leading empty line.
    begin: usize,
    searched: usize,
    method: Span,
    written_target: Span,
    version: Option<Version>,
    target: Target,
    /// The path as it is forwarded, where it is not as it was sent; otherwise empty.
    path: String,
    fields: Fields,
    host: Span,
    facts: Facts,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Line,
    Fields,
    Done,
}

/// What the fields say about the message and its connection.
#[derive(Debug, Default, Clone, Copy)]
struct Facts {
    framing: Framing,
    keep_alive: bool,
    upgrade: bool,
    trailers: bool,
}

// === impl Request ===

impl Request {
    /// Reads a head that begins at the beginning of `bytes`.
    ///
    /// After [`Parse::Partial`], call it again with the same bytes and more; after anything else, with the next head.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Parse {
        if self.stage == Stage::Done {
            self.restart();
        }
        let parse = match self.advance(bytes, limits) {
            Ok(Some(length)) => Parse::Complete { length },
            Ok(None) => return Parse::Partial,
            Err(refusal) => Parse::Refused(refusal),
        };
        self.stage = Stage::Done;
        parse
    }

    /// Forgets a head that was not completed.
    pub fn restart(&mut self) {
        self.stage = Stage::Start;
        (self.begin, self.searched) = (0, 0);
        (self.method, self.written_target, self.version) = (Span::default(), Span::default(), None);
        (self.target, self.host) = (Target::default(), Span::default());
        self.path.clear();
        self.fields.restart(0);
        self.facts = Facts::default();
    }

    /// The parsed parts; `bytes` must be those that were parsed. In a refused head, some parts are empty.
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> RequestView<'a> {
        RequestView { head: self, bytes, text: "" }
    }

    /// The same for bytes that have been moved to a [`HeadBytes`].
    pub fn view_of<'a>(&'a self, bytes: &'a HeadBytes) -> RequestView<'a> {
        RequestView { head: self, bytes: bytes.bytes(), text: &bytes.text }
    }

    fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        if self.stage == Stage::Start {
            match bytes {
                [] | b"\r" => return Ok(None),
                // An empty line before the request line, which some clients leave behind a body (RFC 9112, section 2.2).
                [b'\r', b'\n', ..] => self.begin = 2,
                _ => {}
            }
            self.stage = Stage::Line;
        }
        if self.stage == Stage::Line {
            let Some(next) = self.request_line(bytes, limits)? else { return Ok(None) };
            self.fields.restart(next);
            self.stage = Stage::Fields;
        }
        let bounds = Bounds { bytes: limits.header_bytes.min(BUFFER_MAX), count: limits.header_count };
        let Some(length) = self.fields.read(bytes, bounds).map_err(refusal)? else { return Ok(None) };
        self.interpret_fields(bytes)?;
        Ok(Some(length))
    }

    /// Reads the request line and returns where the next line begins.
    ///
    /// Checks that a part of the line can fail come before checks that need the whole line, so that the verdict does
    /// not depend on how the bytes arrive.
    fn request_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        let found = next_line(bytes, self.begin, self.searched);
        self.searched = bytes.len();
        let end = match found {
            NextLine::Complete { end, .. } => end,
            NextLine::Bare { next } => next - 1,
            // A carriage return may be the beginning of the line's end.
            NextLine::Partial if bytes.last() == Some(&b'\r') => bytes.len() - 1,
            NextLine::Partial => bytes.len(),
        };
        let Some(rest) = self.read_method(bytes, Span::new(self.begin, end))? else {
            return partial_or(found, "request line without a target");
        };
        let Some(version) = self.read_target(bytes, rest, limits)? else {
            return partial_or(found, "request line without a version");
        };
        let version = version.of(bytes);
        match found {
            NextLine::Partial if version.len() <= VERSION_LENGTH => return Ok(None),
            NextLine::Bare { .. } if version.len() <= VERSION_LENGTH => {
                return Err(Refusal::bad_request(BARE_FEED));
            }
            _ => {}
        }
        self.version = Some(match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ => return Err(Refusal::bad_request("no HTTP/1.0 or HTTP/1.1 behind the target")),
        });
        self.interpret_target(bytes)?;
        match found {
            NextLine::Complete { next, .. } => Ok(Some(next)),
            NextLine::Partial | NextLine::Bare { .. } => Ok(None),
        }
    }

    /// Reads the method at the beginning of `line`, and returns the rest after the space; `None`: there is no space.
    fn read_method(&mut self, bytes: &[u8], line: Span) -> Result<Option<Span>, Refusal> {
        let text = line.of(bytes);
        let seen = text.get(..=METHOD_MAX).unwrap_or(text);
        let length = seen.iter().position(|byte| !is_token(*byte)).unwrap_or(seen.len());
        if length > METHOD_MAX {
            return Err(Refusal::bad_request("the method is too long"));
        }
        match text.get(length) {
            None => return Ok(None),
            Some(b' ') if length > 0 => {}
            Some(_) => return Err(Refusal::bad_request("bad byte in the method")),
        }
        self.method = Span::new(line.start(), line.start() + length);
        Ok(Some(Span::new(self.method.end() + 1, line.end())))
    }

    /// Reads the target at the beginning of `rest`, and returns the rest after the space: the version.
    fn read_target(&mut self, bytes: &[u8], rest: Span, limits: &Limits) -> Result<Option<Span>, Refusal> {
        let text = rest.of(bytes);
        let space = memchr::memchr(b' ', text);
        let length = space.unwrap_or(text.len());
        self.written_target = Span::new(rest.start(), rest.start() + length);
        if length > limits.target_bytes.min(BUFFER_MAX) {
            return Err(Refusal { failure: Failure::TargetTooLong, reason: "the target is too long" });
        }
        Ok(space.map(|space| Span::new(rest.start() + space + 1, rest.end())))
    }

    fn interpret_target(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match self.method.of(bytes) {
            b"CONNECT" => {
                return Err(Refusal { failure: Failure::MethodNotAllowed, reason: "CONNECT is not served" });
            }
            method if method == NO_METHOD.as_bytes() => return Err(Refusal::bad_request("PRI is no method")),
            _ => {}
        }
        self.target =
            Target::read(bytes, self.written_target, self.method.of(bytes)).map_err(Refusal::bad_request)?;
        Ok(())
    }

    /// Replaces the path that is routed and forwarded; `false`: a path cannot be so. The query stays.
    pub fn set_path(&mut self, path: &str) -> bool {
        let is_path = path.bytes().all(is_path);
        if is_path {
            path.clone_into(&mut self.path);
        }
        is_path
    }

    /// Derives the framing and the connection's options from all fields, and checks the host.
    fn interpret_fields(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let version = self.version.unwrap_or(Version::Http11);
        let mut noted = Noted::default();
        for (name, value) in self.fields.iter(bytes) {
            noted.note(name, value).map_err(Refusal::bad_request)?;
        }
        self.facts.framing = noted.announced.framing(version).map_err(Refusal::bad_request)?;
        let http11 = version == Version::Http11;
        self.facts.keep_alive = !noted.close && (http11 || noted.keep_alive);
        self.facts.trailers = http11 && noted.trailers;
        self.facts.upgrade = http11 && noted.upgrade && noted.upgrade_field && !noted.upgrades_to_http;
        self.check_host(bytes, noted.host, version)?;
        self.host = self.fields.find(bytes, b"host").unwrap_or_default();
        Ok(())
    }

    fn check_host(&self, bytes: &[u8], field: Option<&[u8]>, version: Version) -> Result<(), Refusal> {
        let target = self.target.authority.of(bytes);
        let missing = |reason| Err(Refusal { failure: Failure::MissingHost, reason });
        match field {
            None if version == Version::Http11 => return missing("no Host"),
            None => return Ok(()),
            Some([]) => return missing("empty Host"),
            Some(field) => authority::check(field).map_err(Refusal::bad_request)?,
        }
        let agrees = field.is_none_or(|field| authority::agree(field, target, self.target.secure));
        if !target.is_empty() && !agrees {
            return Err(Refusal::bad_request("Host and target disagree"));
        }
        Ok(())
    }
}

/// Collected in one pass over the fields.
#[derive(Default)]
struct Noted<'a> {
    host: Option<&'a [u8]>,
    announced: Announced,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    upgrade_field: bool,
    upgrades_to_http: bool,
    trailers: bool,
    nominated: usize,
}

impl<'a> Noted<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), &'static str> {
        // The length rules out nearly every other name.
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => self.trailers |= lists(value, b"trailers"),
            4 if name.eq_ignore_ascii_case(b"host") && self.host.replace(value).is_some() => {
                return Err("more than one Host");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade_field = true;
                // RFC 9113 has dropped the upgrade to h2c; forwarding it would hide requests in a tunnel.
                self.upgrades_to_http |= list(value).any(is_http);
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.close |= lists(value, b"close");
                self.keep_alive |= lists(value, b"keep-alive");
                self.upgrade |= lists(value, b"upgrade");
                self.nominated = nominated(self.nominated, value)?;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.announced.content_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.announced.transfer_encoding(value)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a protocol that `Upgrade` names is a version of HTTP.
fn is_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"http")
        || name.eq_ignore_ascii_case(b"h2c")
        || name.eq_ignore_ascii_case(b"h2")
}

/// `None` while the line is incomplete; a refusal with this reason once it is complete.
fn partial_or(found: NextLine, reason: &'static str) -> Result<Option<usize>, Refusal> {
    if found == NextLine::Partial { Ok(None) } else { Err(Refusal::bad_request(reason)) }
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::Malformed(reason) => Refusal::bad_request(reason),
        Fault::TooLarge(reason) => Refusal { failure: Failure::HeadersTooLarge, reason },
    }
}

/// A request's head, with the buffer that it lies in.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    head: &'a Request,
    bytes: &'a [u8],
    /// The same bytes as text, where they are known to be ASCII; otherwise empty.
    text: &'a str,
}

impl<'a> RequestView<'a> {
    fn part(self, place: Span) -> &'a str {
        place.text_of(self.text, self.bytes)
    }

    pub fn method(self) -> &'a str {
        self.part(self.head.method)
    }

    /// The target as sent.
    pub fn target(self) -> &'a [u8] {
        self.head.written_target.of(self.bytes)
    }

    pub fn version(self) -> Version {
        self.head.version.unwrap_or(Version::Http11)
    }

    /// The host and port that the request is for, "" if it does not say.
    pub fn authority(self) -> &'a str {
        match (self.head.target.authority, self.head.host) {
            (target, _) if !target.is_empty() => self.part(target),
            (_, host) => self.part(host),
        }
    }

    /// Begins with `/`, or is `*`.
    pub fn path(self) -> &'a str {
        match &*self.head.path {
            "" => self.or_root(self.part(self.head.target.path)),
            path => path,
        }
    }

    /// An absolute target without a path asks for the root, or for no resource in particular (RFC 9112, section 3.2.4).
    fn or_root(self, path: &'a str) -> &'a str {
        match path {
            "" if self.method() == "OPTIONS" && self.head.target.query.is_none() => "*",
            "" => "/",
            path => path,
        }
    }

    pub fn query(self) -> Option<&'a str> {
        self.head.target.query.map(|query| self.part(query))
    }

    /// Name and value of each field, in order, as sent.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        self.head.fields.iter(self.bytes)
    }

    /// The values of all fields of that name, in order.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields.named(self.bytes, name.as_bytes())
    }

    /// The value of the first field of that name.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The size of each field line, with its end.
    pub fn sizes(self) -> impl Iterator<Item = usize> + 'a {
        self.head.fields.sizes()
    }

    /// The elements of all `Connection` fields.
    pub fn connection(self) -> impl Iterator<Item = &'a str> {
        self.values("connection").flat_map(list).filter_map(visible)
    }

    pub fn framing(self) -> Framing {
        self.head.facts.framing
    }

    /// The client would send another request on this connection.
    pub fn keep_alive(self) -> bool {
        self.head.facts.keep_alive
    }

    /// The client wants to speak another protocol on this connection, and not some other HTTP.
    pub fn is_upgrade(self) -> bool {
        self.head.facts.upgrade
    }

    /// The client reads the trailers of a response.
    pub fn takes_trailers(self) -> bool {
        self.head.facts.trailers
    }
}

fn visible(value: &[u8]) -> Option<&str> {
    // Control bytes have been refused. Branchless, so that the compiler vectorizes it.
    let plain = value.iter().fold(true, |plain, byte| plain & ((*byte < 0x7f) | (*byte == b'\t')));
    if plain { str::from_utf8(value).ok() } else { None }
}

impl RequestHead for RequestView<'_> {
    fn method(&self) -> &str {
        (*self).method()
    }

    fn authority(&self) -> &str {
        (*self).authority()
    }

    fn path(&self) -> &str {
        (*self).path()
    }

    fn query(&self) -> Option<&str> {
        (*self).query()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        (*self).values(name.as_str())
    }
}

impl RequestFields for RequestView<'_> {
    fn version(&self) -> Version {
        (*self).version()
    }

    fn framing(&self) -> Framing {
        (*self).framing()
    }

    fn target(&self) -> &[u8] {
        (*self).target()
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (*self).fields()
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        (*self).sizes()
    }

    fn connection(&self) -> impl Iterator<Item = &str> {
        (*self).connection()
    }

    fn is_upgrade(&self) -> bool {
        (*self).is_upgrade()
    }

    fn websocket_key(&self) -> Option<&[u8]> {
        self.header(&http::header::SEC_WEBSOCKET_KEY)
    }

    fn takes_trailers(&self) -> bool {
        (*self).takes_trailers()
    }

    fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.head.fields.lines(self.bytes).copy_to(out, keep);
    }

    fn copy_fields(&self, map: &mut HeaderMap, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let bytes = Bytes::copy_from_slice(self.bytes);
        for (name, value) in self.head.fields.iter(&bytes).filter(|(name, value)| keep(name, value)) {
            put_field(map, name, value, &bytes);
        }
    }
}
