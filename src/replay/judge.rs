//! Says what a config would do with the request of a line.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, header};
use jiff::Timestamp;

use super::fate::{Act, Fate, Verdict};
use super::head::{self, NotingHead};
use super::line::Line;
use crate::auth::{Answer, Passed};
use crate::config::{Action, Config, ProxyProtocol, RateKey};
use crate::exchange::{Admitted, Arrival, ClientIdentity, Exchange, Failure, RequestScope};
use crate::http1::head::{Parse, RequestMemory};
use crate::routing::{HeaderMatch, RouteMatch, ValueMatch};
use crate::snapshot::Snapshot;
use crate::telemetry::record::{ClientAddress, Protocol};

/// The most fields of which it is noted that the log has them not.
pub(super) const NAMES_MAX: usize = u64::BITS as usize;

/// The fields that a log may have.
const LOGGED: [HeaderName; 3] = [header::HOST, header::USER_AGENT, header::REFERER];

pub(super) struct Judge {
    snapshot: Arc<Snapshot>,
    /// By listener; those of lines without one are the first's.
    scopes: HashMap<Arc<str>, Arc<RequestScope>>,
    first: Option<Arc<RequestScope>>,
    /// Whom the requests ask for whose lines have no host.
    host: Option<String>,
    /// The fields on which the config's decisions depend and that no log has.
    pub names: Vec<HeaderName>,
    /// By route: what its requests have had, by its conditions. Lines of fields.
    fields: HashMap<Arc<str>, String>,
    /// The time of the first line, and the one that stands for it.
    started: OnceLock<Timestamp>,
    begin: Instant,
}

/// The memory of one thread for one request after the other.
#[derive(Default)]
pub(super) struct Memory {
    text: String,
    head: RequestMemory,
}

// === impl Judge ===

impl Judge {
    pub fn new(config: Config, host: Option<&str>) -> Self {
        let snapshot = Arc::new(Snapshot::build(config, None));
        let scope = |listener| RequestScope::unobserved(&snapshot, listener);
        let scopes: HashMap<_, _> =
            snapshot.listeners().iter().map(|listener| (listener.name.clone(), scope(listener))).collect();
        let first = snapshot.listeners().first().and_then(|first| scopes.get(&first.name)).cloned();
        let routes = &snapshot.config().routes;
        let fields = routes.iter().map(|route| (route.name.clone(), fields_of(route.enabled_match())));
        Self {
            names: names(&snapshot),
            fields: fields.filter(|(_, fields)| !fields.is_empty()).collect(),
            scopes,
            first,
            host: host.map(str::to_owned),
            started: OnceLock::new(),
            begin: Instant::now(),
            snapshot,
        }
    }

    /// Whether what is found for a line depends on those before it.
    pub fn counts(&self) -> bool {
        self.snapshot.routes().iter().any(|route| !route.rate_limits.is_empty())
    }

    /// Whether nothing says whom the request has asked for.
    pub fn lacks_host(&self, line: &Line<'_>) -> bool {
        self.host.is_none() && !line.tells_decision
    }

    pub fn judge(&self, line: &Line<'_>, memory: &mut Memory) -> Verdict {
        let scope = match &*line.listener {
            "" => self.first.as_ref(),
            name => self.scopes.get(name),
        };
        let Some(scope) = scope else {
            return Verdict::of(Act::NoListener { listener: line.listener.clone().into_owned() });
        };
        let client = address(&line.client);
        let host = if line.host.is_empty() && !line.tells_decision { self.host.as_deref() } else { None };
        let fields = self.fields.get(&*line.route).map_or("", String::as_str);
        let host = host.unwrap_or(&line.host);
        head::write(&mut memory.text, line, host, client.ip_text().unwrap_or("unknown"), fields);
        let head = &mut memory.head;
        head.clear();
        match head.request.parse(memory.text.as_bytes(), &scope.listener().limits) {
            Parse::Complete { length } if length == memory.text.len() => {}
            Parse::Refused(refusal) => return Verdict::refused(refusal.failure, None),
            // What stands in the line would be more than one request.
            Parse::Complete { .. } | Parse::Partial => return Verdict::refused(Failure::BadRequest, None),
        }
        head.head.set(memory.text.as_bytes());
        let identity = identity(scope, client, line);
        self.admit(scope, identity, line, head)
    }

    fn admit(
        &self,
        scope: &Arc<RequestScope>,
        identity: ClientIdentity,
        line: &Line<'_>,
        memory: &mut RequestMemory,
    ) -> Verdict {
        let asked = Cell::new(0);
        let now = self.instant(line.at);
        let mut exchange = {
            let head = self.noting(memory, &asked);
            let arrival = Arrival {
                head: &head,
                identity,
                tls_info: None,
                protocol: protocol(line),
                target: head.head.target(),
                upgrade: false,
                short_of_memory: false,
                now,
                time: SystemTime::UNIX_EPOCH,
            };
            Exchange::begin(scope.clone(), arrival)
        };
        let admitted = match exchange.normalize_path(&memory.view()) {
            Err(failure) => Err(failure),
            Ok(Some(path)) if !memory.request.set_path(&path) => Err(Failure::BadRequest),
            Ok(_) => {
                let head = self.noting(memory, &asked);
                exchange.admit(&head, head.head.sizes())
            }
        };
        let mut verdict = self.verdict(exchange, admitted, line, memory, now);
        verdict.asked = asked.get();
        verdict
    }

    fn noting<'a>(&'a self, memory: &'a RequestMemory, asked: &'a Cell<u64>) -> NotingHead<'a> {
        NotingHead { head: memory.view(), names: &self.names, asked }
    }

    /// Ends the exchange, and says what has come of it.
    fn verdict(
        &self,
        mut exchange: Exchange,
        mut admitted: Result<Admitted, Failure>,
        line: &Line<'_>,
        memory: &mut RequestMemory,
        now: Instant,
    ) -> Verdict {
        if let Ok(Admitted::Authenticate(check)) = &admitted {
            let auth = check.gate().config().kind();
            if line.auth != auth || line.auth_verdict != "passed" {
                let mut verdict = Verdict::of(Act::Asked { auth: auth.to_owned() });
                verdict.fate.route = exchange.finish(None, 0, now).route.map(str::to_owned);
                return verdict;
            }
            admitted = exchange.authenticated(Answer::Passed(Passed::default()));
        }
        if let Ok(Admitted::Forward) = admitted
            && exchange.take_new_path().is_some_and(|path| !memory.request.set_path(&path))
        {
            admitted = Err(Failure::BadRequest);
        }
        let status = match &admitted {
            Ok(Admitted::Reply(reply)) => reply.status.as_u16(),
            Ok(Admitted::Forward | Admitted::Authenticate(_)) => 200,
            Err(failure) => {
                exchange.failed(*failure, None);
                failure.status().as_u16()
            }
        };
        let record = exchange.finish(Some(status), 0, now);
        let act = match admitted {
            Err(failure) => {
                let by = record.unusual().refused_by.as_ref().map(ToString::to_string);
                let by = by.or_else(|| record.unusual().limited.as_deref().map(str::to_owned));
                refusal(failure, by)
            }
            Ok(Admitted::Reply(_)) => {
                Act::Answered { action: record.unusual().action.unwrap_or_default().to_owned(), status }
            }
            Ok(Admitted::Forward | Admitted::Authenticate(_)) => Act::Forwarded { status: None },
        };
        let forwards = matches!(act, Act::Forwarded { .. });
        let fate = Fate {
            route: record.route.map(str::to_owned),
            pool: record.pool.filter(|_| forwards).map(str::to_owned),
            act,
        };
        let is_elsewhere = forwards && record.pool != Some(&*line.pool);
        let may_be_in_old_pool = is_elsewhere && self.may_be_in(record.route, &line.pool);
        Verdict { fate, rewritten: record.unusual().rewritten.clone(), may_be_in_old_pool, asked: 0 }
    }

    /// Whether a split that a field of the request decides may send it to that pool.
    fn may_be_in(&self, route: Option<&str>, pool: &str) -> bool {
        let route = self.snapshot.routes().iter().find(|other| Some(&*other.name) == route);
        route.is_some_and(|route| {
            matches!(&route.action, Action::Split(split) if split.sticky.is_some()) && route.has_pool(pool)
        })
    }

    /// As far after the beginning as the line's time is after the first one's.
    fn instant(&self, at: Timestamp) -> Instant {
        let first = *self.started.get_or_init(|| at);
        let since = Duration::try_from(at.duration_since(first)).unwrap_or_default();
        self.begin.checked_add(since).unwrap_or(self.begin)
    }
}

// === impl Verdict ===

impl Verdict {
    fn of(act: Act) -> Self {
        Self { fate: Fate::new(act), rewritten: None, may_be_in_old_pool: false, asked: 0 }
    }

    fn refused(failure: Failure, by: Option<String>) -> Self {
        Self::of(refusal(failure, by))
    }
}

fn refusal(failure: Failure, by: Option<String>) -> Act {
    Act::Refused { cause: failure.label().to_owned(), status: failure.status().as_u16(), by }
}

/// `10.0.0.1:5000`, `[::1]:5000`, `::1`; anything else stands for a client of a unix socket.
fn address(text: &str) -> ClientAddress {
    let socket = || text.parse::<SocketAddr>().ok().map(ClientAddress::inet);
    let ip = || text.parse::<IpAddr>().ok().map(ClientAddress::of_ip);
    socket().or_else(ip).unwrap_or_else(ClientAddress::unix)
}

/// Whose connection it was. A peer that the listener does not trust is the client itself.
fn identity(scope: &RequestScope, client: ClientAddress, line: &Line<'_>) -> ClientIdentity {
    if line.peer.is_empty() {
        return ClientIdentity::Peer(client);
    }
    let (peer, listener) = (address(&line.peer), scope.listener());
    let may_tell = listener.proxy_protocol != ProxyProtocol::Off;
    match peer.ip().is_some_and(|ip| may_tell && listener.trusts(ip)) {
        true => ClientIdentity::Relayed { client, by: peer },
        false => ClientIdentity::Peer(peer),
    }
}

fn protocol(line: &Line<'_>) -> Protocol {
    match &*line.protocol {
        "HTTP/1.0" => Protocol::Http10,
        "HTTP/2.0" => Protocol::Http2,
        _ => Protocol::Http11,
    }
}

/// The fields on which decisions depend and that no log has.
fn names(snapshot: &Snapshot) -> Vec<HeaderName> {
    let mut names = HashSet::new();
    for route in &snapshot.config().routes {
        let matches = route.enabled_match().into_iter();
        let all = matches.flat_map(|matches| std::iter::once(matches).chain(&matches.not));
        names.extend(all.flat_map(|matches| &matches.headers).map(|header| header.name.clone()));
    }
    for limit in snapshot.routes().iter().flat_map(|route| &route.rate_limits) {
        match &limit.config.by {
            RateKey::Header(name) => drop(names.insert(name.clone())),
            RateKey::Cookie(_) => drop(names.insert(header::COOKIE)),
            RateKey::Client | RateKey::Route => {}
        }
    }
    let mut names: Vec<_> = names.into_iter().filter(|name| !LOGGED.contains(name)).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.truncate(NAMES_MAX);
    names
}

/// What a request has had that a route of these conditions took, where there is only one value that it can be.
fn fields_of(matches: Option<&RouteMatch>) -> String {
    let value = |header: &HeaderMatch| match header.values.as_slice() {
        [ValueMatch::Exact(value)] => Some(value.clone()),
        [ValueMatch::Present] => Some("present".to_owned()),
        _ => None,
    };
    let headers = matches.into_iter().flat_map(|matches| &matches.headers);
    let unknown = headers.filter(|header| !LOGGED.contains(&header.name));
    unknown.filter_map(|header| Some(format!("{}: {}\r\n", header.name, value(header)?))).collect()
}
