//! Addresses as people write them: of listeners, endpoints and the admin socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::decode::{Fault, Scalar, shown};
use super::model::{AdminListen, EndpointAddress, ListenAddress};
use super::write::quoted;
use crate::authority;
use crate::networks;

/// Bytes of a unix socket's path that every system takes.
const UNIX_PATH_MAX: usize = 107;

impl Scalar for ListenAddress {
    const WHAT: &'static str = "an address to listen on";
    const REMEDY: &'static str = "write 0.0.0.0:8080, :8080 (all addresses), \"[::1]:8080\" or unix:/path";

    fn parse(text: &str) -> Result<ListenAddress, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(text, path).map(ListenAddress::Unix);
        }
        refuse_url(text, Self::WHAT)?;
        if let Some(port) = text.strip_prefix("*:").filter(|port| parse_port(port).is_some()) {
            return Err(Fault::new(Self::fault(text).message, format!("write :{port} for all addresses")));
        }
        if let Some(port) = text.strip_prefix(':').filter(|port| !port.contains(':')) {
            return parse_port(port).map(ListenAddress::AnyAddress).ok_or_else(|| Self::fault(text));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(ListenAddress::Inet(address)),
            Err(_) => Err(Fault::new(Self::fault(text).message, listen_remedy(text))),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["0.0.0.0:8080", ":8080", "[::1]:8080", "unix:/run/evenkeel/http.sock"] })
    }
}

fn listen_remedy(text: &str) -> String {
    if let Some(port) = parse_port(text) {
        return format!("write :{port} for all addresses, or 127.0.0.1:{port} for this machine only");
    }
    if let Some(remedy) = common_remedy(text, 8080) {
        return remedy;
    }
    match text.rsplit_once(':') {
        Some(("localhost", port)) if parse_port(port).is_some() => format!("write 127.0.0.1:{port}"),
        Some((host, port)) if is_host_name(host) && parse_port(port).is_some() => {
            format!("a listener takes no names; write the address itself, or :{port} for all addresses")
        }
        _ => ListenAddress::REMEDY.to_owned(),
    }
}

impl Scalar for EndpointAddress {
    const WHAT: &'static str = "an endpoint's address";
    const REMEDY: &'static str =
        "write HOST:PORT such as 10.0.0.1:3000, \"[::1]:3000\" or name.local:3000, srv:NAME or unix:/path";

    fn parse(text: &str) -> Result<EndpointAddress, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(text, path).map(EndpointAddress::Unix);
        }
        if let Some(name) = text.strip_prefix("srv:") {
            return srv_name(text, name).map(|name| EndpointAddress::Srv(name.into()));
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = format!("/{}", shown(path).trim_start_matches('/'));
            let message = format!("`{}` is a file, not {}", shown(text), Self::WHAT);
            return Err(Fault::new(message, format!("write {{ file: {} }}", quoted(&path))));
        }
        refuse_https(text)?;
        refuse_url(text, Self::WHAT)?;
        let fault = |remedy: String| Fault::new(Self::fault(text).message, remedy);
        if let Ok(address) = text.parse::<SocketAddr>() {
            let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
            return match address.port() {
                0 => Err(fault(format!("write the port it listens on, such as {host}:3000"))),
                _ => Ok(EndpointAddress::Inet(address)),
            };
        }
        if let Some(port) = parse_port(text.strip_prefix(':').unwrap_or(text)) {
            return Err(fault(format!("write its host too, such as 127.0.0.1:{port}")));
        }
        if let Some(remedy) = common_remedy(text, 3000) {
            return Err(fault(remedy));
        }
        if is_host_name(text) {
            return Err(fault(format!("add the port: {text}:3000")));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if is_host_name(host) => match parse_port(port) {
                Some(port) if port > 0 => {
                    Ok(EndpointAddress::Name { host: host.to_lowercase().into(), port })
                }
                _ => Err(fault(format!("write a port from 1 to 65535, such as {host}:3000"))),
            },
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["10.0.0.1:3000", "[::1]:3000", "name.local:3000", "srv:_http._tcp.api.internal", "unix:/run/app.sock"] })
    }
}

/// An endpoint's address, or a source, in the form that [`EndpointAddress`] is displayed in.
pub fn endpoint_address(text: &str) -> Option<EndpointAddress> {
    EndpointAddress::parse(text).ok()
}

impl Scalar for AdminListen {
    const WHAT: &'static str = "an admin address";
    const REMEDY: &'static str = "write unix:/path, 127.0.0.1:9900 or a list of both";

    fn parse(text: &str) -> Result<AdminListen, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(text, path).map(AdminListen::Unix);
        }
        refuse_url(text, Self::WHAT)?;
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(AdminListen::Tcp(address));
        }
        let port = text.strip_prefix(':').or(text.strip_prefix("localhost:")).unwrap_or(text);
        let remedy = match parse_port(port) {
            Some(port) => format!("write 127.0.0.1:{port}"),
            None => Self::REMEDY.to_owned(),
        };
        Err(Fault::new(Self::fault(text).message, remedy))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["unix:/run/evenkeel/admin.sock", "127.0.0.1:9900"] })
    }
}

impl Scalar for IpNet {
    const WHAT: &'static str = "a network or an address";
    const REMEDY: &'static str = "write a network such as 10.0.0.0/8, or an address such as 10.0.0.1";

    fn parse(text: &str) -> Result<IpNet, Fault> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address.to_canonical()));
        }
        let net: IpNet = text.parse().map_err(|_| Self::fault(text))?;
        if net.addr() != net.network() {
            let message = format!("`{}` has bits set beyond its prefix", shown(text));
            return Err(Fault::new(
                message,
                format!("write {} for the network, or {}", net.trunc(), net.addr()),
            ));
        }
        Ok(networks::canonical(net))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["10.0.0.0/8", "192.0.2.1", "fd00::/8"] })
    }
}

fn unix_path(text: &str, path: &str) -> Result<PathBuf, Fault> {
    if !path.starts_with('/') {
        let message = format!("`{}` is not an absolute path", shown(text));
        return Err(Fault::new(message, format!("write unix:/{}", path.trim_start_matches("./"))));
    }
    if path.len() > UNIX_PATH_MAX || path.contains('\0') || path.ends_with('/') {
        let message = format!("`{}` cannot be a socket's path", shown(text));
        return Err(Fault::new(message, "write the path of a file, of at most 107 bytes"));
    }
    Ok(PathBuf::from(path))
}

/// The name of SRV records.
fn srv_name(text: &str, name: &str) -> Result<String, Fault> {
    if is_host_name(name) {
        return Ok(name.to_lowercase());
    }
    let fault = |remedy| Fault::new(format!("`{}` is no name of SRV records", shown(text)), remedy);
    Err(match name.rsplit_once(':') {
        Some((host, port)) if is_host_name(host) && parse_port(port).is_some() => {
            fault(format!("SRV records say the port: write srv:{host}"))
        }
        _ => fault("write a name such as srv:_http._tcp.api.internal".to_owned()),
    })
}

/// A name server, whose port may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServer(pub(crate) SocketAddr);

const DNS_PORT: u16 = 53;

/// Where a list of endpoints is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListUrlText(pub(crate) String);

impl Scalar for ListUrlText {
    const WHAT: &'static str = "the URL of a list of endpoints";
    const REMEDY: &'static str = "write a URL such as http://sd.internal:8080/targets";

    fn parse(text: &str) -> Result<ListUrlText, Fault> {
        let url = text.parse::<http::Uri>().map_err(|_| Self::fault(text))?;
        let is_web = matches!(url.scheme_str(), Some("http" | "https"));
        let authority = url.authority().filter(|_| is_web).ok_or_else(|| Self::fault(text))?;
        if authority.as_str().contains('@') {
            let remedy = "write it without user and password: logs and metrics name it";
            return Err(Fault::new(Self::fault(text).message, remedy));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.parse::<IpAddr>().is_ok() || is_host_name(host) {
            return Ok(ListUrlText(url.to_string()));
        }
        Err(Self::fault(text))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://", "examples": ["http://sd.internal:8080/targets"] })
    }
}

impl Scalar for NameServer {
    const WHAT: &'static str = "the address of a name server";
    const REMEDY: &'static str = "write an IP address, or one with its port such as 127.0.0.1:8600";

    fn parse(text: &str) -> Result<NameServer, Fault> {
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        let address = alone.or_else(|_| text.parse()).map_err(|_| Self::fault(text))?;
        if address.port() == 0 { Err(Self::fault(text)) } else { Ok(NameServer(address)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1", "127.0.0.1:8600"] })
    }
}

fn parse_port(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// An endpoint that speaks TLS, as its URL says.
fn refuse_https(text: &str) -> Result<(), Fault> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    if !scheme.eq_ignore_ascii_case("https") {
        return Ok(());
    }
    let (host, port) = authority::split(rest.split(['/', '?', '#']).next().unwrap_or(""));
    let address = quoted(&shown(&format!("{host}:{}", port.unwrap_or("443"))));
    let remedy = format!("write {address} here, and `tls: {{}}` at the pool");
    Err(Fault::new(format!("`{}` is a URL, not {}", shown(text), EndpointAddress::WHAT), remedy))
}

/// A URL where an address belongs, with the address that is in it.
fn refuse_url(text: &str, what: &str) -> Result<(), Fault> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    let (host, port) = authority::split(rest.split(['/', '?', '#']).next().unwrap_or(""));
    let default = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
    let address = format!("{host}:{}", port.unwrap_or(default));
    Err(Fault::new(
        format!("`{}` is a URL, not {what}", shown(text)),
        format!("write {}", quoted(&shown(&address))),
    ))
}

/// Remedies for addresses without port and IPv6 addresses without brackets.
fn common_remedy(text: &str, port: u16) -> Option<String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<Ipv4Addr>() {
        return Some(format!("add the port: {address}:{port}"));
    }
    // `::1:8080` is itself an IPv6 address, and hardly ever meant to be one.
    let split = text.rsplit_once(':').filter(|_| !text.starts_with('['));
    let unbracketed =
        split.and_then(|(host, port)| Some((host.parse::<Ipv6Addr>().ok()?, parse_port(port)?)));
    if let Some((address, port)) = unbracketed {
        return Some(format!("write IPv6 addresses in brackets, and in quotes: \"[{address}]:{port}\""));
    }
    let address = bare.parse::<Ipv6Addr>().ok()?;
    Some(format!("add brackets, port and quotes: \"[{address}]:{port}\""))
}

/// Letters, digits, `-`, `_` and dots between labels; nothing that could only be a broken IPv4 address.
pub(crate) fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Result<ListenAddress, String> {
        ListenAddress::parse(text).map_err(|fault| fault.remedy)
    }

    fn endpoint(text: &str) -> Result<EndpointAddress, String> {
        EndpointAddress::parse(text).map_err(|fault| fault.remedy)
    }

    #[test]
    fn listeners_take_addresses_ports_and_paths() {
        let inet = |text: &str| Ok(ListenAddress::Inet(text.parse().unwrap()));
        assert_eq!(listen("0.0.0.0:8080"), inet("0.0.0.0:8080"));
        assert_eq!(listen("[::]:0"), inet("[::]:0"));
        assert_eq!(listen(":8080"), Ok(ListenAddress::AnyAddress(8080)));
        assert_eq!(listen("unix:/run/x.sock"), Ok(ListenAddress::Unix("/run/x.sock".into())));
    }

    #[test]
    fn a_wrong_listener_is_told_what_to_write() {
        for (text, remedy) in [
            ("8080", "write :8080 for all addresses, or 127.0.0.1:8080 for this machine only"),
            ("*:80", "write :80 for all addresses"),
            ("localhost:80", "write 127.0.0.1:80"),
            ("10.0.0.1", "add the port: 10.0.0.1:8080"),
            ("::1", "add brackets, port and quotes: \"[::1]:8080\""),
            ("fe80::1:8080", "write IPv6 addresses in brackets, and in quotes: \"[fe80::1]:8080\""),
            ("http://0.0.0.0:8080/", "write 0.0.0.0:8080"),
            ("unix:run/x.sock", "write unix:/run/x.sock"),
            ("a.local:80", "a listener takes no names; write the address itself, or :80 for all addresses"),
            ("", ListenAddress::REMEDY),
            (":99999", ListenAddress::REMEDY),
        ] {
            assert_eq!(listen(text), Err(remedy.to_owned()), "{text}");
        }
    }

    #[test]
    fn endpoints_take_addresses_names_and_paths() {
        let name = |host: &str, port| Ok(EndpointAddress::Name { host: host.into(), port });
        assert_eq!(endpoint("10.0.0.1:3000"), Ok(EndpointAddress::Inet("10.0.0.1:3000".parse().unwrap())));
        assert_eq!(endpoint("[::1]:3000"), Ok(EndpointAddress::Inet("[::1]:3000".parse().unwrap())));
        assert_eq!(endpoint("Name.local:3000"), name("name.local", 3000));
        assert_eq!(endpoint("app_1:80"), name("app_1", 80));
        assert_eq!(endpoint("unix:/run/x.sock"), Ok(EndpointAddress::Unix("/run/x.sock".into())));
        let srv = Ok(EndpointAddress::Srv("_http._tcp.api.internal".into()));
        assert_eq!(endpoint("srv:_http._tcp.API.internal"), srv);
    }

    #[test]
    fn a_wrong_endpoint_is_told_what_to_write() {
        for (text, remedy) in [
            ("http://10.0.0.1:3000", "write 10.0.0.1:3000"),
            ("https://a.local/x", "write a.local:443 here, and `tls: {}` at the pool"),
            ("HTTPS://[::1]:8443", "write \"[::1]:8443\" here, and `tls: {}` at the pool"),
            ("3000", "write its host too, such as 127.0.0.1:3000"),
            (":3000", "write its host too, such as 127.0.0.1:3000"),
            ("10.0.0.1:0", "write the port it listens on, such as 10.0.0.1:3000"),
            ("10.0.0.1", "add the port: 10.0.0.1:3000"),
            ("a.local:99999", "write a port from 1 to 65535, such as a.local:3000"),
            ("10.0.0.256:80", EndpointAddress::REMEDY),
            ("a b:80", EndpointAddress::REMEDY),
            ("a.local", "add the port: a.local:3000"),
            ("srv:_http._tcp.a.local:80", "SRV records say the port: write srv:_http._tcp.a.local"),
            ("file:///etc/api.json", "write { file: /etc/api.json }"),
            ("srv:", "write a name such as srv:_http._tcp.api.internal"),
        ] {
            assert_eq!(endpoint(text), Err(remedy.to_owned()), "{text}");
        }
    }

    #[test]
    fn name_servers_have_a_port() {
        let server = |text: &str| NameServer::parse(text).map(|server| server.0.to_string()).ok();
        assert_eq!(server("127.0.0.1").as_deref(), Some("127.0.0.1:53"));
        assert_eq!(server("::1").as_deref(), Some("[::1]:53"));
        assert_eq!(server("127.0.0.1:8600").as_deref(), Some("127.0.0.1:8600"));
        assert!(server("dns.internal").or(server("127.0.0.1:0")).is_none());
    }

    #[test]
    fn lists_have_urls_without_secrets() {
        let url = |text: &str| ListUrlText::parse(text).map(|url| url.0).map_err(|fault| fault.remedy);
        assert_eq!(url("http://sd.internal/x?y=z"), Ok("http://sd.internal/x?y=z".into()));
        assert_eq!(url("https://[::1]:8443/"), Ok("https://[::1]:8443/".into()));
        for wrong in ["sd.internal/x", "/x", "ftp://sd.internal/", "http:///x", "http://a..b/"] {
            assert_eq!(url(wrong), Err(ListUrlText::REMEDY.to_owned()), "{wrong}");
        }
        assert!(url("http://me:secret@sd.internal/").is_err_and(|remedy| remedy.contains("without user")));
    }

    #[test]
    fn networks_are_whole() {
        assert_eq!(IpNet::parse("10.0.0.1").map(|net| net.to_string()), Ok("10.0.0.1/32".into()));
        assert_eq!(IpNet::parse("fd00::/8").map(|net| net.to_string()), Ok("fd00::/8".into()));
        let remedy = IpNet::parse("10.1.2.3/8").map_err(|fault| fault.remedy);
        assert_eq!(remedy, Err("write 10.0.0.0/8 for the network, or 10.1.2.3".into()));
        assert!(IpNet::parse("10.0.0.0/33").is_err());
    }
}
