//! Writes the head that goes on: the fields as they came, with the edits of `exchange`, and the framing and connection
//! fields in one normal form, whatever was sent.
//!
//! A field of an edit is a `HeaderValue`, which cannot hold a line end, and every other byte has passed the parser:
//! what is written here cannot be read as anything else.

#[cfg(test)]
mod tests;

use crate::exchange::Edits;
use crate::header_field::{is_connection_specific, is_framing, same_name};
use crate::message::{Framing, RequestFields, ResponseHead, Version};

/// How a request goes on.
#[derive(Debug, Clone, Copy)]
pub struct RequestForm<'a> {
    pub edits: &'a Edits,
    pub framing: Framing,
    /// Ask the endpoint to upgrade. `Upgrade` itself is a field like others, and the edits' to remove.
    pub upgrade: bool,
    /// Tell the endpoint that trailers are welcome. Whatever else the client's `TE` says ends here: the edits remove
    /// it.
    pub trailers: bool,
    /// For `Host`, where neither the client nor an edit names one (HTTP/1.0).
    pub host: &'a str,
}

/// How a response goes on.
#[derive(Debug, Clone, Copy)]
pub struct ResponseForm<'a> {
    pub edits: &'a Edits,
    /// What the head announces: see [`Onward`](crate::message::Onward).
    pub framing: Framing,
    pub connection: Connection,
    /// For `Date`, where the endpoint sent none. Not for interim responses.
    pub date: Option<&'a str>,
}

/// What `Connection` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: the version's own rule holds.
    Silent,
    Close,
    /// For clients of HTTP/1.0 that have asked for it.
    KeepAlive,
    Upgrade,
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
    let mut host = form.edits.gives("host");
    let http10 = head.version() == Version::Http10;
    head.copy_lines(out, |name, _| {
        // Interim responses are not for clients of HTTP/1.0, so an endpoint must not be asked for one.
        let unfit = http10 && same_name(name, b"expect");
        let goes = unfit || goes(name, form.edits, form.framing);
        host |= !goes && name.eq_ignore_ascii_case(b"host");
        !goes
    });
    if !host {
        write(out, &["Host: ", form.host, "\r\n"]);
    }
    request_end(out, form);
}

/// Writes what is ours of a request's head, behind its own fields, and its end.
pub fn request_end(out: &mut Vec<u8>, form: &RequestForm<'_>) {
    form.edits.write_lines(out);
    framing(out, form.framing);
    // `TE` is for one connection, so `Connection` has to name it (RFC 9110, section 10.1.4).
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
    let mut date = form.edits.gives("date");
    head.copy_lines(out, |name, _| {
        let goes = goes(name, form.edits, form.framing);
        date |= !goes && name.eq_ignore_ascii_case(b"date");
        !goes
    });
    if let Some(now) = form.date
        && !date
    {
        write(out, &["Date: ", now, "\r\n"]);
    }
    form.edits.write_lines(out);
    framing(out, form.framing);
    out.extend_from_slice(match form.connection {
        Connection::Silent => b"\r\n",
        Connection::Close => b"Connection: close\r\n\r\n",
        // For clients of HTTP/1.0 that have asked for it.
        Connection::KeepAlive => b"Connection: keep-alive\r\n\r\n",
        Connection::Upgrade => b"Connection: upgrade\r\n\r\n",
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

/// Whether a field of the original does not go on.
pub fn goes(name: &[u8], edits: &Edits, framing: Framing) -> bool {
    is_ours(name, framing) || is_replaced(edits, name)
}

/// Fields that are written here and nowhere else, or that mean nothing on another connection.
fn is_ours(name: &[u8], framing: Framing) -> bool {
    is_connection_specific(name)
        || is_framing(name)
        || (name.len() == 7 && framing != Framing::Chunked && same_name(name, b"trailer"))
}

/// Whether a field of the original goes, because of an edit of its name.
fn is_replaced(edits: &Edits, name: &[u8]) -> bool {
    edits.replaced(name).any(|other| same_name(other.as_bytes(), name))
}
