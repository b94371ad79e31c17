//! What would become of a request, and why: `evenkeel explain`, of a running process or of a config file.
//!
//! A request is made as a client would send it, and goes through the policies of a snapshot as one that is served: see
//! [`exchange::explain`](crate::exchange::explain). Nothing is consumed by asking.

mod head;
mod listener;
mod question;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::admin::ExplainRequest;
use crate::authority;
use crate::config::{Engine, ListenAddress, Listener};
use crate::exchange::explain::{
    Asked, End, Explanation, Field, HeadersExplanation, ListenerExplanation, shown_value,
};
use crate::exchange::{Admitted, Arrival, ClientIdentity, Failure};
use crate::http1::write::{self, RequestForm};
use crate::message::{RequestFields, Version};
use crate::pool::Endpoint;
use crate::snapshot::Snapshot;
use crate::telemetry::record::{ClientAddress, Protocol};
use crate::tls::TlsInfo;
use head::{ClientHead, Refusal};
pub use question::{Question, QuestionError};

/// The most routes and endpoints of an explanation.
const ROUTES_MAX: usize = 200;
const ENDPOINTS_MAX: usize = 200;

/// The port of a client that has none.
const CLIENT_PORT: u16 = 50_000;

/// Whose config is asked.
pub enum Source<'a> {
    /// A running process, which says where its listeners are bound.
    Running(&'a dyn Fn(&Listener) -> Option<SocketAddr>),
    File,
}

/// Explains a request that comes now. May compute the hash of a password, which takes a while.
pub fn explain(
    snapshot: &Arc<Snapshot>,
    source: &Source<'_>,
    request: &ExplainRequest,
) -> Result<Explanation, QuestionError> {
    let question = Question::new(request)?;
    let nowhere = |_: &Listener| None;
    let bound = match source {
        Source::Running(bound) => *bound,
        Source::File => &nowhere,
    };
    let (listener, why) = listener::choose(snapshot.listeners(), &question, bound)?;
    let walk = Walk {
        snapshot,
        listener,
        question: &question,
        tls_info: listener
            .tls
            .as_ref()
            .map(|tls| Arc::new(TlsInfo::asked(&host(&question), question.http2, tls))),
        why,
        generation: matches!(source, Source::Running(_)).then(|| snapshot.generation()),
        now: Instant::now(),
        time: SystemTime::now(),
    };
    if question.http2 {
        check_http2(listener)?;
        let (mut head, refusal) = head::http2(&question)?;
        return Ok(walk.go(&mut head, refusal));
    }
    let (mut head, refusal) = head::http1(&question, &listener.limits);
    Ok(walk.go(&mut head, refusal))
}

/// The name in the URL, which a client sends in its TLS handshake; empty: an address, which none sends.
fn host(question: &Question) -> String {
    let host = authority::normalize_host(&question.authority);
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_address { String::new() } else { host.into_owned() }
}

fn check_http2(listener: &Listener) -> Result<(), QuestionError> {
    let why = match (&listener.http2, &listener.tls) {
        (None, _) => "its `http2` is off",
        (Some(_), None) if !listener.h2c => "without TLS it needs `h2c: true`",
        (Some(_), _) => return Ok(()),
    };
    Err(QuestionError::NoHttp2(listener.name.to_string(), why))
}

/// One request on its way.
struct Walk<'a> {
    snapshot: &'a Arc<Snapshot>,
    listener: &'a Arc<Listener>,
    question: &'a Question,
    tls_info: Option<Arc<TlsInfo>>,
    /// Why this listener.
    why: String,
    generation: Option<u64>,
    now: Instant,
    time: SystemTime,
}

// === impl Walk ===

impl Walk<'_> {
    fn go<C: ClientHead>(self, client: &mut C, refusal: Refusal) -> Explanation {
        let mut asked = self.begin(client);
        let sent = self.question.path().to_owned();
        let end = match refusal {
            Some((failure, reason)) => {
                asked.refuse(failure, reason);
                End::Refused(failure)
            }
            None => take_through(&mut asked, client),
        };
        let view = client.view();
        let (routes, routes_left_out) = asked.explain_routes(&view, ROUTES_MAX);
        let (steps, not_reached) = asked.steps(&end, &view);
        drop(view);
        let headers = match &end {
            End::Forwarded(forwarded) => {
                Some(self.headers(&mut asked, client, forwarded.endpoint.as_deref()))
            }
            End::Refused(_) | End::Answered(_) => None,
        };
        Explanation {
            request: asked.request(self.question.url.clone()),
            answer: asked.answer_of(&end),
            listener: self.listener(),
            generation: self.generation,
            path: asked.path(sent),
            routes,
            routes_left_out,
            steps,
            not_reached,
            headers,
            times: asked.times().filter(|_| matches!(end, End::Forwarded(_))),
            response: asked.response(),
            hash_key: asked.hash_key(),
            pool: match end {
                End::Forwarded(forwarded) => Some(forwarded.pool),
                End::Refused(_) | End::Answered(_) => None,
            },
        }
    }

    fn begin<C: ClientHead>(&self, client: &C) -> Asked {
        let view = client.view();
        let arrival = Arrival {
            head: &view,
            identity: ClientIdentity::Peer(self.client()),
            tls_info: self.tls_info.clone(),
            protocol: match view.version() {
                Version::Http10 => Protocol::Http10,
                Version::Http11 => Protocol::Http11,
                Version::Http2 => Protocol::Http2,
            },
            target: view.target(),
            upgrade: view.is_upgrade(),
            short_of_memory: false,
            now: self.now,
            time: self.time,
        };
        Asked::begin(self.snapshot, self.listener, arrival)
    }

    /// The peer of the connection, on this machine if nobody says another one.
    fn client(&self) -> ClientAddress {
        match (self.question.from, &self.listener.address) {
            (Some(ip), _) => ClientAddress::inet(SocketAddr::new(ip, CLIENT_PORT)),
            (None, ListenAddress::Unix(_)) => ClientAddress::unix(),
            (None, _) => ClientAddress::inet(SocketAddr::from(([127, 0, 0, 1], CLIENT_PORT))),
        }
    }

    fn listener(&self) -> ListenerExplanation {
        ListenerExplanation {
            name: self.listener.name.to_string(),
            address: self.listener.address.to_string(),
            engine: match self.listener.engine {
                Engine::Native => "native",
                Engine::Pingora => "pingora",
            }
            .to_owned(),
            tls: self.listener.tls.is_some(),
            why: self.why.clone(),
        }
    }

    /// The fields of the request, and those that its endpoint would get.
    fn headers<C: ClientHead>(
        &self,
        asked: &mut Asked,
        client: &mut C,
        endpoint: Option<&Endpoint>,
    ) -> HeadersExplanation {
        // The path is one of the parts of the head that is written.
        if let Some(path) = asked.take_new_path() {
            client.set_path(&path);
        }
        let view = client.view();
        let edits = asked.request_edits(endpoint, &view, view.connection());
        let form = RequestForm {
            edits: &edits,
            framing: view.framing(),
            upgrade: asked.is_upgrade(),
            trailers: view.takes_trailers(),
            host: "",
        };
        let mut out = Vec::new();
        write::request(&mut out, &view, &form);
        let before = fields(view.fields());
        let after = lines(&out).map(|(name, value)| hidden(&before, name, value)).collect();
        HeadersExplanation { before, after }
    }
}

/// As an engine does it, up to the pool.
fn take_through<C: ClientHead>(asked: &mut Asked, client: &mut C) -> End {
    let normal = asked.normalize_path(&client.view());
    let admitted = match normal {
        Ok(Some(path)) if !client.set_path(&path) => Err(Failure::BadRequest),
        Ok(_) => {
            let view = client.view();
            asked.admit(&view, view.sizes())
        }
        Err(failure) => Err(failure),
    };
    match admitted {
        Ok(Admitted::Forward) => match asked.forward(ENDPOINTS_MAX) {
            Some(forwarded) => End::Forwarded(Box::new(forwarded)),
            None => End::Refused(Failure::Internal),
        },
        Ok(Admitted::Reply(reply)) => End::Answered(reply),
        Ok(Admitted::Authenticate(_)) => End::Refused(Failure::Internal),
        Err(failure) => End::Refused(failure),
    }
}

fn fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<Field> {
    fields.map(|(name, value)| Field { name: text(name), value: text(value) }).collect()
}

/// The fields of a head that was written.
fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
    })
}

/// A field for the endpoint. What the client has not sent may be a secret of the config.
fn hidden(before: &[Field], name: &[u8], value: &[u8]) -> Field {
    let field = Field { name: text(name), value: text(value) };
    if before.iter().any(|sent| sent.value == field.value) {
        return field;
    }
    match http::HeaderName::from_bytes(name) {
        Ok(name) => Field { value: shown_value(&name, value), ..field },
        Err(_) => field,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
