//! The requests of the simulated clients, and the scope in which they are served.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderName;

use super::scenario::{RequestForm, Scenario, ScenarioError};
use crate::auth::{Answer, Passed};
use crate::config::Limits;
use crate::exchange::{Admitted, Arrival, ClientIdentity, Exchange, Failure, RequestScope};
use crate::http1::head::{Parse, RequestMemory, RequestView};
use crate::routing::RequestHead;
use crate::snapshot::Snapshot;
use crate::telemetry::record::{ClientAddress, Protocol};

/// What stands for the number of the client.
const USER: &str = "{user}";

/// The field of a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The host of a request that names none.
const HOST: &str = "localhost";

/// The first address of the clients: a network for measurements (RFC 2544).
const FIRST_CLIENT: u32 = Ipv4Addr::new(198, 18, 0, 1).to_bits();

/// The requests of all clients.
pub struct Traffic {
    scope: Arc<RequestScope>,
    /// By client; one for all where they do not differ.
    heads: Vec<RequestMemory>,
    users: Vec<ClientIdentity>,
    /// How many requests there have been.
    count: u64,
}

/// A head with an id of the request's own, which decides what is random about its retries: it must be the same each
/// time.
struct Numbered<'a> {
    head: RequestView<'a>,
    id: String,
}

impl RequestHead for Numbered<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn path(&self) -> &str {
        self.head.path()
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let id = (*name == REQUEST_ID).then_some(self.id.as_bytes());
        self.head.values(name.as_str()).chain(id)
    }
}

/// A request of the scenario, for errors.
fn shown(request: &RequestForm) -> String {
    format!("{} {}", request.method, request.url)
}

impl Traffic {
    /// Over the first listener that forwards the scenario's request to a pool.
    pub fn new(
        snapshot: &Arc<Snapshot>,
        scenario: &Scenario,
        now: Instant,
        time: SystemTime,
    ) -> Result<Self, ScenarioError> {
        let request = &scenario.request;
        let mut why = "the config has no listener".to_owned();
        for listener in snapshot.listeners() {
            let mut traffic = Self {
                scope: RequestScope::unobserved(snapshot, listener),
                heads: heads(request, scenario.users, &listener.limits)?,
                users: (0..scenario.users).map(identity).collect(),
                count: 0,
            };
            match traffic.arrive(0, now, time) {
                (_, Ok(Admitted::Forward)) => return Ok(traffic),
                (_, Ok(Admitted::Reply(reply))) => {
                    why = format!("listener {} answers it with {}", listener.name, reply.status);
                }
                (_, Ok(Admitted::Authenticate(_))) => {
                    why = format!("listener {} asks again who the client is", listener.name);
                }
                (mut exchange, Err(failure)) => {
                    let detail = exchange.finish(None, 0, now).unusual().detail.clone();
                    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
                    why = format!("listener {} refuses it with {}{detail}", listener.name, failure.label());
                }
            }
        }
        Err(ScenarioError::NotForwarded { request: shown(request), why })
    }

    /// How many clients there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Begins the exchange of a request whose head has arrived, and admits it.
    pub fn arrive(
        &mut self,
        user: usize,
        now: Instant,
        time: SystemTime,
    ) -> (Exchange, Result<Admitted, Failure>) {
        let index = user.min(self.heads.len() - 1);
        let head = self.heads[index].view();
        self.count += 1;
        let numbered = Numbered { head, id: format!("simulated-{}", self.count) };
        let mut exchange = begin(&self.scope, &numbered, &self.users[user], now, time);
        let admitted = match exchange.normalize_path(&head) {
            Err(failure) => Err(failure),
            Ok(None) => exchange.admit(&head, head.sizes()),
            Ok(Some(path)) => {
                self.heads[index].request.set_path(&path);
                let head = self.heads[index].view();
                exchange.admit(&head, head.sizes())
            }
        };
        let admitted = match admitted {
            // Here all clients may pass.
            Ok(Admitted::Authenticate(_)) => exchange.authenticated(Answer::Passed(Passed::default())),
            admitted => admitted,
        };
        (exchange, admitted)
    }
}

fn begin(
    scope: &Arc<RequestScope>,
    head: &Numbered<'_>,
    identity: &ClientIdentity,
    now: Instant,
    time: SystemTime,
) -> Exchange {
    let arrival = Arrival {
        head,
        identity: identity.clone(),
        tls_info: None,
        protocol: Protocol::Http11,
        target: head.head.target(),
        upgrade: false,
        short_of_memory: false,
        now,
        time,
    };
    Exchange::begin(scope.clone(), arrival)
}

fn identity(user: usize) -> ClientIdentity {
    let address = Ipv4Addr::from_bits(FIRST_CLIENT.wrapping_add(user as u32));
    ClientIdentity::Peer(ClientAddress::inet((address, 50_000).into()))
}

fn heads(request: &RequestForm, users: usize, limits: &Limits) -> Result<Vec<RequestMemory>, ScenarioError> {
    let differs = request.url.contains(USER) || request.fields.iter().any(|field| field.contains(USER));
    (0..if differs { users } else { 1 }).map(|user| head(request, user, limits)).collect()
}

fn head(request: &RequestForm, user: usize, limits: &Limits) -> Result<RequestMemory, ScenarioError> {
    let refused = |reason| ScenarioError::BadRequest(shown(request), reason);
    let of_user = |text: &str| text.replace(USER, &(user + 1).to_string());
    let url = of_user(&request.url);
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let (host, target) = match rest {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => (HOST, &*url),
    };
    let slash = if target.starts_with('/') || target == "*" { "" } else { "/" };
    let mut text = format!("{} {slash}{target} HTTP/1.1\r\nHost: {host}\r\n", request.method);
    for field in &request.fields {
        if field.contains(['\r', '\n']) {
            return Err(refused("a header field is one line"));
        }
        text += &format!("{}\r\n", of_user(field));
    }
    text += "\r\n";
    let mut memory = RequestMemory::default();
    match memory.request.parse(text.as_bytes(), limits) {
        Parse::Complete { length } if length == text.len() => {}
        Parse::Refused(refusal) => return Err(refused(refusal.reason)),
        _ => return Err(refused("it is more than one request")),
    }
    memory.head.set(text.as_bytes());
    Ok(memory)
}
