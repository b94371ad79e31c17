//! A site behind both proxies: the same endpoints, and requests that go to one and then to the other.

use std::sync::Arc;

use rustls::{ClientConfig, SignatureScheme};

use super::application;
use super::nginx::Nginx;
use super::outcome::{self, Outcome};
use crate::harness::{Client, Endpoint, Proxy, Response, Seen, Stream, Trusting, handshake};
use crate::written::{Request, add_surroundings, with_endpoints, with_files, with_listeners};

/// Each request has a number of its own in this field, by which it is known at the endpoints.
const NUMBER: &str = "x-number";

pub struct Site {
    nginx: Nginx,
    proxy: Proxy,
    /// The ports of evenkeel's listeners as they are written, with their names.
    listeners: Vec<(String, String)>,
    endpoints: Vec<Endpoint>,
    tls: Arc<ClientConfig>,
    sent: usize,
}

impl Site {
    pub fn start(config: &str, nginx: &str, files: &[(String, String)]) -> Site {
        let mut endpoints = Vec::new();
        let builder = Proxy::config();
        let text = with_files(builder.folder(), files, config);
        let text = with_endpoints(&text, &mut endpoints, application::answer);
        let (mut text, listeners) = with_listeners(&text);
        add_surroundings(&mut text, builder.folder());
        let proxy = builder.yaml(text).start();
        let folder = tempfile::Builder::new().prefix("evk").tempdir().unwrap();
        let text = with_files(folder.path(), files, nginx);
        let text = with_endpoints(&text, &mut endpoints, application::answer);
        let nginx = Nginx::start(&text, folder);
        Site { nginx, proxy, listeners, endpoints, tls: trusting(), sent: 0 }
    }

    /// What the command comes to at nginx, and at evenkeel.
    pub fn send(&mut self, command: &str) -> (Outcome, Outcome) {
        let request = Request::parse(command);
        let no_port = || panic!("no listener for {command}");
        let there = self.nginx.address(&request.port).unwrap_or_else(no_port);
        let named = self.listeners.iter().find(|(port, _)| *port == request.port);
        let here = named.map_or_else(no_port, |(_, name)| self.proxy.address_of(name));
        (self.ask(&there, &request), self.ask(&here, &request))
    }

    /// What nginx has told, for who looks for a reason.
    pub fn told(&self) -> String {
        self.nginx.told()
    }

    fn ask(&mut self, address: &str, request: &Request) -> Outcome {
        self.sent += 1;
        let number = self.sent.to_string();
        let response = self.response(address, request, &number);
        let seen: Vec<(String, Seen)> = self
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.requests().into_iter().map(|seen| (group(&endpoint.name), seen)))
            .filter(|(_, seen)| seen.head.all(NUMBER) == [&number])
            // Each proxy asks an auth service in a way of its own.
            .filter(|(_, seen)| !seen.target().starts_with("/api/authz/"))
            .collect();
        let mut outcome = outcome::of(response.as_ref(), &seen, NUMBER);
        outcome.values_mut().for_each(|value| *value = self.as_written(value, address));
        outcome
    }

    fn response(&self, address: &str, request: &Request, number: &str) -> Option<Response> {
        let stream = match request.is_tls {
            true => handshake(&self.tls, address, name_of(&request.host)).expect("a handshake").into(),
            false => Stream::connect(address).expect("a connection"),
        };
        let mut client = Client::over(stream);
        let head_end = request.bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 2;
        let (head, rest) = request.bytes.split_at(head_end);
        let field = format!("{NUMBER}: {number}\r\n");
        // Who is refused may find the connection closed.
        let _ = client.try_send([head, field.as_bytes(), rest].concat());
        let mut response = client.try_response_to(&request.method).ok()?;
        if response.status == 101 {
            client.send("ping");
            response.body = client.bytes("ping".len());
        }
        Some(response)
    }

    /// The addresses that the configs have, in the place of those of the test.
    fn as_written(&self, value: &str, address: &str) -> String {
        let own_port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let mut value = value.replace(&format!(":{own_port}"), "");
        for endpoint in &self.endpoints {
            value = value.replace(endpoint.address(), &endpoint.name);
        }
        value
    }
}

/// Endpoints of a network and port are of one pool: which of them is asked is the pool's to say.
fn group(address: &str) -> String {
    match address.rsplit_once('.').zip(address.rsplit_once(':')) {
        Some(((network, _), (_, port))) => format!("{network}.x:{port}"),
        None => address.to_owned(),
    }
}

/// The name that a client of this host asks for.
fn name_of(host: &str) -> &str {
    let name = host.split(':').next().unwrap_or_default();
    if rustls::pki_types::ServerName::try_from(name).is_ok() { name } else { "example.com" }
}

fn trusting() -> Arc<ClientConfig> {
    let schemes = vec![SignatureScheme::ECDSA_NISTP256_SHA256];
    let builder = ClientConfig::builder().dangerous();
    Arc::new(builder.with_custom_certificate_verifier(Arc::new(Trusting(schemes))).with_no_client_auth())
}
