//! One probe of one endpoint, made with Pingora's health checks, within a total deadline.

mod http2;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};

use super::dial::ProbeDial;
use super::endpoint::{Endpoint, Target};
use crate::config::{self, CheckKind, EndpointProtocol};
use crate::os_error;
use http2::Http2Check;

/// What probes call themselves.
const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (health check)");

pub(super) struct Probe {
    check: Box<dyn HealthCheck + Send + Sync>,
    target: Backend,
    timeout: Duration,
    /// What has not come when the time is over.
    awaited: &'static str,
}

impl Probe {
    pub fn new(endpoint: &Endpoint, spec: &config::HealthCheck, pool: &config::Pool) -> Option<Self> {
        let expected = endpoint.expected(&pool.tls);
        let dial = expected.clone().map(|expected| Arc::new(ProbeDial(Some(expected))) as Arc<_>);
        let addr = match endpoint.target() {
            Target::Inet(address) => PingoraAddr::Inet(*address),
            Target::Unix(path) => {
                PingoraAddr::Unix(std::os::unix::net::SocketAddr::from_pathname(path).ok()?)
            }
        };
        let check: Box<dyn HealthCheck + Send + Sync> = match &spec.kind {
            CheckKind::Tcp => {
                let mut check = TcpHealthCheck::new();
                check.peer_template.options.connection_timeout = None;
                check.peer_template.options.custom_l4 = dial;
                check
            }
            CheckKind::Http { .. } if pool.protocol == EndpointProtocol::Http2 => {
                Box::new(Http2Check::get(endpoint, spec, expected)?)
            }
            CheckKind::Grpc { service } => Box::new(Http2Check::grpc(endpoint, service, expected)?),
            CheckKind::Http { .. } => {
                let mut check = http_check(endpoint, spec)?;
                check.peer_template.options.custom_l4 = dial;
                Box::new(check)
            }
        };
        Some(Self {
            check,
            target: Backend { addr, weight: 1, ext: http::Extensions::new() },
            timeout: spec.timeout,
            awaited: if matches!(spec.kind, CheckKind::Tcp) { "connection" } else { "answer" },
        })
    }

    /// Passes, or says why not.
    ///
    /// The one limit is for the whole. Pingora's own are for each step: an endpoint that trickles its answer would hold a
    /// probe for ever. And with the first of them Pingora starts a thread that wakes a hundred times a second from then on.
    ///
    /// `None`: this process could not even ask, which says nothing about the endpoint.
    pub async fn run(&self) -> Option<Result<(), String>> {
        match tokio::time::timeout(self.timeout, self.check.check(&self.target)).await {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(error)) if is_ours(&error) => None,
            Ok(Err(error)) => Some(Err(reason(&error))),
            Err(_) => Some(Err(format!("no {} within {:?}", self.awaited, self.timeout))),
        }
    }
}

fn http_check(endpoint: &Endpoint, spec: &config::HealthCheck) -> Option<HttpHealthCheck> {
    let CheckKind::Http { path, host, expect, headers } = &spec.kind else { return None };
    let host = host.as_deref().unwrap_or(endpoint.written());
    let mut check = HttpHealthCheck::new(host, false);
    let mut request = RequestHeader::build("GET", path.as_bytes(), None).ok()?;
    request.insert_header(http::header::HOST, host).ok()?;
    request.insert_header(http::header::USER_AGENT, USER_AGENT).ok()?;
    for (name, value) in headers {
        request.insert_header(name.clone(), value.clone()).ok()?;
    }
    check.req = request;
    let options = &mut check.peer_template.options;
    (options.connection_timeout, options.read_timeout, options.write_timeout) = (None, None, None);
    let expect = expect.clone();
    check.validator = Some(Box::new(move |response| validate(response, &expect)));
    Some(check)
}

fn validate(response: &ResponseHeader, expect: &[RangeInclusive<u16>]) -> pingora_core::Result<()> {
    let status = response.status.as_u16();
    if expect.iter().any(|range| range.contains(&status)) {
        return Ok(());
    }
    unexpected(status)
}

fn unexpected(status: u16) -> pingora_core::Result<()> {
    Error::e_explain(ErrorType::CustomCode("unexpected status", status), "health check")
}

/// Whether this machine could not even ask.
fn is_ours(error: &Error) -> bool {
    let mut error = error;
    while let Some(cause) = &error.cause {
        if let Some(next) = cause.downcast_ref::<Box<Error>>() {
            error = next;
            continue;
        }
        return cause.downcast_ref().is_some_and(os_error::is_shortage);
    }
    false
}

/// A probe's failure in the operator's words.
fn reason(error: &Error) -> String {
    match &error.etype {
        ErrorType::ConnectRefused => "connection refused".into(),
        ErrorType::ConnectNoRoute => "no route to it".into(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
            "connection closed before an answer".into()
        }
        ErrorType::CustomCode(_, status) => format!("status {status} is not expected"),
        ErrorType::InvalidHTTPHeader => "the answer is not HTTP".into(),
        ErrorType::H2Error => format!("no HTTP/2 with it: {}", root_cause(error)),
        _ => root_cause(error),
    }
}

/// What Pingora's error was made of: its own text names its types, too.
fn root_cause(error: &Error) -> String {
    match &error.cause {
        Some(cause) => match cause.downcast_ref::<Box<Error>>() {
            Some(next) => root_cause(next),
            None => cause.to_string(),
        },
        None => error.etype.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_innermost_cause() {
        let told = |kind, cause: &str| {
            let inner = Error::because(kind, "health check", std::io::Error::other(cause.to_owned()));
            reason(&Error::because(ErrorType::ConnectError, "health check", inner))
        };
        assert_eq!(told(ErrorType::TLSHandshakeFailure, "it has expired"), "it has expired");
        let broken = Error::because(ErrorType::H2Error, "health check", std::io::Error::other("reset"));
        assert_eq!(reason(&broken), "no HTTP/2 with it: reset");
    }

    #[test]
    fn only_a_local_shortage_is_ours() {
        let failed = |code| {
            let error = std::io::Error::from_raw_os_error(code);
            let inner = Error::because(ErrorType::SocketError, "socket", error);
            Error::because(ErrorType::ConnectError, "health check", inner)
        };
        assert!(is_ours(&failed(libc::EMFILE)) && is_ours(&failed(libc::EADDRNOTAVAIL)));
        assert!(!is_ours(&failed(libc::ECONNREFUSED)));
        assert!(!is_ours(&Error::new(ErrorType::ConnectTimedout)));
    }
}
