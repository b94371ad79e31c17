//! Judges header lists of HTTP/2 field by field (RFC 9113, sections 8.2 and 8.3), as far as h2 would otherwise end the
//! connection for them, or reset the stream without a word. [`validate`](super::validate) does the rest.

use http::uri::{Authority, PathAndQuery, Scheme};

use super::hpack::Judged;
use crate::exchange::Failure;
use crate::header_field::is_valid_value;
use crate::http1::head::is_token;

/// What each field counts beside its bytes (RFC 9113, section 6.5.2).
const OVERHEAD: usize = 32;

/// How large a header list may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// As [`list_size`] counts them; less than this is allowed.
    pub bytes: usize,
    pub fields: usize,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub failure: Failure,
    pub reason: &'static str,
}

#[derive(Debug)]
pub struct HeadJudge {
    limits: Limits,
    is_trailers: bool,
    bytes: usize,
    /// Regular fields.
    fields: usize,
    method: Option<Method>,
    has_scheme: bool,
    has_authority: bool,
    has_path: bool,
    has_protocol: bool,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Connect,
    Other,
}

impl HeadJudge {
    pub fn new(limits: Limits, is_trailers: bool) -> Self {
        Self {
            limits,
            is_trailers,
            bytes: 0,
            fields: 0,
            method: None,
            has_scheme: false,
            has_authority: false,
            has_path: false,
            has_protocol: false,
            fault: None,
        }
    }

    /// Judges the next field; `is_valid`: that was found out before. One that has no room is not kept.
    pub fn field(&mut self, name: &[u8], value: &[u8], is_valid: bool) -> Judged {
        self.bytes = self.bytes.saturating_add(list_size(name, value));
        self.fields += usize::from(!name.starts_with(b":"));
        if self.bytes >= self.limits.bytes || self.fields > self.limits.fields {
            self.refuse(Failure::HeadersTooLarge, "its fields are too many or too large");
            return Judged { is_kept: false, is_valid };
        }
        let validity = if is_valid { Ok(()) } else { check(name, value) };
        if let Err(reason) = self.place(name, value).and(validity) {
            self.refuse(Failure::BadRequest, reason);
        }
        Judged { is_kept: true, is_valid: validity.is_ok() }
    }

    /// The first fault of the whole list.
    pub fn fault(mut self) -> Option<Fault> {
        if let Err(reason) = self.judge_whole() {
            self.refuse(Failure::BadRequest, reason);
        }
        self.fault
    }

    fn refuse(&mut self, failure: Failure, reason: &'static str) {
        self.fault.get_or_insert(Fault { failure, reason });
    }

    /// Notes a pseudo-header, which may stand once, and before all fields.
    fn place(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let [b':', name @ ..] = name else { return Ok(()) };
        if self.is_trailers {
            return Err("a pseudo-header among trailers");
        }
        if self.fields > 0 {
            return Err("a pseudo-header behind a field");
        }
        let is_again = match name {
            b"method" => {
                let method = if value == b"CONNECT" { Method::Connect } else { Method::Other };
                self.method.replace(method).is_some()
            }
            b"scheme" => std::mem::replace(&mut self.has_scheme, true),
            b"authority" => std::mem::replace(&mut self.has_authority, true),
            b"path" => std::mem::replace(&mut self.has_path, true),
            b"protocol" => std::mem::replace(&mut self.has_protocol, true),
            _ => return Err("an unknown pseudo-header"),
        };
        if is_again { Err("a pseudo-header twice") } else { Ok(()) }
    }

    fn judge_whole(&self) -> Result<(), &'static str> {
        if self.is_trailers {
            return Ok(());
        }
        match (self.method.ok_or("no method")?, self.has_protocol) {
            (Method::Other, true) => Err("a protocol without CONNECT"),
            (Method::Connect, false) if self.has_scheme || self.has_path => {
                Err("CONNECT has neither scheme nor path")
            }
            (Method::Connect, false) if !self.has_authority => Err("CONNECT to nobody"),
            (Method::Connect, false) => Ok(()),
            _ if !self.has_scheme => Err("no scheme"),
            _ if !self.has_path => Err("no path"),
            _ => Ok(()),
        }
    }
}

/// Whether a field is valid by itself, whatever its place.
fn check(name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    let valid = |is_valid: bool, otherwise| if is_valid { Ok(()) } else { Err(otherwise) };
    match name {
        b":method" => valid(is_method(value), "the method is no token"),
        b":scheme" => valid(Scheme::try_from(value).is_ok(), "the scheme is none"),
        b":authority" => valid(is_authority(value), "the authority is none"),
        b":path" => valid(is_path(value), "a character that a path must not contain"),
        b":protocol" => valid(str::from_utf8(value).is_ok(), "the protocol is none"),
        [] => Err("a field without a name"),
        _ if !is_name(name) => Err("a field's name is no token in lower case"),
        _ if !is_valid_value(value) => Err("a control character in a field's value"),
        b"te" => valid(value == b"trailers", "TE is not `trailers`"),
        name if is_of_connection(name) => Err("a field of the connection, which HTTP/2 has not"),
        b"content-length" => valid(is_length(value), "Content-Length is no number"),
        _ => Ok(()),
    }
}

/// What a field counts in SETTINGS_MAX_HEADER_LIST_SIZE.
pub fn list_size(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + OVERHEAD
}

pub fn is_method(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| is_token(*byte))
}

/// Without a fragment, which h2 would cut off.
pub fn is_path(value: &[u8]) -> bool {
    let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"/?&=%-._~+,:;@".contains(byte);
    match value.first() {
        None => false,
        Some(b'/') if value.iter().all(is_usual) => true,
        Some(_) => !value.contains(&b'#') && PathAndQuery::try_from(value).is_ok(),
    }
}

pub fn is_authority(value: &[u8]) -> bool {
    let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_usual = !value.is_empty() && value.iter().all(is_usual);
    is_usual || Authority::try_from(value).is_ok()
}

/// A token in lower case (RFC 9113, section 8.2).
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token(*byte) && !byte.is_ascii_uppercase())
}

/// RFC 9113, section 8.2.2.
pub fn is_of_connection(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade")
}

fn is_length(value: &[u8]) -> bool {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number && str::from_utf8(value).is_ok_and(|value| value.parse::<u64>().is_ok())
}
