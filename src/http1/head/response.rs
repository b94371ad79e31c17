//! The head of a response.

use bytes::Bytes;
use http::HeaderMap;

use super::super::fields::{BARE_FEED, Bounds, Fault, Fields, NextLine, next_line};
use super::super::framing::{Announced, lists, nominated};
use super::super::syntax::{Span, list};
use super::{Parse, Refusal};
use crate::header_field::is_valid_value;
use crate::message::{Framing, Onward, ResponseHead, Version, of_response, put_field};
use crate::part::Part;

/// Bytes of a response's head, status line included.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Fields of a response's head.
pub const RESPONSE_FIELDS_MAX: usize = 200;

/// Of `HTTP/1.1 200`, without a reason phrase.
const STATUS_LENGTH: usize = "HTTP/1.1 200".len();

/// A response's head as byte ranges of the buffer that holds it.
#[derive(Debug, Default)]
pub struct Response {
    stage: Stage,
    searched: usize,
    version: Option<Version>,
    status: u16,
    reason: Span,
    fields: Fields,
    announced: Framing,
    keep_alive: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Line,
    Fields,
    Done,
}

impl Response {
    /// Reads a head that begins at the beginning of `bytes`.
    ///
    /// After [`Parse::Partial`], call it again with the same bytes and more; after anything else, with the next head.
    pub fn parse(&mut self, bytes: &[u8]) -> Parse {
        if self.stage == Stage::Done {
            self.restart();
        }
        let parse = match self.advance(bytes) {
            Ok(Some(length)) => Parse::Complete { length },
            Ok(None) => return Parse::Partial,
            Err(reason) => Parse::Refused(Refusal::bad_response(reason)),
        };
        self.stage = Stage::Done;
        parse
    }

    /// Forgets a head that was not completed.
    pub fn restart(&mut self) {
        self.stage = Stage::Line;
        self.searched = 0;
        (self.version, self.status, self.reason) = (None, 0, Span::default());
        self.fields.restart(0);
        (self.announced, self.keep_alive) = (Framing::None, false);
    }

    /// The parsed parts; `bytes` must be those that were parsed.
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> ResponseView<'a> {
        ResponseView { head: self, bytes }
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        if self.stage == Stage::Line {
            let Some(next) = self.status_line(bytes)? else { return Ok(None) };
            self.fields.restart(next);
            self.stage = Stage::Fields;
        }
        let bounds = Bounds { bytes: RESPONSE_BYTES_MAX - self.reason.end() - 2, count: RESPONSE_FIELDS_MAX };
        let read = self.fields.read(bytes, bounds).map_err(|fault| match fault {
            Fault::Malformed(reason) | Fault::TooLarge(reason) => reason,
        });
        let Some(length) = read? else { return Ok(None) };
        self.interpret_fields(bytes)?;
        Ok(Some(length))
    }

    fn status_line(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let begin = bytes.get(..STATUS_LENGTH).unwrap_or(bytes);
        if !begins_status_line(begin) {
            return Err("no HTTP/1.0 or HTTP/1.1 status line");
        }
        let found = next_line(bytes, 0, self.searched);
        self.searched = bytes.len();
        let (end, next) = match found {
            NextLine::Partial if bytes.len() > RESPONSE_BYTES_MAX / 2 => {
                return Err("the status line is too long");
            }
            NextLine::Partial => return Ok(None),
            NextLine::Complete { next, .. } | NextLine::Bare { next } if next > RESPONSE_BYTES_MAX / 2 => {
                return Err("the status line is too long");
            }
            NextLine::Bare { .. } => return Err(BARE_FEED),
            NextLine::Complete { end, next } => (end, next),
        };
        let line = bytes.part(..end);
        let reason = line.get(STATUS_LENGTH..).ok_or("the status line is too short")?;
        if !matches!(reason, [] | [b' ', ..]) || !is_valid_value(reason) {
            return Err("bad byte in the status line");
        }
        self.reason = Span::new((STATUS_LENGTH + 1).min(end), end);
        let digits = line.part(STATUS_LENGTH - 3..STATUS_LENGTH);
        self.status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit & 15));
        self.version = Some(if line.starts_with(b"HTTP/1.1") { Version::Http11 } else { Version::Http10 });
        Ok(Some(next))
    }

    fn interpret_fields(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let version = self.version.unwrap_or(Version::Http11);
        let mut announced = Announced::of_response();
        let (mut close, mut keep_alive, mut names) = (false, false, 0);
        for (name, value) in self.fields.iter(bytes) {
            match name.len() {
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    close |= lists(value, b"close");
                    keep_alive |= lists(value, b"keep-alive");
                    names = nominated(names, value)?;
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => announced.content_length(value)?,
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    announced.transfer_encoding(value)?;
                }
                _ => {}
            }
        }
        self.announced = announced.framing(version)?;
        self.keep_alive = !close && (version == Version::Http11 || keep_alive);
        Ok(())
    }
}

/// Whether these bytes, 12 at most, can begin a status line.
fn begins_status_line(begin: &[u8]) -> bool {
    if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', b'2', b'0'..=b'9', b'0'..=b'9'] = begin {
        return true;
    }
    begin.iter().zip(b"HTTP/1.1 200").enumerate().all(|(at, (byte, model))| match at {
        7 => matches!(byte, b'0' | b'1'),
        9 => matches!(byte, b'1'..=b'9'),
        10 | 11 => byte.is_ascii_digit(),
        _ => byte == model,
    })
}

/// A response's head, with the buffer that it lies in.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    head: &'a Response,
    bytes: &'a [u8],
}

impl<'a> ResponseView<'a> {
    pub fn status(self) -> u16 {
        self.head.status
    }

    /// 1xx other than 101: the final response is still to come.
    pub fn is_interim(self) -> bool {
        matches!(self.head.status, 100 | 102..=199)
    }

    pub fn reason(self) -> &'a [u8] {
        self.head.reason.of(self.bytes)
    }

    pub fn version(self) -> Version {
        self.head.version.unwrap_or(Version::Http11)
    }

    /// Name and value of each field, in order, as sent.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        self.head.fields.iter(self.bytes)
    }

    /// The values of all fields of that name.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.fields().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| value)
    }

    /// The elements of all `Connection` fields.
    pub fn connection(self) -> impl Iterator<Item = &'a str> {
        self.values("connection").flat_map(list).filter_map(|element| str::from_utf8(element).ok())
    }

    /// How the body is delimited, in answer to a request with this method.
    pub fn framing(self, method: &str) -> Framing {
        of_response(method, self.head.status, self.head.announced)
    }

    /// How it is forwarded to a client of that version.
    pub fn onward(self, method: &str, client: Version) -> Onward {
        Onward::new(self.head.announced, self.framing(method), self.head.status, client)
    }

    /// Whether the connection may serve another request once exactly this body has been read.
    pub fn is_reusable(self, method: &str) -> bool {
        // A body is announced where there must be none: its bytes may follow all the same.
        let contradiction = matches!(self.head.status, 100..=199 | 204)
            && !matches!(self.head.announced, Framing::None | Framing::Length(0));
        self.head.keep_alive && self.framing(method) != Framing::UntilClose && !contradiction
    }
}

impl ResponseHead for ResponseView<'_> {
    fn status(&self) -> u16 {
        (*self).status()
    }

    fn reason(&self) -> &[u8] {
        (*self).reason()
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (*self).fields()
    }

    fn announced(&self) -> Framing {
        self.head.announced
    }

    fn framing(&self, method: &str) -> Framing {
        (*self).framing(method)
    }

    fn copy_lines(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.head.fields.lines(self.bytes).copy_to(out, keep);
    }

    fn copy_fields(&self, map: &mut HeaderMap, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let begin = self.bytes.part(..self.head.fields.end());
        let bytes = Bytes::copy_from_slice(begin);
        for (name, value) in self.head.fields.iter(&bytes).filter(|(name, value)| keep(name, value)) {
            put_field(map, name, value, &bytes);
        }
    }
}
