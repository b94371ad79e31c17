//! Probes over HTTP/2: a GET, or a request of gRPC's health checking protocol.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::HealthCheck;

use super::{USER_AGENT, judge, unexpected};
use crate::config::{self, CheckKind};
use crate::pool::connect::{ProbeConnector, TlsTarget};
use crate::pool::endpoint::Endpoint;

/// The method of gRPC's health service.
const GRPC_CHECK: &str = "/grpc.health.v1.Health/Check";

/// Longest accepted answer of a health service, in bytes.
const ANSWER_MAX: usize = 4096;

pub(super) struct Http2Check {
    dial: Arc<ProbeConnector>,
    request: Request<()>,
    body: Bytes,
    wanted: Wanted,
}

enum Wanted {
    Status(Vec<RangeInclusive<u16>>),
    Serving { service: String },
}

impl Http2Check {
    pub fn get(
        endpoint: &Endpoint,
        spec: &config::HealthCheck,
        tls_target: &Option<TlsTarget>,
        dial: Arc<ProbeConnector>,
    ) -> Option<Self> {
        let CheckKind::Http { path, host, expect, headers } = &spec.kind else { return None };
        let host = host.as_deref().unwrap_or(endpoint.authority());
        let mut request = Request::builder().method(Method::GET).uri(uri(tls_target, host, path)?);
        for (name, value) in headers.iter().filter(|(name, _)| name != header::HOST) {
            request = request.header(name, value);
        }
        let request = request.header(header::USER_AGENT, USER_AGENT).body(()).ok()?;
        let wanted = Wanted::Status(expect.clone());
        Some(Self { dial, request, body: Bytes::new(), wanted })
    }

    pub fn grpc(
        endpoint: &Endpoint,
        service: &str,
        tls_target: &Option<TlsTarget>,
        dial: Arc<ProbeConnector>,
    ) -> Option<Self> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri(tls_target, endpoint.authority(), GRPC_CHECK)?)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, USER_AGENT)
            .body(())
            .ok()?;
        let wanted = Wanted::Serving { service: service.to_owned() };
        Some(Self { dial, request, body: question(service), wanted })
    }

    async fn ask(&self, mut sender: h2::client::SendRequest<Bytes>) -> Result<()> {
        let bodiless = self.body.is_empty();
        sender = sender.ready().await.map_err(broken)?;
        let (response, mut sink) = sender.send_request(self.request.clone(), bodiless).map_err(broken)?;
        if !bodiless {
            sink.send_data(self.body.clone(), true).map_err(broken)?;
        }
        let response = response.await.map_err(broken)?;
        match &self.wanted {
            Wanted::Status(expect) => judge(response.status().as_u16(), expect),
            Wanted::Serving { service } => serving(response, service).await,
        }
    }
}

#[async_trait]
impl HealthCheck for Http2Check {
    async fn check(&self, target: &Backend) -> Result<()> {
        use pingora_core::connectors::l4::Connect;
        let stream = self.dial.connect(&target.addr).await?;
        let (sender, connection) = h2::client::handshake(stream).await.map_err(broken)?;
        tokio::select! {
            // An answer counts even if the connection ends with it.
            biased;
            passed = self.ask(sender) => passed,
            ended = connection => match ended {
                Ok(()) => failed("connection closed before an answer"),
                Err(error) => Err(broken(error)),
            },
        }
    }

    /// `Health` counts.
    fn health_threshold(&self, _: bool) -> usize {
        1
    }
}

fn uri(tls_target: &Option<TlsTarget>, host: &str, path: &str) -> Option<Uri> {
    let scheme = if tls_target.is_some() { "https" } else { "http" };
    Uri::builder().scheme(scheme).authority(host).path_and_query(path).build().ok()
}

/// A `HealthCheckRequest` as a gRPC message.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1. The config allows lengths below 256, a varint of at most two bytes.
        message.put_u8(0x0a);
        let length = service.len() as u8;
        if length < 0x80 {
            message.put_u8(length);
        } else {
            message.put_slice(&[length, 1]);
        }
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

async fn serving(response: Response<RecvStream>, service: &str) -> Result<()> {
    if response.status().as_u16() != 200 {
        return unexpected(response.status().as_u16());
    }
    let mut answer = BytesMut::new();
    let (head, mut body) = response.into_parts();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(broken)?;
        let _ = body.flow_control().release_capacity(piece.len());
        answer.put(piece);
        if answer.len() > ANSWER_MAX {
            return failed("the answer is too long for a health service");
        }
    }
    let trailers = body.trailers().await.map_err(broken)?;
    let status = grpc_status(trailers.as_ref().unwrap_or(&head.headers));
    match status {
        Some(0) => {}
        Some(5) => return failed(format!("the endpoint does not know the service `{service}`")),
        Some(12) => return failed("the endpoint has no health service (grpc.health.v1.Health)"),
        Some(code) => return failed(format!("gRPC status {code}")),
        None => return failed("the answer is not gRPC"),
    }
    match health_status(&answer) {
        Some(1) => Ok(()),
        Some(2) => failed("NOT_SERVING"),
        Some(3) => failed("SERVICE_UNKNOWN"),
        _ => failed("its health is unknown"),
    }
}

fn grpc_status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The status in a framed `HealthCheckResponse`; 0 where it is absent, as protobuf defines.
fn health_status(framed: &[u8]) -> Option<u8> {
    match framed.get(5..)? {
        [] => Some(0),
        [0x08, status, ..] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

fn failed<T>(reason: impl Into<String>) -> Result<T> {
    let reason = io::Error::other(reason.into());
    Err(Error::because(ErrorType::Custom("unhealthy"), "health check", reason))
}

fn broken(error: h2::Error) -> Box<Error> {
    Error::because(ErrorType::H2Error, "health check", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_framed() {
        assert_eq!(&question("")[..], [0; 5]);
        assert_eq!(&question("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = "x".repeat(200);
        let asked = question(&long);
        assert_eq!(&asked[..8], [0, 0, 0, 0, 203, 0x0a, 200, 1]);
        assert_eq!(&asked[8..], long.as_bytes());
    }

    #[test]
    fn only_serving_is_healthy() {
        assert_eq!(health_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(health_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(health_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(health_status(&[0, 0, 0]), None);
        assert_eq!(health_status(&[0, 0, 0, 0, 2, 16, 1]), None);
    }
}
