//! A client's address with its text, which is written several times for each request and made once for a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where a client is: an IPv4 client of an IPv6 socket is an IPv4 client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    /// `None`: a unix socket has no address worth the name.
    ip: Option<IpAddr>,
    text: Arc<str>,
}

impl ClientAddress {
    pub fn inet(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { ip: Some(address.ip()), text: address.to_string().into() }
    }

    /// What a trusted proxy wrote, where it has no port.
    pub fn of_ip(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip: Some(ip), text: ip.to_string().into() }
    }

    pub fn unix() -> Self {
        Self { ip: None, text: "unix".into() }
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
        let text = &*self.text;
        Some(match self.ip? {
            IpAddr::V4(_) => text.split_once(':').map_or(text, |(ip, _)| ip),
            IpAddr::V6(_) => {
                text.strip_prefix('[').and_then(|text| text.split_once(']')).map_or(text, |(ip, _)| ip)
            }
        })
    }
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
