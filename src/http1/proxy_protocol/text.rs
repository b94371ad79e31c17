//! Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 4000 443`, and a line end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Parse, ProxiedSource, V1_MAX, V1_SIGNATURE};

/// `rest` is what follows the signature.
pub(super) fn parse(bytes: &[u8], rest: &[u8]) -> Parse {
    let within = rest.get(..V1_MAX - V1_SIGNATURE.len()).unwrap_or(rest);
    let text = within.iter().take_while(|byte| (b' '..=b'~').contains(byte)).count();
    let (line, end) = within.split_at_checked(text).unwrap_or_default();
    match end {
        [] | [b'\r'] if bytes.len() >= V1_MAX => Parse::Malformed("version 1 longer than 107 bytes"),
        [] | [b'\r'] => Parse::Partial,
        [b'\r', b'\n', ..] => match parse_line(line) {
            Some(source) => Parse::Complete { length: V1_SIGNATURE.len() + text + 2, source },
            None => Parse::Malformed("version 1 that cannot be understood"),
        },
        _ => Parse::Malformed("version 1 with a byte that does not belong there"),
    }
}

fn parse_line(line: &[u8]) -> Option<ProxiedSource> {
    let line = std::str::from_utf8(line).ok()?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(ProxiedSource::Unknown);
    }
    let mut words = line.split(' ');
    let ip = match words.next()? {
        "TCP4" => |word: &str| word.parse().ok().map(|ip: Ipv4Addr| IpAddr::from(ip)),
        "TCP6" => |word: &str| word.parse().ok().map(|ip: Ipv6Addr| ip.to_canonical()),
        _ => return None,
    };
    let (source, _destination) = (ip(words.next()?)?, ip(words.next()?)?);
    let (source_port, _destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| ProxiedSource::Client(SocketAddr::new(source, source_port)))
}

fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}
