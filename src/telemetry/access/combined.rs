//! The access log in the combined format of Apache and nginx, for goaccess, fail2ban and whatever else reads those.
//!
//! `client - - [time] "request" status bytes "referer" "user agent"`, where `-` stands for what is not there.

use std::io::Write;

use crate::telemetry::record::{ClientAddress, Record};
use crate::telemetry::{escape, time};

pub(super) fn write(out: &mut Vec<u8>, record: &Record) {
    client(out, &record.client);
    out.extend_from_slice(b" - - [");
    time::common_log(out, record.time);
    out.extend_from_slice(b"] ");
    request(out, record);
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, " {} {} ", record.status, record.bytes_out);
    quoted(out, record.referer.as_deref());
    out.push(b' ');
    quoted(out, record.user_agent.as_deref());
}

fn client(out: &mut Vec<u8>, client: &ClientAddress) {
    let ip = match client {
        ClientAddress::Inet(address) => address.ip(),
        ClientAddress::Ip(ip) => *ip,
        ClientAddress::Unix => return out.extend_from_slice(b"unix:"),
    };
    let _ = write!(out, "{}", ip.to_canonical());
}

fn request(out: &mut Vec<u8>, record: &Record) {
    if record.method.is_empty() {
        return out.extend_from_slice(b"\"-\"");
    }
    out.push(b'"');
    escape::combined(out, &record.method);
    out.push(b' ');
    escape::combined(out, &record.target);
    out.push(b' ');
    out.extend_from_slice(record.protocol.as_str().as_bytes());
    out.push(b'"');
}

fn quoted(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(b'"');
    escape::combined(out, text.filter(|text| !text.is_empty()).unwrap_or("-"));
    out.push(b'"');
}
