//! The access log in the combined format of Apache and nginx, for tools such as goaccess and fail2ban.
//!
//! `client - user [time] "request" status bytes "referer" "user agent"`, where `-` stands for an absent value.

use std::io::Write;

use crate::auth::Verdict;
use crate::escape;
use crate::telemetry::record::{Protocol, Record, TextParts};
use crate::telemetry::time;

pub(super) fn write(out: &mut Vec<u8>, record: &Record) {
    let text = record.text.parts();
    out.extend_from_slice(record.client.ip_text().unwrap_or("unix:").as_bytes());
    out.extend_from_slice(b" - ");
    out.extend_from_slice(user(record).unwrap_or("-").as_bytes());
    out.extend_from_slice(b" [");
    time::common_log(out, record.time);
    out.extend_from_slice(b"] ");
    request(out, &text, record.protocol);
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, " {} {} ", record.status, record.bytes_out);
    quoted(out, text.referer);
    out.push(b' ');
    quoted(out, text.user_agent);
}

/// Who the client is; `None` also where the name could be read as more than one field.
fn user(record: &Record) -> Option<&str> {
    let auth = record.unusual().auth.as_ref().filter(|auth| auth.verdict == Verdict::Passed)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'[' | b']');
    auth.user.as_deref().filter(|user| !user.is_empty() && user.bytes().all(is_plain))
}

fn request(out: &mut Vec<u8>, text: &TextParts<'_>, protocol: Protocol) {
    if text.method.is_empty() {
        return out.extend_from_slice(b"\"-\"");
    }
    out.push(b'"');
    escape::combined(out, text.method);
    out.push(b' ');
    escape::combined(out, text.target);
    out.push(b' ');
    out.extend_from_slice(protocol.as_str().as_bytes());
    out.push(b'"');
}

fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escape::combined(out, if text.is_empty() { b"-" } else { text });
    out.push(b'"');
}
