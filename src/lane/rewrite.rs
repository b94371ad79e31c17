//! Writes the head that goes on: the fields as they came, with the edits of `exchange`, and the framing and connection
//! fields in one normal form, whatever was sent.
//!
//! A field of an edit is a `HeaderValue`, which cannot hold a line end, and every other byte has passed the parser: what
//! is written here cannot be read as anything else.

#[cfg(test)]
mod tests;

use std::io::Write;

use http::HeaderName;

use super::framing::{Framing, Version};
use super::head::{RequestView, ResponseView};
use super::syntax::same_name;
use crate::exchange::Edit;

/// How a request goes on.
#[derive(Debug, Clone, Copy)]
pub struct RequestForm<'a> {
    pub edits: &'a [Edit],
    pub framing: Framing,
    /// Ask the endpoint to upgrade. `Upgrade` itself is a field like others, and the edits' to remove.
    pub upgrade: bool,
    /// For `Host`, where neither the client nor an edit names one (HTTP/1.0).
    pub host: &'a str,
}

/// How a response goes on.
#[derive(Debug, Clone, Copy)]
pub struct ResponseForm<'a> {
    pub edits: &'a [Edit],
    /// What the head announces: see [`Onward`](super::framing::Onward).
    pub framing: Framing,
    pub connection: Connection,
    /// For `Date`, where the endpoint sent none. Not for interim responses.
    pub date: Option<&'a [u8]>,
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

/// Writes a request's head.
pub fn request(out: &mut Vec<u8>, head: RequestView<'_>, form: &RequestForm<'_>) {
    for part in [head.method(), " ", head.path()] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let edits = Edits::new(form.edits);
    let mut host = edits.sets(&http::header::HOST);
    for (name, value) in head.fields() {
        // Interim responses are not for clients of HTTP/1.0, so an endpoint must not be asked for one.
        let unfit = head.version() == Version::Http10 && same_name(name, b"expect");
        if !unfit && !is_ours(name, form.framing) && !edits.replace(name) {
            host |= name.eq_ignore_ascii_case(b"host");
            field(out, name, value);
        }
    }
    if !host {
        field(out, b"Host", form.host.as_bytes());
    }
    edits.write(out, form.framing);
    framing(out, form.framing);
    if form.upgrade {
        field(out, b"Connection", b"upgrade");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a response's head.
pub fn response(out: &mut Vec<u8>, head: ResponseView<'_>, form: &ResponseForm<'_>) {
    // Writing to memory cannot fail.
    let _ = write!(out, "HTTP/1.1 {:03} ", head.status());
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
    let edits = Edits::new(form.edits);
    let mut date = edits.sets(&http::header::DATE);
    for (name, value) in head.fields() {
        if !is_ours(name, form.framing) && !edits.replace(name) {
            date |= name.eq_ignore_ascii_case(b"date");
            field(out, name, value);
        }
    }
    if let Some(now) = form.date
        && !date
    {
        field(out, b"Date", now);
    }
    edits.write(out, form.framing);
    framing(out, form.framing);
    match form.connection {
        Connection::Silent => {}
        Connection::Close => field(out, b"Connection", b"close"),
        Connection::KeepAlive => field(out, b"Connection", b"keep-alive"),
        Connection::Upgrade => field(out, b"Connection", b"upgrade"),
    }
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            // Writing to memory cannot fail.
            let _ = write!(out, "Content-Length: {length}\r\n");
        }
        Framing::Chunked => field(out, b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
}

/// Fields that are written here and nowhere else, or that mean nothing on another connection. `Upgrade` and the rest of
/// the hop-by-hop fields are the edits' concern.
fn is_ours(name: &[u8], framing: Framing) -> bool {
    let named = match name.len() {
        7 => same_name(name, b"trailer") && framing != Framing::Chunked,
        10 => same_name(name, b"connection") || same_name(name, b"keep-alive"),
        14 => same_name(name, b"http2-settings"),
        16 => same_name(name, b"proxy-connection"),
        _ => false,
    };
    named || reads_like(name, b"contentlength") || reads_like(name, b"transferencoding")
}

/// Whether a name has just these letters: `Content_Length` and `Transfer--Encoding` are no framing to us, but somebody
/// behind us may take them for it.
fn reads_like(name: &[u8], letters: &[u8]) -> bool {
    name.len() >= letters.len()
        && name
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .eq(letters.iter().copied())
}

/// Edits, made quick to ask.
struct Edits<'a> {
    edits: &'a [Edit],
    /// One bit for each length of a name that some edit replaces.
    lengths: u64,
}

impl<'a> Edits<'a> {
    fn new(edits: &'a [Edit]) -> Self {
        let bit = |name: &HeaderName| 1 << (name.as_str().len() & 63);
        let lengths = edits.iter().filter_map(replaced).fold(0, |lengths, name| lengths | bit(name));
        Self { edits, lengths }
    }

    /// Whether a field of the original goes, because of an edit of its name.
    fn replace(&self, name: &[u8]) -> bool {
        self.lengths >> (name.len() & 63) & 1 != 0
            && self.edits.iter().filter_map(replaced).any(|other| same_name(other.as_str().as_bytes(), name))
    }

    /// Whether some edit gives a field of that name.
    fn sets(&self, name: &HeaderName) -> bool {
        self.outcome().any(|(other, _)| other == name)
    }

    /// The fields that remain once all edits have been applied in order.
    fn outcome(&self) -> impl Iterator<Item = (&'a HeaderName, &'a [u8])> {
        let edits = self.edits;
        edits.iter().enumerate().filter_map(move |(at, edit)| {
            let (Edit::Set(name, value) | Edit::Append(name, value)) = edit else { return None };
            let later = edits.get(at + 1..).unwrap_or_default();
            let undone = later.iter().filter_map(replaced).any(|other| other == name);
            (!undone).then(|| (name, value.as_bytes()))
        })
    }

    fn write(&self, out: &mut Vec<u8>, framing: Framing) {
        for (name, value) in self.outcome().filter(|(name, _)| !is_ours(name.as_str().as_bytes(), framing)) {
            field(out, name.as_str().as_bytes(), value);
        }
    }
}

/// The name whose fields an edit replaces.
fn replaced(edit: &Edit) -> Option<&HeaderName> {
    match edit {
        Edit::Remove(name) | Edit::Set(name, _) => Some(name),
        Edit::Append(..) => None,
    }
}
