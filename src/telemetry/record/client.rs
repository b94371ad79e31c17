//! A client's address with its text, which is formatted once for a connection and written several times for a request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The address of a client. An IPv4-mapped IPv6 address becomes an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    /// `None`: the client came by a unix socket.
    ip: Option<IpAddr>,
    text: Arc<str>,
    /// Where the IP address ends in `text`. It begins at 0, or behind a `[`.
    ip_end: u8,
}

impl ClientAddress {
    pub fn inet(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let text: Arc<str> = match ip {
            IpAddr::V4(ip) => ipv4_text(ip, address.port()).into(),
            IpAddr::V6(_) => SocketAddr::new(ip, address.port()).to_string().into(),
        };
        let end = text.rfind(if ip.is_ipv4() { ':' } else { ']' }).unwrap_or(text.len());
        Self { ip: Some(ip), ip_end: to_u8(end), text }
    }

    /// An address without a port, as trusted proxies send it.
    pub fn of_ip(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let text: Arc<str> = ip.to_string().into();
        Self { ip: Some(ip), ip_end: to_u8(text.len()), text }
    }

    pub fn unix() -> Self {
        Self { ip: None, text: "unix".into(), ip_end: 0 }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// `10.0.0.1:5000`, `[::1]:5000`, `10.0.0.1` or `unix`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `10.0.0.1` or `::1`.
    pub fn ip_text(&self) -> Option<&str> {
        self.ip?;
        let begin = usize::from(self.text.starts_with('['));
        self.text.get(begin..usize::from(self.ip_end))
    }
}

/// The same text as `SocketAddrV4`'s `Display`, at a tenth of the cost, because every new connection needs it.
fn ipv4_text(ip: Ipv4Addr, port: u16) -> String {
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    let mut number = itoa::Buffer::new();
    let [first, rest @ ..] = ip.octets();
    text.push_str(number.format(first));
    for octet in rest {
        text.push('.');
        text.push_str(number.format(octet));
    }
    text.push(':');
    text.push_str(number.format(port));
    text
}

/// No address is that long.
fn to_u8(end: usize) -> u8 {
    u8::try_from(end).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address() {
        let inet = |text: &str| ClientAddress::inet(text.parse().expect("an address"));
        let of_ip = |text: &str| ClientAddress::of_ip(text.parse().expect("an address"));
        for (address, text, ip) in [
            (inet("10.0.0.1:5000"), "10.0.0.1:5000", Some("10.0.0.1")),
            (inet("255.200.30.4:65535"), "255.200.30.4:65535", Some("255.200.30.4")),
            (inet("[::ffff:10.0.0.1]:5000"), "10.0.0.1:5000", Some("10.0.0.1")),
            (inet("[2001:db8::1]:80"), "[2001:db8::1]:80", Some("2001:db8::1")),
            (of_ip("::ffff:10.0.0.1"), "10.0.0.1", Some("10.0.0.1")),
            (of_ip("2001:db8::1"), "2001:db8::1", Some("2001:db8::1")),
            (ClientAddress::unix(), "unix", None),
        ] {
            assert_eq!((address.text(), address.ip_text()), (text, ip));
        }
    }
}
