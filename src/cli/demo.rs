//! `evenkeel demo`: runs three built-in endpoints and the proxy in front of them, and prints commands to try.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use evenkeel_demo::Endpoints;

use super::run::serve;
use super::{Exit, fail, print};
use crate::config;
use crate::server::Start;
use crate::server::inherit::InheritedSockets;

/// The demo's admin port, if it is free: TCP, so that browsers and curl can use it.
const ADMIN_PORT: u16 = 9900;

/// Try it with nothing written: three endpoints and the proxy in front of them.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Where the proxy listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

impl Demo {
    pub fn execute(self) -> Exit {
        // Tried before anything is printed, so that no command is shown for an address that another program has.
        if let Err(error) = TcpListener::bind(self.listen) {
            return fail(format!(
                "{}: {error}. Another address: evenkeel demo --listen 127.0.0.1:8088",
                self.listen
            ));
        }
        match Endpoints::start() {
            Ok(endpoints) => self.serve(&endpoints),
            Err(error) => fail(format!("the demo endpoints cannot start: {error}")),
        }
    }

    fn serve(&self, endpoints: &Endpoints) -> Exit {
        let admin = free_port(ADMIN_PORT);
        let yaml = yaml(self.listen, admin, endpoints.addresses());
        print(&welcome(reachable(self.listen), admin, endpoints.addresses(), &yaml));
        match config::parse(&yaml, "the demo's config") {
            Ok(config) => {
                serve(Start { config, file: None, invocation: None, inherited: InheritedSockets::default() })
            }
            Err(report) => fail(report),
        }
    }
}

/// The config a user would write, plus a TCP admin address and logs for people.
fn yaml(listen: SocketAddr, admin: SocketAddr, endpoints: &[(String, SocketAddr)]) -> String {
    let addresses: Vec<String> = endpoints.iter().map(|(_, address)| address.to_string()).collect();
    format!(
        "listen: {listen}\nendpoints: [{}]\nadmin: {{ listen: \"{admin}\" }}\nlog: {{ format: text }}\naccess_log: {{ format: text }}\n",
        addresses.join(", ")
    )
}

/// The address by which this machine's clients reach a listener: loopback for one on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(_) => (Ipv6Addr::LOCALHOST, listen.port()).into(),
    }
}

/// The text shown at the start: what runs, and what to try. The log follows it.
fn welcome(proxy: SocketAddr, admin: SocketAddr, endpoints: &[(String, SocketAddr)], yaml: &str) -> String {
    let mut text = format!("http://{proxy} is balanced over three endpoints:\n\n");
    for (name, address) in endpoints {
        let _ = writeln!(text, "  {name}  http://{address}");
    }
    text.push_str("\nThe config for it, which evenkeel run -c FILE would run the same way:\n\n");
    for line in yaml.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("\nTry, in another terminal:\n\n");
    for (what, command) in things_to_try(proxy, admin, endpoints) {
        let _ = writeln!(text, "  # {what}\n  {command}\n");
    }
    text.push_str("Ctrl-C stops it. Beneath is its log: what happens, and one line a request.\n\n");
    text
}

fn things_to_try(
    proxy: SocketAddr,
    admin: SocketAddr,
    endpoints: &[(String, SocketAddr)],
) -> Vec<(&'static str, String)> {
    // As this program was called: it need not be on the path.
    let program = std::env::args().next().unwrap_or_else(|| "evenkeel".to_owned());
    let second = endpoints.get(1).map_or(proxy, |(_, address)| *address);
    vec![
        ("One request. Ask again, and the next endpoint answers.", format!("curl http://{proxy}/")),
        (
            "6,000 requests: 2,000 for each.",
            format!("curl -s 'http://{proxy}/?[1-6000]' | grep Hello | sort | uniq -c"),
        ),
        (
            "Endpoint b goes away for 20 seconds. No request fails; watch it leave and return in the log.",
            format!("curl -X POST 'http://{second}/stop?for=20s'"),
        ),
        ("Who has how much of the traffic, and why.", format!("{program} status --admin {admin}")),
        (
            "Other answers: /slow?ms=500, /fail?status=503, /big?size=100MiB, and one event a second:",
            format!("curl -N http://{proxy}/events"),
        ),
    ]
}

/// The wanted loopback port, or any free one. The socket is closed again, for the server to bind.
fn free_port(wanted: u16) -> SocketAddr {
    [wanted, 0]
        .into_iter()
        .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .find_map(|listener| listener.local_addr().ok())
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<(String, SocketAddr)> {
        [("a", 3001), ("b", 3002), ("c", 3003)]
            .map(|(name, port)| (name.to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
            .to_vec()
    }

    #[test]
    fn the_config_names_every_endpoint() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 9900));
        assert_eq!(
            yaml(listen, admin, &three()),
            "listen: 127.0.0.1:8080\n\
             endpoints: [127.0.0.1:3001, 127.0.0.1:3002, 127.0.0.1:3003]\n\
             admin: { listen: \"127.0.0.1:9900\" }\n\
             log: { format: text }\n\
             access_log: { format: text }\n"
        );
    }

    #[test]
    fn the_config_is_valid() {
        let [listen, admin] = [8080, 9900].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        config::parse(&yaml(listen, admin, &three()), "test")
            .expect("what the demo shows can be written to a file");
    }

    #[test]
    fn a_listener_on_all_addresses_is_shown_as_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().expect("an address")).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().expect("an address")).to_string(), "[::1]:80");
        assert_eq!(reachable("10.1.2.3:80".parse().expect("an address")).to_string(), "10.1.2.3:80");
    }

    #[test]
    fn the_admin_port_moves_when_it_is_taken() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("a bound address").port();
        let free = free_port(port);
        assert_ne!(free.port(), port);
        assert!(TcpListener::bind(free).is_ok(), "given back");
    }
}
