//! Opens the stream of an attempt: takes or opens what carries it, and writes the request's head.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header;

use super::ClientStream;
use super::client_watch::ClientWatch;
use super::kept::Kept;
use super::mirror::Copying;
use crate::endpoint::{EndpointStream, OutgoingRequest};
use crate::exchange::{Exchange, Failed, Failure, ResponseScope};
use crate::message::RequestFields;
use crate::mirror::NotMirrored;
use crate::telemetry::record::MirrorResult;
use crate::worker::deadline::Timer;

/// The stream to the endpoint of the exchange's attempt.
pub async fn stream<E: EndpointStream>(
    client: &mut impl ClientStream,
    exchange: &mut Exchange,
    scope: &Arc<ResponseScope>,
    kept: &mut Kept,
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
    begin(client, exchange, scope, carrier, kept)
}

/// Writes the request's head to a carrier, and copies it for the route's mirror.
pub fn begin<E: EndpointStream>(
    client: &impl ClientStream,
    exchange: &mut Exchange,
    scope: &Arc<ResponseScope>,
    carrier: E::Carrier,
    kept: &mut Kept,
) -> Result<E, Failed> {
    exchange.connected(E::is_reused(&carrier), client.now());
    exchange.request_body_again();
    let (request, worker) = (client.request(), client.worker());
    let framing = kept.framing(request.framing());
    let order = exchange.begin_mirror(&request, kept.mirrored_body(framing), client.now());
    let host = exchange.endpoint().ok_or(Failure::Internal)?.authority();
    let mut edits = worker.memory.edits.take();
    exchange.request_edits(&request, request.connection(), &mut edits);
    let upgrade = request.is_upgrade() && exchange.is_upgrade();
    if kept.body.is_some() {
        edits.remove(header::EXPECT);
    }
    let outgoing = OutgoingRequest { request: &request, edits: &edits, framing, host, upgrade };
    let mut is_unfit = false;
    if let Some(order) = order {
        kept.mirror = Copying::new(order, &outgoing);
        is_unfit = kept.mirror.is_none();
        kept.mirror_whole(worker, framing);
    }
    let begun = E::begin(worker, scope, carrier, &outgoing);
    worker.memory.edits.set(edits);
    if is_unfit {
        exchange.mirrored(MirrorResult::Dropped(NotMirrored::Unfit));
    }
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
