//! gRPC requests: the client's timeout, and failures reported as gRPC does.
//!
//! A gRPC client expects HTTP status 200 even for a failure, and reads the outcome from `grpc-status`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::local_reply::SERVER_NAME;
use super::{Exchange, Failure, LocalReply};
use crate::routing::RequestHead;
use crate::telemetry::record::Protocol;

const STATUS: &str = "grpc-status";
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A gRPC request, whose failures are reported in `grpc-status`.
pub(super) struct GrpcCall {
    timeout: Option<Duration>,
    /// A local reply was made, with HTTP status 200.
    answered: bool,
}

impl GrpcCall {
    /// `None`: the request is not gRPC, which is spoken over HTTP/2.
    pub fn of(head: &impl RequestHead, protocol: Protocol) -> Option<Self> {
        let is_call = protocol == Protocol::Http2 && is_grpc(head);
        is_call.then(|| Self { timeout: timeout(head), answered: false })
    }

    /// How long the client waits.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub fn is_answered(&self) -> bool {
        self.answered
    }
}

/// The gRPC status codes that local replies have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Whether a call's status speaks against its endpoint as an HTTP status from 500 does: UNKNOWN, INTERNAL, UNAVAILABLE and
/// DATA_LOSS. A deadline that is exceeded may be too short a one of the client.
pub(super) fn is_endpoints_failure(status: u16) -> bool {
    matches!(status, 2 | 13 | 14 | 15)
}

/// Whether a request over HTTP/2 is gRPC. gRPC-Web is not: it has its status in the body.
fn is_grpc(head: &impl RequestHead) -> bool {
    let content_type = head.header(&header::CONTENT_TYPE).unwrap_or_default();
    let rest = content_type.get(..16).filter(|begin| begin.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(content_type.get(16), None | Some(b'+' | b';' | b' '))
}

/// The client's `grpc-timeout`: at most eight digits and a unit.
fn timeout(head: &impl RequestHead) -> Option<Duration> {
    let text = head.header_text(&TIMEOUT)?;
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_amount = (1..=8).contains(&amount.len()) && amount.bytes().all(|byte| byte.is_ascii_digit());
    let amount: u64 = amount.parse().ok().filter(|_| is_amount)?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// gRPC's own mapping from HTTP statuses, except where the failure says more than its status.
fn code(failure: Failure) -> Code {
    match failure {
        Failure::ClientGone | Failure::ClientStalled => Code::Cancelled,
        Failure::ResponseTimeout
        | Failure::RequestDeadline
        | Failure::RequestWriteTimeout
        | Failure::RequestTimeout => Code::DeadlineExceeded,
        Failure::BodyTooLarge | Failure::TargetTooLong | Failure::HeadersTooLarge | Failure::RateLimited => {
            Code::ResourceExhausted
        }
        Failure::Denied => Code::PermissionDenied,
        other => match other.status() {
            StatusCode::BAD_REQUEST => Code::Internal,
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
            StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::Unknown,
        },
    }
}

/// The fields that tell a call's failure.
fn fields(failure: Failure, request_id: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = vec![(HeaderName::from_static(STATUS), HeaderValue::from(code(failure) as u16))];
    let reason = failure.status().canonical_reason().unwrap_or("Error");
    // Needs no percent-encoding: neither part can have a character that would.
    if let Ok(message) = HeaderValue::from_str(&format!("{reason}, request {request_id}")) {
        fields.push((HeaderName::from_static("grpc-message"), message));
    }
    fields
}

/// A response of gRPC's kind "Trailers-Only".
fn local_reply(failure: Failure, request_id: &str) -> LocalReply {
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (header::SERVER, HeaderValue::from_static(SERVER_NAME)),
    ];
    headers.extend(fields(failure, request_id));
    LocalReply { status: StatusCode::OK, headers, body: bytes::Bytes::new() }
}

impl Exchange {
    /// Records the `grpc-status` among the fields of the endpoint's head or trailers.
    pub fn grpc_status<'a>(&mut self, mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        if self.grpc.is_none() {
            return;
        }
        let status = fields.find(|(name, _)| name.eq_ignore_ascii_case(STATUS.as_bytes()));
        let status = status.and_then(|(_, status)| str::from_utf8(status).ok()?.parse().ok());
        if status.is_some() {
            self.record.unusual_mut().grpc_status = status;
        }
    }

    /// The trailers that end a gRPC response that has broken off; `None`: the request is not gRPC.
    pub fn grpc_end(&mut self, failure: Failure) -> Option<HeaderMap> {
        self.grpc.as_ref()?;
        self.record.unusual_mut().grpc_status = Some(code(failure) as u16);
        let told = fields(failure, self.record.text.request_id());
        Some(told.into_iter().collect())
    }

    /// The local reply for the failure of a gRPC request.
    pub(super) fn grpc_local_reply(&mut self, failure: Failure) -> LocalReply {
        self.record.unusual_mut().grpc_status = Some(code(failure) as u16);
        if let Some(call) = &mut self.grpc {
            call.answered = true;
        }
        local_reply(failure, self.record.text.request_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, value: &str) -> http::request::Parts {
        http::Request::post("/a.B/C").header(name, value).body(()).expect("a request").into_parts().0
    }

    #[test]
    fn grpc_is_known_by_its_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;x=y", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("application", false),
            ("äpplication/grpc", false),
        ] {
            assert_eq!(is_grpc(&head("content-type", value)), expected, "{value}");
        }
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let told = |value| timeout(&head("grpc-timeout", value));
        assert_eq!(told("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(told("3M"), Some(Duration::from_secs(180)));
        assert_eq!(told("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(told("100m"), Some(Duration::from_millis(100)));
        assert_eq!(told("5u"), Some(Duration::from_micros(5)));
        assert_eq!(told("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "+1S", "1 S", "1ä"] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_failure_has_a_code() {
        for &failure in Failure::ALL {
            let expected = match failure.status().as_u16() {
                502 | 503 => Code::Unavailable,
                504 | 408 => Code::DeadlineExceeded,
                401 => Code::Unauthenticated,
                404 | 405 => Code::Unimplemented,
                403 => Code::PermissionDenied,
                413 | 414 | 429 | 431 => Code::ResourceExhausted,
                400 | 500 => Code::Internal,
                499 => Code::Cancelled,
                _ => Code::Unknown,
            };
            assert_eq!(code(failure), expected, "{failure:?}");
        }
    }
}
