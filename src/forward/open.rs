//! Opens the stream of an attempt: takes or opens what carries it, and writes the request's head.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header;

use super::ClientStream;
use super::client_watch::ClientWatch;
use crate::body::WholeBody;
use crate::endpoint::{EndpointStream, OutgoingRequest};
use crate::exchange::{Exchange, Failed, Failure, ResponseScope};
use crate::message::{Framing, RequestFields};
use crate::worker::deadline::Timer;

/// The stream to the endpoint of the exchange's attempt.
pub async fn stream<E: EndpointStream>(
    client: &mut impl ClientStream,
    exchange: &mut Exchange,
    scope: &Arc<ResponseScope>,
    body: Option<&WholeBody>,
) -> Result<E, Failed> {
    let endpoint = exchange.endpoint().ok_or(Failure::Internal)?;
    let carrier = match E::take_carrier(client.worker(), endpoint, scope.pool(), client.now()) {
        Some(carrier) => carrier,
        None => {
            let (worker, limit) = (client.worker().clone(), exchange.connect_limit());
            let opened = E::connect(&worker, endpoint, scope.pool(), limit);
            // Boxed to keep the future of a request that needs no new connection small.
            Box::pin(in_time(client, opened, limit)).await?
        }
    };
    begin(client, exchange, scope, carrier, body)
}

/// Writes the request's head to a carrier; `body`: it was received before, as a whole.
pub fn begin<E: EndpointStream>(
    client: &impl ClientStream,
    exchange: &mut Exchange,
    scope: &Arc<ResponseScope>,
    carrier: E::Carrier,
    body: Option<&WholeBody>,
) -> Result<E, Failed> {
    exchange.connected(E::is_reused(&carrier), client.now());
    exchange.request_body_again();
    let (request, worker) = (client.request(), client.worker());
    let host = exchange.endpoint().ok_or(Failure::Internal)?.authority();
    let mut edits = worker.memory.edits.take();
    exchange.request_edits(&request, request.connection(), &mut edits);
    let upgrade = request.is_upgrade() && exchange.is_upgrade();
    let mut framing = request.framing();
    if let Some(body) = body {
        edits.remove(header::EXPECT);
        // Many endpoints read no chunks.
        if body.trailers.is_empty() {
            framing = Framing::Length(body.data.len() as u64);
        }
    }
    let outgoing = OutgoingRequest { request: &request, edits: &edits, framing, host, upgrade };
    let begun = E::begin(worker, scope, carrier, &outgoing);
    worker.memory.edits.set(edits);
    begun
}

/// Waits for it within `limit`, before the request's own deadline, and unless the client goes.
pub(super) async fn in_time<T>(
    client: &mut impl ClientStream,
    connects: impl Future<Output = Result<T, Failed>>,
    limit: Duration,
) -> Result<T, Failed> {
    let (mut watch, mut connects) = (ClientWatch::default(), pin!(connects));
    client.timer().set(limit);
    let connected = poll_fn(|context| {
        if let Poll::Ready(connected) = connects.as_mut().poll(context) {
            return Poll::Ready(connected);
        }
        if let Err(error) = watch.poll(context, client) {
            return Poll::Ready(Err(Failed::of_client(Failure::ClientGone, error.to_string())));
        }
        client.timer().poll_passed(context).map(|()| Err(late(client.timer())))
    })
    .await;
    client.timer().clear();
    client.tick();
    connected
}

/// The failure when no connection was there in time.
fn late(timer: &Timer) -> Failed {
    match timer.is_at_bound() {
        true => Failed::new(Failure::RequestDeadline, "waiting for a connection".to_owned()),
        false => Failure::ConnectTimeout.into(),
    }
}
