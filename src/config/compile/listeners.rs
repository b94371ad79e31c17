//! Compiles listeners, and checks that each has its own name and address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, DEFAULT_NAME};
use crate::config::decode::{DiagnosticSink, List, OrOff, ShortOr, Spanned, Value};
use crate::config::model::{
    Access, ClientTimeouts, ConnectionLimits, Engine, Http2, HttpsRedirect, Limits, ListenAddress, Listener,
    ProxyProtocol,
};
use crate::config::raw::{
    FileSection, HstsSection, ListenerSection, RedirectHttpsForm, RedirectHttpsSection,
};
use crate::config::scalar::{Count, Size};
use crate::config::source::Span;
use crate::config::tree::{Kind, Node};
use crate::routing::PathRules;
use crate::socket_file::SocketAccess;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Compiler<'_> {
    pub(super) fn listeners(&mut self, file: &FileSection) -> Vec<Listener> {
        let Some(list) = &file.listeners else {
            if file.complete && file.listen.is_none() {
                let span = file.routes.as_ref().map(|routes| routes.span);
                let span = span.or(file.pools.as_ref().map(|pools| pools.span)).unwrap_or_default();
                self.diagnostics.error(
                    span,
                    "the file has no listeners",
                    "add `listeners: [{ address: 0.0.0.0:8080 }]`",
                );
            }
            return Vec::new();
        };
        if list.length == 0 {
            self.diagnostics.error(
                list.span,
                "the file has no listeners",
                "add one: [{ address: 0.0.0.0:8080 }]",
            );
        }
        let mut taken = TakenAddresses::default();
        self.listener_names(list);
        list.iter().filter_map(|section| self.listener(section, list.length == 1, &mut taken)).collect()
    }

    fn listener_names(&mut self, list: &List<ListenerSection>) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        for name in list.iter().filter_map(|section| section.name.as_ref()) {
            match names.get(name.0.as_str()) {
                Some(first) => {
                    let remedy = format!("line {} has it already; choose another", self.line(*first));
                    self.diagnostics.error(
                        name.span,
                        format!("two listeners are called `{}`", name.0),
                        remedy,
                    );
                }
                None => {
                    names.insert(&name.0, name.span);
                }
            }
        }
    }

    fn listener(
        &mut self,
        section: &Spanned<ListenerSection>,
        is_only: bool,
        taken: &mut TakenAddresses,
    ) -> Option<Listener> {
        let name: Arc<str> = match &section.name {
            Some(name) => name.0.as_str().into(),
            None if is_only || !section.complete => DEFAULT_NAME.into(),
            None => {
                let message = "a listener beside others needs a name";
                self.diagnostics.error(
                    section.span,
                    message,
                    "add `name: NAME`, which logs and metrics will show",
                );
                return None;
            }
        };
        let address = section.address.as_ref()?;
        if let Some((other, first)) = taken.owner(&address.value) {
            let message = format!("this address belongs to the listener `{other}` already");
            let remedy = format!("line {} has it; remove one of them, or change its port", self.line(*first));
            self.diagnostics.error(address.span, message, remedy);
        }
        taken.add(&address.value, (name.clone(), section.span));
        self.check_socket(section, &address.value);
        self.check_proxy_protocol(section, &address.value);
        self.warn_of_trust(&section.trusted_proxies);
        self.check_https(section);
        self.check_http2(section);
        self.check_engine(section);
        let mut listener = compiled(name, address, section);
        listener.errors = self.error_pages(&section.errors);
        listener.access = self.access(section.allow.as_ref(), section.deny.as_ref());
        if let Some(tls) = &section.tls {
            listener.tls = self.tls(tls, listener.http2.is_some());
        }
        Some(listener)
    }

    fn check_socket(&mut self, section: &ListenerSection, address: &ListenAddress) {
        if let Some(socket) = &section.socket
            && !matches!(address, ListenAddress::Unix(_))
        {
            let message = "only an address `unix:/path` has a file with a mode and an owner";
            self.diagnostics.error(socket.span, message, "remove `socket`");
        }
    }

    /// A peer that may send a PROXY header can claim to be any client, so it must be trusted.
    fn check_proxy_protocol(&mut self, section: &ListenerSection, address: &ListenAddress) {
        let is_off = matches!(section.proxy_protocol.value, OrOff::Off);
        if is_off || section.trusted_proxies.length > 0 || matches!(address, ListenAddress::Unix(_)) {
            return;
        }
        let message = "`proxy_protocol` needs `trusted_proxies`";
        let remedy = "add `trusted_proxies: [ADDRESS]`, with the addresses of the balancers in front";
        self.diagnostics.error(section.proxy_protocol.span, message, remedy);
    }

    fn check_https(&mut self, section: &ListenerSection) {
        if section.tls.is_some() && matches!(section.redirect_https.value, OrOff::On(_)) {
            let message = "a listener with `tls` gets no plain HTTP to redirect";
            self.diagnostics.error(
                section.redirect_https.span,
                message,
                "move it to the listener without `tls`",
            );
        }
        if section.tls.is_some() && section.h2c.0 {
            let message = "`h2c` is HTTP/2 without TLS, and this listener has `tls`";
            self.diagnostics.error(section.h2c.span, message, "remove it: HTTP/2 over TLS needs nothing");
        }
        if let OrOff::On(hsts) = &section.hsts.value
            && hsts.preload.0
            && (!hsts.include_subdomains.0 || hsts.max_age.0 < YEAR)
        {
            let message =
                "browsers take no domain into their list for less than a year, or without subdomains";
            let remedy = "add `include_subdomains: true` and `max_age: 365d`, or remove `preload`";
            self.diagnostics.error(hsts.preload.span, message, remedy);
        }
    }

    fn check_http2(&mut self, section: &ListenerSection) {
        match &section.http2.value {
            OrOff::Off if section.h2c.0 => {
                let message = "`h2c` is HTTP/2, and `http2` is off";
                self.diagnostics.error(section.h2c.span, message, "remove one of them");
            }
            OrOff::On(http2) if http2.connection_window.0 < http2.stream_window.0 => {
                let (stream, connection) = (&http2.stream_window, &http2.connection_window);
                let span = if stream.written { stream.span } else { connection.span };
                let message = "a stream's window larger than its connection's is never filled";
                self.diagnostics.error(span, message, "make `connection_window` at least as large");
            }
            OrOff::On(_) | OrOff::Off => {}
        }
    }

    /// Refuses settings that the engine `pingora` does not implement, rather than ignoring them.
    fn check_engine(&mut self, section: &ListenerSection) {
        if section.engine.value != Engine::Pingora {
            return;
        }
        let (limits, timeouts) = (&section.limits, &section.timeouts);
        // `timeouts.header` also limits the PROXY header, for both engines.
        let has_proxy_headers = matches!(section.proxy_protocol.value, OrOff::On(_));
        let is_on = |age: &OrOff<_>| matches!(age, OrOff::On(_));
        let mut asked = vec![
            ("timeouts.header", timeouts.header.span, timeouts.header.written && !has_proxy_headers),
            ("timeouts.age", timeouts.age.span, timeouts.age.written && is_on(&timeouts.age.value)),
            (
                "limits.body_rate",
                limits.body_rate.span,
                limits.body_rate.written && matches!(limits.body_rate.value, OrOff::On(_)),
            ),
        ];
        if let OrOff::On(http2) = &section.http2.value {
            asked.extend([
                ("http2.max_streams", http2.max_streams.span, http2.max_streams.written),
                ("http2.stream_window", http2.stream_window.span, http2.stream_window.written),
                ("http2.connection_window", http2.connection_window.span, http2.connection_window.written),
            ]);
        }
        for (key, span, _) in asked.into_iter().filter(|(.., written)| *written) {
            let message = format!("`engine: pingora` has no `{key}`: only `engine: native` has it");
            self.diagnostics.error(span, message, "remove one of the two keys");
        }
    }

    /// The listener of the short form: an address, with every default.
    pub(super) fn default_listener(&mut self, name: Arc<str>, address: &Spanned<ListenAddress>) -> Listener {
        let nothing = Node { span: Span::default(), kind: Kind::Map(Vec::new()) };
        // A separate sink: `address` is missing here, which is no error.
        let section = ListenerSection::decode(&nothing, &mut DiagnosticSink::default());
        compiled(name, address, &section.expect("a section of no keys can be read"))
    }
}

fn compiled(name: Arc<str>, address: &Spanned<ListenAddress>, section: &ListenerSection) -> Listener {
    let (limits, timeouts) = (&section.limits, &section.timeouts);
    Listener {
        name,
        address: address.value.clone(),
        engine: section.engine.value,
        tls: None,
        redirect_https: section.redirect_https.as_option().map(https_redirect),
        hsts: section.hsts.as_option().map(|hsts| strict_transport(hsts).into()),
        half_close: section.half_close.0,
        errors: None,
        socket: section.socket.as_ref().map_or_else(SocketAccess::default, |socket| SocketAccess {
            mode: socket.mode.as_ref().map(|mode| mode.0),
            owner: socket.owner.as_ref().map(|owner| owner.0),
            group: socket.group.as_ref().map(|group| group.0),
        }),
        h2c: section.h2c.0,
        http2: section.http2.as_option().map(|http2| Http2 {
            max_streams: u32::try_from(http2.max_streams.0).unwrap_or(u32::MAX),
            stream_window: u32::try_from(http2.stream_window.0).unwrap_or(u32::MAX),
            connection_window: u32::try_from(http2.connection_window.0).unwrap_or(u32::MAX),
        }),
        access: Access::default(),
        trusted_proxies: section.trusted_proxies.iter().map(|net| net.value).collect(),
        proxy_protocol: match section.proxy_protocol.value {
            OrOff::On(wanted) => wanted,
            OrOff::Off => ProxyProtocol::Off,
        },
        paths: PathRules {
            merge_slashes: section.paths.merge_slashes.0,
            escaped_slashes: section.paths.escaped_slashes.value,
        },
        limits: Limits {
            header_bytes: bytes(limits.header_size.0),
            header_count: bytes(limits.header_count.0),
            target_bytes: bytes(limits.target_size.0),
            body_bytes: size(&limits.body_size.value),
            body_rate: size(&limits.body_rate.value),
        },
        connections: ConnectionLimits {
            all: count(&limits.connections.value),
            per_client: count(&limits.connections_per_client.value),
        },
        timeouts: ClientTimeouts {
            header: timeouts.header.0,
            handshake: timeouts.handshake.0,
            body: timeouts.body.0,
            write: timeouts.write.0,
            keep_alive: timeouts.keep_alive.0,
            age: timeouts.age.as_option().map(|age| age.0),
        },
    }
}

fn https_redirect(form: &RedirectHttpsForm) -> HttpsRedirect {
    let default = RedirectHttpsSection::of_nothing();
    let (port, except) = match form {
        ShortOr::Short(port) => (port.0, &default.except),
        ShortOr::Long(section) => (section.port.0, &section.except),
    };
    HttpsRedirect {
        port: u16::try_from(port).unwrap_or(u16::MAX),
        except: except.iter().map(|path| path.0.strip_suffix('/').unwrap_or(&path.0).into()).collect(),
    }
}

/// The value of `Strict-Transport-Security` (RFC 6797, section 6.1).
fn strict_transport(hsts: &HstsSection) -> String {
    let subdomains = if hsts.include_subdomains.0 { "; includeSubDomains" } else { "" };
    let preload = if hsts.preload.0 { "; preload" } else { "" };
    format!("max-age={}{subdomains}{preload}", hsts.max_age.0.as_secs())
}

fn size(written: &OrOff<Size>) -> Option<u64> {
    written.as_option().map(|size| size.0)
}

fn count<const MIN: u64, const MAX: u64>(written: &OrOff<Count<MIN, MAX>>) -> Option<usize> {
    written.as_option().map(|count| bytes(count.0))
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The addresses of the listeners so far, to find one that cannot be bound beside another. Port 0 never clashes.
#[derive(Default)]
struct TakenAddresses {
    owners: Vec<Owner>,
    /// The first owner of each key, as an index.
    first: HashMap<AddressKey, usize>,
}

/// The name of a listener, and its place.
type Owner = (Arc<str>, Span);

#[derive(PartialEq, Eq, Hash)]
enum AddressKey {
    Unix(PathBuf),
    Ip(IpAddr, u16),
    /// Any address of IPv4 or of IPv6.
    OfFamily {
        is_ipv4: bool,
        port: u16,
    },
    /// Written `:8080`.
    All(u16),
    /// Of whatever address.
    Port(u16),
}

impl TakenAddresses {
    /// The first listener that has this address, or one that covers it, or one that it covers.
    fn owner(&self, address: &ListenAddress) -> Option<&Owner> {
        let keys = match address {
            ListenAddress::Unix(path) => vec![AddressKey::Unix(path.clone())],
            ListenAddress::AnyAddress(port) => vec![AddressKey::Port(*port)],
            ListenAddress::Inet(address) => {
                let (ip, port) = (address.ip(), address.port());
                let unspecified: IpAddr = match ip {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let covered = match ip.is_unspecified() {
                    true => AddressKey::OfFamily { is_ipv4: ip.is_ipv4(), port },
                    false => AddressKey::Ip(unspecified, port),
                };
                vec![AddressKey::All(port), AddressKey::Ip(ip, port), covered]
            }
        };
        keys.iter().filter_map(|key| self.first.get(key)).min().map(|first| &self.owners[*first])
    }

    fn add(&mut self, address: &ListenAddress, owner: Owner) {
        let keys = match address {
            ListenAddress::Unix(path) => vec![AddressKey::Unix(path.clone())],
            ListenAddress::AnyAddress(0) => Vec::new(),
            ListenAddress::AnyAddress(port) => vec![AddressKey::All(*port), AddressKey::Port(*port)],
            ListenAddress::Inet(address) if address.port() == 0 => Vec::new(),
            ListenAddress::Inet(address) => {
                let (ip, port) = (address.ip(), address.port());
                let of_family = AddressKey::OfFamily { is_ipv4: ip.is_ipv4(), port };
                vec![AddressKey::Ip(ip, port), of_family, AddressKey::Port(port)]
            }
        };
        for key in keys {
            self.first.entry(key).or_insert(self.owners.len());
        }
        self.owners.push(owner);
    }
}
