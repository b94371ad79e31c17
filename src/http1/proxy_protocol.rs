//! The PROXY protocol's header, versions 1 and 2: what a balancer of TCP connections writes in front of a connection to
//! say whose it is.
//!
//! Not the crate `proxy-header`: that waits for 15 bytes before it judges the first one, so it cannot tell a request
//! from the beginning of a header, and it takes what no sender writes (`PROXY?TCP4`, ports such as `+80`).

mod text;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of each version.
const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its line end.
pub const LONGEST_1: usize = 107;

/// The longest header of version 2 that is taken, though its length could say 64 KiB: addresses need 232 bytes at most,
/// the rest is extensions that nobody reads here.
pub const LONGEST_2: usize = 4096;

/// The fixed part of version 2.
const FIXED_2: usize = 16;

/// What the bytes that have arrived are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// The beginning of a header.
    Partial,
    /// No header begins like this.
    Absent,
    Complete {
        length: usize,
        says: Says,
    },
    /// A header begins like this, but it is none; with what is wrong.
    Malformed(&'static str),
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Client(SocketAddr),
    /// It is passed on for somebody whom the sender cannot name: `UNKNOWN`, or no IP address.
    Unknown,
    /// The sender's own: a health check, for instance.
    Local,
}

/// Judges a connection's first bytes.
pub fn parse(bytes: &[u8]) -> Parse {
    if let Some(rest) = bytes.strip_prefix(SIGNATURE_2) {
        binary(bytes, rest)
    } else if let Some(rest) = bytes.strip_prefix(SIGNATURE_1) {
        text::parse(bytes, rest)
    } else if SIGNATURE_1.starts_with(bytes) || SIGNATURE_2.starts_with(bytes) {
        Parse::Partial
    } else {
        Parse::Absent
    }
}

/// Version 2: `rest` is what follows the signature.
fn binary(bytes: &[u8], rest: &[u8]) -> Parse {
    let Some(&command) = rest.first() else { return Parse::Partial };
    if !matches!(command, 0x20 | 0x21) {
        return Parse::Malformed("version 2 with an unknown version or command");
    }
    let Some(&[_, family, high, low]) = rest.first_chunk() else { return Parse::Partial };
    let length = FIXED_2 + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_2 {
        return Parse::Malformed("version 2 longer than 4096 bytes");
    }
    let Some(block) = bytes.get(FIXED_2..length) else { return Parse::Partial };
    // Of the sender's own connection nothing else is to be read.
    let says = if command == 0x20 { Ok(Says::Local) } else { named(family, block) };
    match says {
        Ok(says) => Parse::Complete { length, says },
        Err(wrong) => Parse::Malformed(wrong),
    }
}

/// Whom the addresses of version 2 name. Extensions may follow them.
fn named(family: u8, block: &[u8]) -> Result<Says, &'static str> {
    let short = "version 2 without room for its addresses";
    match family {
        0x11 => source_4(block).map(Says::Client).ok_or(short),
        0x21 => source_6(block).map(Says::Client).ok_or(short),
        // Unspecified, datagrams, unix sockets: well formed, but no client of ours.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(Says::Unknown),
        _ => Err("version 2 with an unknown address family or transport"),
    }
}

/// Two addresses, then two ports; the first of each is the client's.
fn source_4(block: &[u8]) -> Option<SocketAddr> {
    let block: &[u8; 12] = block.first_chunk()?;
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

fn source_6(block: &[u8]) -> Option<SocketAddr> {
    let block: &[u8; 36] = block.first_chunk()?;
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (_, ports) = rest.split_first_chunk::<16>()?;
    let ip = Ipv6Addr::from(*source).to_canonical();
    Some(SocketAddr::new(ip, u16::from_be_bytes(*ports.first_chunk()?)))
}

#[cfg(test)]
mod tests;
