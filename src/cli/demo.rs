//! `evenkeel demo`: three built-in endpoints, the proxy in front of them, and what to try next.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::run::serve;
use super::{Exit, fail};
use crate::config;
use crate::demo::Endpoints;
use crate::server::Start;

/// The admin port of the demo, where it is free: TCP, so that a browser and curl can look too.
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
        match Endpoints::start() {
            Ok(endpoints) => self.serve(&endpoints),
            Err(error) => {
                let _ = writeln!(io::stderr(), "evenkeel: the demo endpoints cannot start: {error}");
                Exit::Failed
            }
        }
    }

    fn serve(&self, endpoints: &Endpoints) -> Exit {
        let admin = free_port(ADMIN_PORT);
        let yaml = yaml(self.listen, admin, endpoints.addresses());
        let _ = io::stdout().write_all(welcome(self.listen, admin, endpoints.addresses(), &yaml).as_bytes());
        match config::parse(&yaml, "the demo's config") {
            Ok(config) => serve(Start { config, file: None }),
            Err(report) => fail(report),
        }
    }
}

/// The config a user would write for the same thing, and the demo's only addition: where it is looked at.
fn yaml(listen: SocketAddr, admin: SocketAddr, endpoints: &[(String, SocketAddr)]) -> String {
    let addresses: Vec<String> = endpoints.iter().map(|(_, address)| address.to_string()).collect();
    format!(
        "listen: {listen}\nendpoints: [{}]\nadmin: {{ listen: \"{admin}\" }}\naccess_log: {{ format: text }}\n",
        addresses.join(", ")
    )
}

/// What runs, and what to try; the access log scrolls beneath it.
fn welcome(listen: SocketAddr, admin: SocketAddr, endpoints: &[(String, SocketAddr)], yaml: &str) -> String {
    let mut text = format!("evenkeel demo: http://{listen} is balanced over three endpoints\n");
    for (name, address) in endpoints {
        let _ = writeln!(text, "  {name}  http://{address}");
    }
    text.push_str("\nIt runs this config:\n");
    for line in yaml.lines() {
        let _ = writeln!(text, "  {line}");
    }
    let one = endpoints.get(1).map_or(listen, |(_, address)| *address);
    let _ = write!(
        text,
        "
Try, in another terminal:
  curl http://{listen}/                                       who answers; again, and it is the next one
  curl -s 'http://{listen}/?[1-6000]' | grep -c 'Hello from a'  2000 of 6000: its exact share
  curl -X POST 'http://{one}/stop?for=20s'                b leaves and comes back; no request fails
  evenkeel status --admin {admin}                         states, requests and shares
  curl http://{listen}/slow                                   2 s (?ms=500); also /fail?status=503, /big?size=1GiB
  curl -N http://{listen}/events                              server-sent events, one a second
  curl http://{admin}/metrics                             the same for Prometheus

Ctrl-C stops it. Beneath is its log: one line a request, with the endpoint that answered.

"
    );
    text
}

/// The wanted loopback port, or any free one; the socket is given back for the server to take.
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
             access_log: { format: text }\n"
        );
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
