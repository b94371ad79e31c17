//! The head of a request, as far as its line tells it.

use std::cell::Cell;
use std::fmt::Write;

use http::HeaderName;

use super::line::Line;
use crate::http1::head::RequestView;
use crate::routing::RequestHead;

/// Writes the head in the form of HTTP/1.1, for its parser.
///
/// `fields`: whole lines of fields that the request is taken to have had.
pub(super) fn write(out: &mut String, line: &Line<'_>, host: &str, client: &str, fields: &str) {
    out.clear();
    let version = if line.protocol == "HTTP/1.0" { "HTTP/1.0" } else { "HTTP/1.1" };
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{} {} {version}\r\n", line.method, line.target);
    for (name, value) in [
        ("Host", host),
        ("User-Agent", &*line.user_agent),
        ("Referer", &*line.referer),
        ("X-Request-Id", &*line.request_id),
    ] {
        // An end of a line in a value would make a field of what follows.
        if !value.is_empty() && !value.contains(|c: char| c.is_ascii_control()) {
            let _ = write!(out, "{name}: {value}\r\n");
        }
    }
    if line.bytes_in > 0 {
        let _ = write!(out, "Content-Length: {}\r\n", line.bytes_in);
    }
    if !line.peer.is_empty() {
        // What a trusted proxy has told of the client. Whether that came by HTTPS only its answer shows.
        let scheme = if line.tls.is_empty() && line.action == "redirect_https" { "http" } else { "https" };
        let _ = write!(out, "X-Forwarded-For: {client}\r\nX-Forwarded-Proto: {scheme}\r\n");
    }
    if line.action == "cors_preflight" {
        out.push_str("Origin: null\r\nAccess-Control-Request-Method: GET\r\n");
    }
    out.push_str(fields);
    out.push_str("\r\n");
}

/// A head that notes which of certain fields it was asked for and has not.
pub(super) struct NotingHead<'a> {
    pub head: RequestView<'a>,
    pub names: &'a [HeaderName],
    /// As bits, by index.
    pub asked: &'a Cell<u64>,
}

impl RequestHead for NotingHead<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn path(&self) -> &str {
        self.head.path()
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let mut values = self.head.values(name.as_str()).peekable();
        if values.peek().is_none()
            && let Some(index) = self.names.iter().position(|other| other == name)
        {
            self.asked.set(self.asked.get() | 1 << index);
        }
        values
    }
}
