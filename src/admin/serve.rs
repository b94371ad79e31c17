//! Answers requests on the admin address. Pingora parses requests and writes responses.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Response, StatusCode};
use pingora_core::protocols::http::ServerSession;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::accept::{Caller, EXCHANGE_LIMIT, accept};
use super::explain::{self, ExplainRequest};
use super::incident::IncidentStatus;
use super::named_file;
use super::operations::{Operation, OperationOutcome, PLAIN, Verdict};
use super::socket::{AdminSocket, Listener};
use super::status::Status;
use crate::config::{FILE_BYTES_MAX, Secret};
use crate::telemetry::tap::Taps;

/// Concurrent requests, not counting those about health; more are refused.
const REQUESTS_MAX: usize = 64;

/// Responses built at the same time: the size of each grows with the number of endpoints.
const BUILDS_MAX: usize = 2;

/// The largest question of a POST: more than any listener takes of a head.
const QUESTION_BYTES_MAX: u64 = 1024 * 1024;

/// Concurrent operations with a body, from reading the body to the end.
const BODIES_MAX: usize = 2;

/// The content type of a JSON object a line.
const JSON_LINES: &str = "application/jsonl";

/// What the paths of incidents begin with.
const INCIDENTS: &str = "/incidents/";

/// What the admin server needs of the rest of the process.
#[async_trait]
pub trait Process: Send + Sync {
    fn status(&self) -> Status;
    /// The config file that it runs; an absolute path.
    fn file(&self) -> Option<PathBuf>;
    /// An error says why the process is not ready.
    fn ready(&self) -> Result<(), String>;
    /// In Prometheus' text format.
    fn metrics(&self) -> String;
    /// The incidents that were written, the newest first; waits for the disk.
    fn incidents(&self) -> Result<Vec<IncidentStatus>, String>;
    /// The lines of the incident of that name; `now`: the last minute; "": the newest. Waits for the disk.
    fn incident(&self, name: &str) -> Result<String, String>;
    /// What would become of a request, as JSON; an error says what is wrong with the question. May take a while.
    fn explain(&self, request: &ExplainRequest) -> Result<String, String>;
    /// Those who watch its requests.
    fn taps(&self) -> &Taps;
    /// The events of the last minute, one JSON object a line.
    fn events(&self) -> Vec<u8>;
    async fn perform(&self, operation: Operation, caller: &Caller) -> OperationOutcome;
}

/// Answers the requests of one admin address.
pub(super) struct App {
    pub(super) process: Arc<dyn Process>,
    /// The token that TCP clients must send; `None` on a unix socket, and on loopback if none is configured.
    pub(super) token: Option<Secret>,
    pub(super) tcp: bool,
    pub(super) limits: Limits,
}

/// Limits on concurrent work. That operations run one at a time is enforced elsewhere.
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    builds: Semaphore,
    bodies: Semaphore,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            builds: Semaphore::new(BUILDS_MAX),
            bodies: Semaphore::new(BODIES_MAX),
        }
    }
}

impl AdminSocket {
    /// Answers requests until dropped. Must run within a tokio runtime.
    pub async fn serve(self, process: Arc<dyn Process>) -> io::Result<()> {
        let tcp = matches!(self.listener, Listener::Tcp(_));
        let app = Arc::new(App { process, token: self.token, tcp, limits: Limits::default() });
        match self.listener {
            Listener::Unix(listener, _file) => {
                let listener = tokio::net::UnixListener::from_std(listener)?;
                accept(app, || async {
                    let connection = listener.accept().await?.0;
                    let caller = Caller::on_unix(&connection);
                    Ok((connection.into(), caller))
                })
                .await
            }
            Listener::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                accept(app, || async {
                    let (connection, address) = listener.accept().await?;
                    Ok((connection.into(), Caller::on_tcp(address)))
                })
                .await
            }
        }
    }
}

/// Reads a text; `what` names it where it is too large.
async fn read_body(session: &mut ServerSession, most: u64, what: &str) -> Result<String, Reply> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(None) => break,
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Err(error) => return Err(Reply::text(StatusCode::BAD_REQUEST, format!("{error}\n"))),
        }
        if body.len() as u64 > most {
            let text = format!("no {what} is larger than {} MiB\n", most >> 20);
            return Err(Reply::text(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
    }
    String::from_utf8(body).map_err(|_| Reply::text(StatusCode::BAD_REQUEST, "the body is not UTF-8 text\n"))
}

async fn read_in_time(session: &mut ServerSession, most: u64, what: &str) -> Result<String, Reply> {
    match timeout(EXCHANGE_LIMIT, read_body(session, most, what)).await {
        Ok(read) => read,
        Err(_) => Err(Reply::text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n")),
    }
}

// === impl App ===

impl App {
    /// Answers one request. The caller keeps the permit until the response has been written.
    pub(super) async fn respond(
        self: &Arc<Self>,
        session: &mut ServerSession,
        caller: &Caller,
    ) -> (Response<Vec<u8>>, Option<OwnedSemaphorePermit>) {
        let request = session.req_header();
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        let query = request.uri.query().unwrap_or_default().to_owned();
        if let Some(refusal) = named_file::refusal(&query, self.process.as_ref()).await {
            return (Reply::text(StatusCode::MISDIRECTED_REQUEST, refusal).into_response(&method), None);
        }
        let request = session.req_header();
        if is_about_health(&path) {
            return (self.reply(&method, &path, &request.headers).into_response(&method), None);
        }
        let Ok(permit) = self.limits.requests.clone().try_acquire_owned() else {
            let crowded = "too many requests are under way here; /livez and /readyz are answered\n";
            return (Reply::text(StatusCode::SERVICE_UNAVAILABLE, crowded).into_response(&method), None);
        };
        if path == explain::PATH {
            let reply = self.explain(session, &query).await;
            return (reply.into_response(&method), Some(permit));
        }
        let reply = match Operation::at(&path, &query) {
            Ok(Some(operation)) => match self.operation_refusal(&method, &path, &request.headers) {
                Some(refusal) => refusal,
                None => self.perform(operation, session, caller).await,
            },
            Ok(None) => match self.refusal(&path, &request.headers) {
                Some(refusal) => refusal,
                None => self.build_reply(method.clone(), path, request.headers.clone()).await,
            },
            Err(fault) => Reply::text(StatusCode::BAD_REQUEST, fault + "\n"),
        };
        (reply.into_response(&method), Some(permit))
    }

    /// Builds a response on a blocking thread, because the time for it grows with the number of endpoints.
    async fn build_reply(self: &Arc<Self>, method: Method, path: String, headers: HeaderMap) -> Reply {
        self.build(move |app| app.reply(&method, &path, &headers)).await
    }

    async fn build(self: &Arc<Self>, make: impl FnOnce(&Self) -> Reply + Send + 'static) -> Reply {
        let app = self.clone();
        let _permit = self.limits.builds.acquire().await;
        let made = tokio::task::spawn_blocking(move || make(&app)).await;
        made.unwrap_or_else(|_| Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the answer was not made\n"))
    }

    /// Says what would become of a request. A POST is as good as a GET, and changes nothing either: its body has room for
    /// what is in no log of URLs.
    async fn explain(self: &Arc<Self>, session: &mut ServerSession, query: &str) -> Reply {
        let request = session.req_header();
        let method = request.method.clone();
        if let Some(refusal) = self.refusal(explain::PATH, &request.headers) {
            return refusal;
        }
        let question = match method {
            Method::GET | Method::HEAD => ExplainRequest::of_query(query),
            Method::POST => match read_in_time(session, QUESTION_BYTES_MAX, "question").await {
                Ok(text) => ExplainRequest::of_json(&text),
                Err(refusal) => return refusal,
            },
            _ => return Reply::not_allowed("GET, HEAD, POST", "only GET, HEAD and POST are answered here\n"),
        };
        match question {
            Ok(question) => self.build(move |app| app.explanation(&question)).await,
            Err(fault) => Reply::text(StatusCode::BAD_REQUEST, fault + "\n"),
        }
    }

    fn explanation(&self, question: &ExplainRequest) -> Reply {
        match self.process.explain(question) {
            Ok(body) => Reply { content_type: "application/json", ..Reply::text(StatusCode::OK, body) },
            Err(fault) => Reply::text(StatusCode::BAD_REQUEST, fault + "\n"),
        }
    }

    /// The refusal of an operation that may not begin, if there is one.
    fn operation_refusal(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Reply> {
        if let Some(refusal) = self.refusal(path, headers) {
            return Some(refusal);
        }
        if method != Method::POST {
            return Some(Reply::not_allowed("POST", "this is done by a POST\n"));
        }
        // A web page in a browser on this machine could send this POST, too.
        if self.tcp && self.token.is_none() {
            let remedy =
                "over TCP, changes need `admin: { token: ... }`; the unix socket beside it needs none\n";
            return Some(Reply::text(StatusCode::FORBIDDEN, remedy));
        }
        None
    }

    async fn perform(&self, mut operation: Operation, session: &mut ServerSession, caller: &Caller) -> Reply {
        // Held to the end of the operation: each body may be as large as the largest config.
        let _with_body = match operation.body() {
            None => None,
            Some(body) => {
                let Ok(permit) = timeout(EXCHANGE_LIMIT, self.limits.bodies.acquire()).await else {
                    let busy = "others are under way: ask again later\n";
                    return Reply::text(StatusCode::SERVICE_UNAVAILABLE, busy);
                };
                *body = match read_in_time(session, FILE_BYTES_MAX, "config").await {
                    Ok(text) => text,
                    Err(refusal) => return refusal,
                };
                Some(permit)
            }
        };
        let done = operation.content_type();
        let OperationOutcome { verdict, text } = self.process.perform(operation, caller).await;
        let content_type = if verdict == Verdict::Done { done } else { PLAIN };
        Reply { content_type, ..Reply::text(verdict.status(), text) }
    }

    pub(super) fn reply(&self, method: &Method, path: &str, headers: &HeaderMap) -> Reply {
        if let Some(refusal) = self.refusal(path, headers) {
            return refusal;
        }
        if method != Method::GET && method != Method::HEAD {
            return Reply::not_allowed("GET, HEAD", "only GET and HEAD are answered here\n");
        }
        match path {
            "/livez" => Reply::text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.process.ready() {
                Ok(()) => Reply::text(StatusCode::OK, "ok\n"),
                Err(reason) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            "/metrics" => Reply {
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                ..Reply::text(StatusCode::OK, self.process.metrics())
            },
            "/status" => self.status(),
            "/api/v1/events" => {
                Reply { content_type: JSON_LINES, ..Reply::text(StatusCode::OK, self.process.events()) }
            }
            "/incidents" => match self.process.incidents() {
                Ok(incidents) => json(&incidents),
                Err(why) => Reply::text(StatusCode::NOT_FOUND, format!("{why}\n")),
            },
            _ if path.starts_with(INCIDENTS) => {
                match self.process.incident(path.strip_prefix(INCIDENTS).unwrap_or_default()) {
                    Ok(lines) => Reply { content_type: JSON_LINES, ..Reply::text(StatusCode::OK, lines) },
                    Err(why) => Reply::text(StatusCode::NOT_FOUND, format!("{why}\n")),
                }
            }
            _ => Reply::text(
                StatusCode::NOT_FOUND,
                "here are /livez, /readyz, /metrics, /status, /api/v1/explain, /api/v1/tap and /api/v1/events\n",
            ),
        }
    }

    fn status(&self) -> Reply {
        json(&self.process.status())
    }

    /// With a token, requests must bear it. Without one (loopback), `Host` must be local, against DNS rebinding: a web
    /// page whose name resolves to 127.0.0.1 reaches this address from a local browser, with that name as `Host`.
    ///
    /// `/livez` and `/readyz` need no token: load balancers and orchestrators have none to send, and the answers reveal
    /// nothing.
    pub(super) fn refusal(&self, path: &str, headers: &HeaderMap) -> Option<Reply> {
        match &self.token {
            Some(_) if is_about_health(path) => None,
            Some(token) if bears_token(headers, token) => None,
            Some(_) => Some(Reply::text(
                StatusCode::UNAUTHORIZED,
                "send the token of the config's `admin` section: Authorization: Bearer TOKEN\n",
            )),
            None if self.tcp && !host_is_local(headers) => Some(Reply::text(
                StatusCode::FORBIDDEN,
                "the Host must be an IP address or localhost; other names need `admin: { token: ... }`\n",
            )),
            None => None,
        }
    }
}

fn json(answer: &impl Serialize) -> Reply {
    match serde_json::to_vec(answer) {
        Ok(body) => Reply { content_type: "application/json", ..Reply::text(StatusCode::OK, body) },
        Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn is_about_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

fn bears_token(headers: &HeaderMap, token: &Secret) -> bool {
    let sent = headers.get(http::header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let Some((scheme, sent)) = sent.split_at_checked(7) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(sent)
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(http::header::HOST).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// A response, before it becomes HTTP.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// The value of `Allow`.
    allow: Option<&'static str>,
}

// === impl Reply ===

impl Reply {
    pub(super) fn text(status: StatusCode, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, content_type: PLAIN, body: body.into(), allow: None }
    }

    pub(super) fn not_allowed(allow: &'static str, body: &str) -> Reply {
        Reply { allow: Some(allow), ..Reply::text(StatusCode::METHOD_NOT_ALLOWED, body) }
    }

    pub(super) fn into_response(self, method: &Method) -> Response<Vec<u8>> {
        let mut response = Response::new(Vec::new());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LENGTH, self.body.len().into());
        headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, http::HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        if method != Method::HEAD {
            *response.body_mut() = self.body;
        }
        response
    }
}
