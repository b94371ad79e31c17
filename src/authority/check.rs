//! Which hosts and ports a request may be for, in `Host`, in an absolute target, or in `:authority`.
//!
//! Narrower than the grammar of RFC 3986: a registered name has letters, digits and `-._~` only, no escapes and no
//! delimiters; it has no empty label but a trailing dot; a port is empty, or 1 to 65535; an address in brackets is
//! IPv6 without a zone. Real host names fit into that; alternative spellings of the same name do not.

use std::net::Ipv6Addr;

/// DNS allows 253 bytes.
const NAME_MAX: usize = 255;

/// Checks a host with or without port.
pub fn check(authority: &[u8]) -> Result<(), &'static str> {
    if authority.is_empty() {
        return Err("empty host");
    }
    let (host, port) = split(authority)?;
    if let Some(port) = port
        && !is_port(port)
    {
        return Err("bad port in the host");
    }
    match host {
        [b'[', address @ .., b']'] => {
            let address = str::from_utf8(address).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            address.map(drop).ok_or("bad address in the host")
        }
        name => check_name(name),
    }
}

fn split(authority: &[u8]) -> Result<(&[u8], Option<&[u8]>), &'static str> {
    let host = match authority {
        [b'[', ..] => {
            let end = authority.iter().position(|byte| *byte == b']').ok_or("bad address in the host")?;
            end + 1
        }
        _ => authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len()),
    };
    match authority.split_at_checked(host) {
        Some((host, [])) => Ok((host, None)),
        Some((host, [b':', port @ ..])) => Ok((host, Some(port))),
        _ => Err("bad byte in the host"),
    }
}

fn is_port(port: &[u8]) -> bool {
    let digits = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(port).ok().and_then(|text| text.parse::<u16>().ok());
    port.is_empty() || (digits && number.is_some_and(|number| number > 0))
}

/// The bytes of a registered name, without escapes and delimiters, which no real host name has.
fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn check_name(name: &[u8]) -> Result<(), &'static str> {
    let mut label_is_empty = true;
    for byte in name.strip_suffix(b".").unwrap_or(name) {
        match byte {
            b'.' if label_is_empty => return Err("empty label in the host"),
            b'.' => label_is_empty = true,
            byte if is_host(*byte) => label_is_empty = false,
            b',' => return Err("more than one host in the host field"),
            b'@' => return Err("user information in the host"),
            b'/' => return Err("path in the host"),
            _ => return Err("bad byte in the host"),
        }
    }
    if label_is_empty {
        return Err("empty label in the host");
    }
    if name.len() > NAME_MAX { Err("the host is too long") } else { Ok(()) }
}

/// Whether two well-formed authorities are equal under `https` (`secure`) or `http`, whose default port may be there, be
/// empty, or be missing (RFC 3986, section 6.2.3).
pub fn agree(one: &[u8], other: &[u8], secure: bool) -> bool {
    let default_port: &[u8] = if secure { b":443" } else { b":80" };
    let bare = |authority: &'_ [u8]| -> usize {
        let without = authority.strip_suffix(default_port).or_else(|| authority.strip_suffix(b":"));
        without.map_or(authority.len(), <[u8]>::len)
    };
    let (one, other) = (one.get(..bare(one)), other.get(..bare(other)));
    one.zip(other).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}
