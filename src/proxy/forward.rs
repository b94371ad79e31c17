//! Carries requests to endpoints, where Pingora carries the client's side alone: those of HTTP/2 clients, and those to
//! endpoints that speak HTTP/2.
//!
//! Pingora's own way there has one time limit for each read, none for a whole request, and cannot end one stream of a
//! connection that others share; and it costs more than everything else that is done for a request.

mod http1;
mod http2;
mod side;
mod transfer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::context::Carried;
use super::visit::Visit;
use super::{Carrier, EndpointProtocols, next_attempt};
use crate::config;
use crate::exchange::{Circumstances, Exchange, Failure, ResponseScope};
use crate::pool::Endpoint;
pub use http2::Connections;
use transfer::Transfer;

/// Why an attempt has come to nothing.
#[derive(Debug)]
pub struct Failed {
    failure: Failure,
    detail: Option<String>,
    /// The endpoint is not to blame, and another would do no better.
    of_client: bool,
    /// The connection had served others before, and its end says nothing of the endpoint.
    stale: bool,
}

/// How an attempt ends without a response for the client.
enum Ended {
    /// What came is not for the client: the next one.
    Again,
    Failed(Failed),
}

impl Failed {
    fn new(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { failure, detail: detail.into(), of_client: false, stale: false }
    }

    fn of_client(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { of_client: true, ..Self::new(failure, detail) }
    }
}

impl From<Failed> for Ended {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Serves the request to its end. An error means that a response has broken off.
pub async fn serve(carrier: &Carrier, session: &mut Session, carried: &mut Carried) -> Result<()> {
    if !session.is_body_done() {
        session.as_downstream_mut().enable_retry_buffering();
    }
    // The exchange says where it ends.
    let last = loop {
        if let Err(failure) = next_attempt(carrier, session, carried, EndpointProtocols::Any).await {
            break Failed::new(failure, None);
        }
        match attempt(carrier, session, carried).await {
            Ok(()) => return Ok(()),
            Err(Ended::Again) => {}
            Err(Ended::Failed(failed)) => {
                let again = !failed.of_client && {
                    let circumstances = circumstances(session, carried, failed.stale);
                    let detail = failed.detail.as_deref();
                    carried.exchange.attempt_failed(failed.failure, detail, circumstances, Instant::now())
                };
                if !again {
                    break failed;
                }
            }
        }
    };
    fail(carrier, session, carried, last).await
}

/// Where the attempt that is open goes.
struct Way {
    endpoint: Arc<Endpoint>,
    /// This worker's own, so that no attempt writes to a count of references that all workers share.
    scope: Arc<ResponseScope>,
}

impl Way {
    fn of(exchange: &Exchange) -> std::result::Result<Self, Failed> {
        let both = exchange.endpoint().cloned().zip(exchange.response_scope().cloned());
        let (endpoint, scope) = both.ok_or_else(|| Failed::new(Failure::Internal, None))?;
        Ok(Self { endpoint, scope })
    }

    /// How the endpoint is talked to.
    fn pool(&self) -> &config::Pool {
        self.scope.pool()
    }

    /// How long a connection may take, within the time that the whole request has.
    fn connect_limit(&self, exchange: &Exchange) -> Duration {
        let (now, limit) = (Instant::now(), self.pool().timeouts.connect);
        exchange.deadline().map_or(limit, |deadline| deadline.saturating_duration_since(now).min(limit))
    }
}

/// Why there is no connection: where the time for the whole request is over, nobody else is to blame.
fn unconnected(exchange: &Exchange, failed: Failed) -> Failed {
    match exchange.is_late(Instant::now()) {
        true => Failed::new(Failure::RequestDeadline, "waiting for a connection".to_owned()),
        false => failed,
    }
}

/// Asks the endpoint of the attempt that is open, and gives the client its response.
async fn attempt(
    carrier: &Carrier,
    session: &mut Session,
    carried: &mut Carried,
) -> std::result::Result<(), Ended> {
    let sent = Sent { whole: session.is_body_done(), before: read_before(session) };
    if carried.exchange.speaks_http2() {
        let side = http2::ask(carrier, session, carried, &sent).await?;
        Transfer::new(carrier, session, carried, side, sent).run().await
    } else {
        let side = http1::ask(carrier, session, carried, &sent).await?;
        Transfer::new(carrier, session, carried, side, sent).run().await
    }
}

/// Tells the client, as far as that is possible, why there is no response, or no more of it.
async fn fail(carrier: &Carrier, session: &mut Session, carried: &mut Carried, last: Failed) -> Result<()> {
    let Failed { failure, detail, .. } = last;
    if !carried.begun {
        carrier.answer(session, carried, failure, detail).await;
        return Ok(());
    }
    carried.exchange.failed(failure, detail);
    if let Some(trailers) = carried.exchange.grpc_end(failure) {
        // If the client does not take them, its stream ends with a reset.
        let _ = session.as_downstream_mut().write_response_trailers(trailers).await;
    }
    carried.failure = Some(failure);
    let visit = Visit::of(session);
    if failure == Failure::ClientStalled
        && let Some(visit) = visit
    {
        visit.stalls();
    }
    if ends_with_connection(session)
        && let Some(visit) = visit
    {
        visit.cuts();
        session.as_downstream_mut().shutdown().await;
    }
    Error::e_explain(ErrorType::ConnectionClosed, "the response has broken off")
}

/// Whether the end of its connection is all that tells the client the end of its response (RFC 9112, section 6.3).
fn ends_with_connection(session: &Session) -> bool {
    session.req_header().version < Version::HTTP_11
        && session.response_written().is_some_and(|head| !head.headers.contains_key(header::CONTENT_LENGTH))
}

fn circumstances(session: &Session, carried: &Carried, stale: bool) -> Circumstances {
    let replayable = !session.as_downstream().retry_buffer_truncated();
    Circumstances { replayable, reused: stale, response_begun: carried.begun }
}

/// What the client has sent of its body when an attempt begins.
struct Sent {
    /// All of it has been read.
    whole: bool,
    /// Read for an attempt before, and to be sent once more.
    before: Bytes,
}

impl Sent {
    fn has_no_body(&self) -> bool {
        self.whole && self.before.is_empty()
    }
}

/// Whether the client says that it understands trailers (RFC 9110, section 10.1.4).
fn takes_trailers(client: &RequestHeader) -> bool {
    let values = client.headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("trailers"))
}

/// What has been read of the client's body and may be sent once more.
fn read_before(session: &Session) -> Bytes {
    session.as_downstream().get_retry_buffer().unwrap_or_default()
}
