//! Every way in which a request can fail, with one table of statuses, labels and sides.

use std::io;

use h2::Reason;
use http::StatusCode;

use crate::os_error;

/// Makes [`Failure`] of a table: each failure, with the status for the client, the label for logs and metrics, and who
/// caused it.
macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident => $status:literal, $label:literal, $side:ident;)+) => {
        /// Why a request, or one attempt of it, failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failure {
            $($(#[$doc])* $name,)+
        }

        impl Failure {
            /// Every failure, for tests and documents.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            fn row(self) -> (u16, &'static str, FailureSide) {
                match self {
                    $(Self::$name => ($status, $label, FailureSide::$side),)+
                }
            }
        }
    };
}

failures! {
    BadRequest => 400, "bad_request", Client;
    MissingHost => 400, "missing_host", Client;
    /// Plain HTTP where the listener has TLS.
    PlainHttp => 400, "plain_http", Client;
    /// Its route lets nobody pass without a password, or with this one.
    Unauthorized => 401, "unauthorized", Client;
    /// `allow` or `deny` does not let the client in.
    Denied => 403, "denied", Client;
    NoRoute => 404, "no_route", Client;
    MethodNotAllowed => 405, "method_not_allowed", Client;
    Misdirected => 421, "misdirected", Client;
    RequestTimeout => 408, "request_timeout", Client;
    BodyTooLarge => 413, "body_too_large", Client;
    TargetTooLong => 414, "target_too_long", Client;
    /// A rate limit of the route has refused it.
    RateLimited => 429, "rate_limited", Client;
    HeadersTooLarge => 431, "headers_too_large", Client;
    TooManyConnections => 503, "too_many_connections", Client;
    MemoryShort => 503, "memory_short", Proxy;
    /// A request over HTTP/2 that could not begin in time, because too many were open.
    TurnExpired => 503, "turn_expired", Proxy;
    /// Cut because the process stops.
    Stopped => 503, "stopped", Proxy;
    /// 499 is for the log alone: the client has gone.
    ClientGone => 499, "client_gone", Client;
    /// As if the client had gone, because it takes nothing.
    ClientStalled => 499, "client_stalled", Client;
    NoHealthyEndpoint => 503, "no_healthy_endpoint", Endpoint;
    WaitExpired => 503, "wait_expired", Endpoint;
    WaitQueueFull => 503, "wait_queue_full", Endpoint;
    PoolFull => 503, "pool_full", Endpoint;
    /// A limit of its route has no room, and none waits.
    RouteFull => 503, "route_full", Proxy;
    /// As many wait for room as may.
    QueueFull => 503, "queue_full", Proxy;
    QueueExpired => 503, "queue_expired", Proxy;
    /// Shed from a queue.
    Overloaded => 503, "overloaded", Proxy;
    ConnectFailed => 503, "connect_failed", Endpoint;
    ConnectTimeout => 503, "connect_timeout", Endpoint;
    EndpointTls => 502, "endpoint_tls", Endpoint;
    StreamRefused => 503, "stream_refused", Endpoint;
    /// This machine has no descriptor, port or memory for a connection to an endpoint.
    ResourcesShort => 503, "resources_short", Proxy;
    EndpointReset => 502, "endpoint_reset", Endpoint;
    BadResponse => 502, "bad_response", Endpoint;
    RequestWriteTimeout => 504, "request_write_timeout", Endpoint;
    ResponseTimeout => 504, "response_timeout", Endpoint;
    RequestDeadline => 504, "request_deadline", Endpoint;
    ResponseCut => 502, "response_cut", Endpoint;
    /// Who the client is could not be found out.
    AuthUnavailable => 503, "auth_unavailable", Proxy;
    /// The request has been forwarded too often: a proxy is its own endpoint.
    Loop => 508, "loop", Proxy;
    Internal => 500, "internal", Proxy;
}

/// A failure with its circumstances.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    /// For the log.
    pub detail: Option<String>,
    /// The client caused it: the endpoint is not to blame, and another attempt would not help.
    pub of_client: bool,
    /// The connection had served requests before, so that its end says nothing about the endpoint.
    pub stale: bool,
}

impl Failed {
    pub fn new(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { failure, detail: detail.into(), of_client: false, stale: false }
    }

    pub fn of_client(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { of_client: true, ..Self::new(failure, detail) }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::new(failure, None)
    }
}

/// Who caused a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureSide {
    Client,
    Endpoint,
    Proxy,
}

impl Failure {
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn label(self) -> &'static str {
        self.row().1
    }

    pub fn side(self) -> FailureSide {
        self.row().2
    }

    /// The failure for an error of a connect to an endpoint.
    pub fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            _ if os_error::is_shortage(error) => Self::ResourcesShort,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::ConnectFailed,
        }
    }

    /// The failure for an error of an endpoint's HTTP/2 stream, before there is a response.
    pub fn of_http2(error: &h2::Error) -> Self {
        let reason = error.reason();
        // The endpoint has not processed the request (RFC 9113, sections 6.8 and 8.7).
        let refused = error.is_remote()
            && (reason == Some(Reason::REFUSED_STREAM)
                || (error.is_go_away() && reason == Some(Reason::NO_ERROR)));
        match refused {
            true => Self::StreamRefused,
            false if error.is_io() || error.is_remote() => Self::EndpointReset,
            false => Self::BadResponse,
        }
    }

    /// Whether the client gets no reply, because it has gone or takes nothing.
    pub fn has_no_reply(self) -> bool {
        matches!(self, Self::ClientGone | Self::ClientStalled)
    }

    /// Whether no connection to an endpoint was opened: another endpoint may be tried, whatever the method.
    pub fn is_of_connect(self) -> bool {
        matches!(self, Self::ConnectFailed | Self::ConnectTimeout | Self::ResourcesShort)
    }

    /// Whether the client's connection may stay open, because nothing makes the client suspect.
    pub fn leaves_connection(self) -> bool {
        matches!(
            self,
            Self::NoRoute
                | Self::Unauthorized
                | Self::AuthUnavailable
                | Self::Denied
                | Self::RateLimited
                | Self::Misdirected
                | Self::NoHealthyEndpoint
                | Self::TurnExpired
                | Self::WaitExpired
                | Self::WaitQueueFull
                | Self::RouteFull
                | Self::QueueFull
                | Self::QueueExpired
                | Self::Overloaded
                | Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::EndpointTls
                | Self::StreamRefused
                | Self::ResourcesShort
                | Self::EndpointReset
                | Self::BadResponse
                | Self::ResponseTimeout
                | Self::RequestDeadline
        )
    }

    /// Seconds for `Retry-After`, for the statuses that mean "not now".
    pub fn retry_after(self) -> Option<u32> {
        (self.row().0 == 503).then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_label_of_its_own() {
        let labels: std::collections::HashSet<_> =
            Failure::ALL.iter().map(|failure| failure.label()).collect();
        assert_eq!(labels.len(), Failure::ALL.len());
    }

    #[test]
    fn the_documentation_has_exactly_the_causes_that_there_are() {
        let mut documented: Vec<_> = include_str!("../../docs/logs.md")
            .lines()
            .skip_while(|line| !line.starts_with("| cause |"))
            .skip(2)
            .map_while(|row| {
                let mut cells = row.split('|').map(str::trim).skip(1);
                let label = cells.next()?.replace('`', "");
                Some((label, cells.next()?.split(',').next()?.parse::<u16>().ok()?))
            })
            .collect();
        documented.sort();
        let mut there: Vec<_> = Failure::ALL
            .iter()
            .map(|failure| (failure.label().to_owned(), failure.status().as_u16()))
            .collect();
        there.sort();
        assert_eq!(documented, there);
    }

    #[test]
    fn a_shortage_of_this_machine_is_not_the_endpoints() {
        let of = |code| Failure::of_connect(&io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!((of(code), of(code).side()), (Failure::ResourcesShort, FailureSide::Proxy));
        }
        for code in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EPERM, libc::ENOENT] {
            assert_eq!((of(code), of(code).side()), (Failure::ConnectFailed, FailureSide::Endpoint));
        }
        assert_eq!(of(libc::ETIMEDOUT), Failure::ConnectTimeout);
    }

    #[test]
    fn only_statuses_that_mean_not_now_ask_to_come_back() {
        for &failure in Failure::ALL {
            assert_eq!(failure.retry_after().is_some(), failure.status() == StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
