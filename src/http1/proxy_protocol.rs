//! The PROXY protocol's header, versions 1 and 2, by which a TCP load balancer names the client of a connection.
//!
//! Not the crate `proxy-header`: it needs 15 bytes before it judges the first one, so it cannot tell a request from the
//! beginning of a header, and it accepts malformed headers (`PROXY?TCP4`, ports such as `+80`).

mod text;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of each version.
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its line end.
pub const V1_MAX: usize = 107;

/// The longest header of version 2 that is accepted, of 64 KiB that its length field allows: addresses need 232 bytes
/// at most, and the extensions after them are ignored.
pub const V2_MAX: usize = 4096;

/// The fixed part of version 2.
const V2_FIXED: usize = 16;

/// The result of parsing a connection's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// They are the beginning of a header.
    Partial,
    /// They are not the beginning of a header.
    Absent,
    Complete {
        length: usize,
        source: ProxiedSource,
    },
    /// They begin like a header that has this fault.
    Malformed(&'static str),
}

/// Whose connection it is, according to the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedSource {
    Client(SocketAddr),
    /// A client that the sender cannot name: `UNKNOWN`, or an address that is not IP.
    Unknown,
    /// The sender's own, for a health check, for instance.
    Local,
}

/// Parses a header at the beginning of a connection.
pub fn parse(bytes: &[u8]) -> Parse {
    if let Some(rest) = bytes.strip_prefix(V2_SIGNATURE) {
        parse_v2(bytes, rest)
    } else if let Some(rest) = bytes.strip_prefix(V1_SIGNATURE) {
        text::parse(bytes, rest)
    } else if V1_SIGNATURE.starts_with(bytes) || V2_SIGNATURE.starts_with(bytes) {
        Parse::Partial
    } else {
        Parse::Absent
    }
}

/// Version 2: `rest` is what follows the signature.
fn parse_v2(bytes: &[u8], rest: &[u8]) -> Parse {
    let Some(&command) = rest.first() else { return Parse::Partial };
    if !matches!(command, 0x20 | 0x21) {
        return Parse::Malformed("version 2 with an unknown version or command");
    }
    let Some(&[_, family, high, low]) = rest.first_chunk() else { return Parse::Partial };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Parse::Malformed("version 2 longer than 4096 bytes");
    }
    let Some(block) = bytes.get(V2_FIXED..length) else { return Parse::Partial };
    // Receivers must ignore the addresses of a LOCAL header.
    let source = if command == 0x20 { Ok(ProxiedSource::Local) } else { source_of(family, block) };
    match source {
        Ok(source) => Parse::Complete { length, source },
        Err(wrong) => Parse::Malformed(wrong),
    }
}

/// The source address of version 2. Extensions may follow the addresses.
fn source_of(family: u8, block: &[u8]) -> Result<ProxiedSource, &'static str> {
    let short = "version 2 without room for its addresses";
    match family {
        0x11 => source_v4(block).map(ProxiedSource::Client).ok_or(short),
        0x21 => source_v6(block).map(ProxiedSource::Client).ok_or(short),
        // Unspecified, datagrams, unix sockets: well formed, but no client of ours.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(ProxiedSource::Unknown),
        _ => Err("version 2 with an unknown address family or transport"),
    }
}

/// Two addresses, then two ports; the first of each is the client's.
fn source_v4(block: &[u8]) -> Option<SocketAddr> {
    let block: &[u8; 12] = block.first_chunk()?;
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

fn source_v6(block: &[u8]) -> Option<SocketAddr> {
    let block: &[u8; 36] = block.first_chunk()?;
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (_, ports) = rest.split_first_chunk::<16>()?;
    let ip = Ipv6Addr::from(*source).to_canonical();
    Some(SocketAddr::new(ip, u16::from_be_bytes(*ports.first_chunk()?)))
}

#[cfg(test)]
mod tests;
