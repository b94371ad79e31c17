//! One probe of one endpoint, one of Pingora's health checks or of our own, within a total deadline.

mod http1;
mod http2;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::{Error, ErrorType};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};

use super::connect::{self, ProbeConnector};
use super::endpoint::{Endpoint, Target};
use crate::config::{self, CheckKind, EndpointProtocol};
use crate::os_error;
use http1::Http1Check;
use http2::Http2Check;

/// The `User-Agent` of probes.
const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (health check)");

/// The value of [`Probe::awaited`] for a TCP probe.
const CONNECTION: &str = "connection";

/// The result of a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum ProbeResult {
    Passed,
    /// In the operator's words.
    Failed(String),
    /// No connection opened in time, but requests could connect meanwhile: no statement about the endpoint's health.
    Busy,
    /// This machine lacked the resources for a connection.
    Shortage(String),
}

impl ProbeResult {
    /// The statement about the endpoint; `None`: there is none.
    pub fn verdict(self) -> Option<Result<(), String>> {
        match self {
            Self::Passed => Some(Ok(())),
            Self::Failed(reason) => Some(Err(reason)),
            Self::Busy | Self::Shortage(_) => None,
        }
    }
}

pub(super) struct Probe {
    endpoint: Arc<Endpoint>,
    check: Box<dyn HealthCheck + Send + Sync>,
    /// Opens the connection.
    dial: Arc<ProbeConnector>,
    target: Backend,
    timeout: Duration,
    /// What is missing when the time is over, for the reason.
    awaited: &'static str,
}

impl Probe {
    pub fn new(endpoint: &Arc<Endpoint>, spec: &config::HealthCheck, pool: &config::Pool) -> Option<Self> {
        let tls_target = endpoint.tls_target(&pool.tls);
        let dial = ProbeConnector::new(tls_target.clone());
        let check: Box<dyn HealthCheck + Send + Sync> = match &spec.kind {
            CheckKind::Tcp => return Self::tcp(endpoint, dial, spec.timeout),
            CheckKind::Grpc { service } => {
                Box::new(Http2Check::grpc(endpoint, service, &tls_target, dial.clone())?)
            }
            CheckKind::Http { .. } if pool.protocol == EndpointProtocol::Http2 => {
                Box::new(Http2Check::get(endpoint, spec, &tls_target, dial.clone())?)
            }
            CheckKind::Http { .. } => Box::new(Http1Check::new(endpoint, spec, dial.clone())?),
        };
        Self::with(endpoint, check, dial, spec.timeout, "answer")
    }

    /// Tests only whether a connection opens, for endpoints without a health check.
    pub fn connect(endpoint: &Arc<Endpoint>, pool: &config::Pool) -> Option<Self> {
        Self::tcp(endpoint, ProbeConnector::new(None), pool.timeouts.connect)
    }

    fn tcp(endpoint: &Arc<Endpoint>, dial: Arc<ProbeConnector>, timeout: Duration) -> Option<Self> {
        let mut check = TcpHealthCheck::new();
        check.peer_template.options.connection_timeout = None;
        check.peer_template.options.custom_l4 = Some(dial.clone());
        Self::with(endpoint, check, dial, timeout, CONNECTION)
    }

    fn with(
        endpoint: &Arc<Endpoint>,
        check: Box<dyn HealthCheck + Send + Sync>,
        dial: Arc<ProbeConnector>,
        timeout: Duration,
        awaited: &'static str,
    ) -> Option<Self> {
        let addr = match endpoint.target() {
            Target::Inet(address) => PingoraAddr::Inet(*address),
            Target::Unix(path) => {
                PingoraAddr::Unix(std::os::unix::net::SocketAddr::from_pathname(path).ok()?)
            }
        };
        let target = Backend { addr, weight: 1, ext: http::Extensions::new() };
        Some(Self { endpoint: endpoint.clone(), check, dial, target, timeout, awaited })
    }

    /// Runs the probe once.
    ///
    /// One timeout covers the whole probe. Pingora's own timeouts cover one step each, so that an endpoint that
    /// trickles its answer could hold a probe for ever; and the first use of one starts a thread that wakes a hundred
    /// times a second.
    pub async fn run(&self) -> ProbeResult {
        let connects = self.endpoint.connects();
        match tokio::time::timeout(self.timeout, self.check.check(&self.target)).await {
            Ok(Ok(())) => ProbeResult::Passed,
            Ok(Err(error)) => match connect::system_error(&error) {
                Some(shortage) if os_error::is_shortage(shortage) => {
                    ProbeResult::Shortage(shortage.to_string())
                }
                _ => ProbeResult::Failed(reason(&error)),
            },
            // Requests have connected meanwhile: the endpoint is busy, not unhealthy.
            Err(_) if self.is_connecting() && self.endpoint.connects() != connects => ProbeResult::Busy,
            Err(_) => ProbeResult::Failed(format!("no {} within {:?}", self.awaited, self.timeout)),
        }
    }

    fn is_connecting(&self) -> bool {
        self.awaited == CONNECTION || self.dial.is_connecting()
    }
}

/// Whether an answer with this status passes.
fn judge(status: u16, expect: &[RangeInclusive<u16>]) -> pingora_core::Result<()> {
    if expect.iter().any(|range| range.contains(&status)) { Ok(()) } else { unexpected(status) }
}

fn unexpected(status: u16) -> pingora_core::Result<()> {
    Error::e_explain(ErrorType::CustomCode("unexpected status", status), "health check")
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

/// The text of the innermost cause: that of Pingora's own errors names their types, too.
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
    fn a_shortage_is_found_beneath_what_pingora_says() {
        let failed = |code| {
            let error = std::io::Error::from_raw_os_error(code);
            let inner = Error::because(ErrorType::SocketError, "socket", error);
            Error::because(ErrorType::ConnectError, "health check", inner)
        };
        let is_shortage = |error: &Error| connect::system_error(error).is_some_and(os_error::is_shortage);
        assert!(is_shortage(&failed(libc::EMFILE)) && is_shortage(&failed(libc::EADDRNOTAVAIL)));
        assert!(!is_shortage(&failed(libc::ECONNREFUSED)));
        assert!(!is_shortage(&Error::new(ErrorType::ConnectTimedout)));
    }
}
