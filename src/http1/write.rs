//! Writes the head that is forwarded: the fields as received, with the edits of `exchange`, and the framing and
//! connection fields in one normal form, whatever was sent.
//!
//! The output cannot be parsed differently: an edit's value is a `HeaderValue`, which cannot hold a line end, and all
//! other bytes have passed the parser.

#[cfg(test)]
mod tests;

use http::header;

use crate::exchange::Edits;
use crate::header_field::{is_connection_specific, is_framing, same_name};
use crate::message::{Framing, RequestFields, ResponseHead, Version};

/// How a request's head is written.
#[derive(Debug, Clone, Copy)]
pub struct RequestForm<'a> {
    pub edits: &'a Edits,
    pub framing: Framing,
    /// Write `Connection: upgrade`. `Upgrade` itself is copied like any field, unless the edits remove it.
    pub upgrade: bool,
    /// Write `TE: trailers`. The edits remove the client's own `TE`.
    pub trailers: bool,
    /// The value of `Host` where neither the client nor an edit gives one (HTTP/1.0).
    pub host: &'a str,
}

/// How a response's head is written.
#[derive(Debug, Clone, Copy)]
pub struct ResponseForm<'a> {
    pub edits: &'a Edits,
    /// The framing that the head announces: see [`Onward`](crate::message::Onward).
    pub framing: Framing,
    pub connection: Connection,
    /// `Connection` names `Upgrade`, which is copied like any field, unless the edits remove it.
    pub upgrade: bool,
    /// The value of `Date` where the endpoint sent none; `None` for interim responses.
    pub date: Option<&'a str>,
}

/// The value of `Connection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// No such field: the version's default holds.
    Silent,
    Close,
    /// For clients of HTTP/1.0 that have asked for it.
    KeepAlive,
}

fn target(out: &mut Vec<u8>, head: &impl RequestFields) {
    write(out, &[head.method(), " ", head.path()]);
    if let Some(query) = head.query() {
        write(out, &["?", query]);
    }
}

/// Writes a request's head.
pub fn request(out: &mut Vec<u8>, head: &impl RequestFields, form: &RequestForm<'_>) {
    target(out, head);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut host = form.edits.gives(&header::HOST);
    let http10 = head.version() == Version::Http10;
    head.copy_lines(out, |name, _| {
        // HTTP/1.0 clients get no interim responses, so the endpoint must not be asked for one.
        let unfit = http10 && same_name(name, b"expect");
        let dropped = unfit || is_dropped(name, form.edits, form.framing);
        host |= !dropped && name.eq_ignore_ascii_case(b"host");
        !dropped
    });
    if !host {
        write(out, &["Host: ", form.host, "\r\n"]);
    }
    request_end(out, form);
}

/// Writes the end of a request's head: the fields of the edits, and those for framing and connection.
fn request_end(out: &mut Vec<u8>, form: &RequestForm<'_>) {
    form.edits.write_lines(out);
    framing(out, form.framing);
    // `TE` is a hop-by-hop field, so `Connection` has to name it (RFC 9110, section 10.1.4).
    out.extend_from_slice(match (form.upgrade, form.trailers) {
        (false, false) => b"\r\n",
        (true, false) => b"Connection: upgrade\r\n\r\n",
        (false, true) => b"TE: trailers\r\nConnection: TE\r\n\r\n",
        (true, true) => b"TE: trailers\r\nConnection: upgrade, TE\r\n\r\n",
    });
}

/// Writes a response's head.
pub fn response(out: &mut Vec<u8>, head: &impl ResponseHead, form: &ResponseForm<'_>) {
    status_line(out, head);
    let mut date = form.edits.gives(&header::DATE);
    head.copy_lines(out, |name, _| {
        let dropped = is_dropped(name, form.edits, form.framing);
        date |= !dropped && name.eq_ignore_ascii_case(b"date");
        !dropped
    });
    if let Some(now) = form.date
        && !date
    {
        write(out, &["Date: ", now, "\r\n"]);
    }
    form.edits.write_lines(out);
    framing(out, form.framing);
    out.extend_from_slice(match (form.connection, form.upgrade) {
        (Connection::Silent, false) => b"\r\n",
        (Connection::Silent, true) => b"Connection: upgrade\r\n\r\n",
        (Connection::Close, false) => b"Connection: close\r\n\r\n",
        (Connection::Close, true) => b"Connection: close, upgrade\r\n\r\n",
        (Connection::KeepAlive, false) => b"Connection: keep-alive\r\n\r\n",
        (Connection::KeepAlive, true) => b"Connection: keep-alive, upgrade\r\n\r\n",
    });
}

fn status_line(out: &mut Vec<u8>, head: &impl ResponseHead) {
    let status = head.status();
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
}

fn write(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            write(out, &["Content-Length: ", itoa::Buffer::new().format(length), "\r\n"]);
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

/// Whether a received field is dropped instead of forwarded.
#[inline]
pub fn is_dropped(name: &[u8], edits: &Edits, framing: Framing) -> bool {
    is_ours(name, framing) || is_replaced(edits, name)
}

/// Fields that only this module writes, or that mean nothing on another connection.
fn is_ours(name: &[u8], framing: Framing) -> bool {
    is_connection_specific(name)
        || is_framing(name)
        || (name.len() == 7 && framing != Framing::Chunked && same_name(name, b"trailer"))
}

/// Whether a received field is dropped because an edit sets or removes its name.
fn is_replaced(edits: &Edits, name: &[u8]) -> bool {
    edits.replaced(name).any(|other| same_name(other.as_bytes(), name))
}
