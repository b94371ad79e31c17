//! The copy of a request to another pool (`mirror`). It goes on its way once the whole body has gone to the endpoint, and
//! nobody waits for it.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tokio::task::spawn_local;
use tokio::time::{timeout, timeout_at};

use super::attempt::INTERIM_MAX;
use crate::body::{Backlog, BodyCollector, BodySink, BodySource, ReadError, Transfer, WholeBody};
use crate::config::EndpointProtocol;
use crate::endpoint::http1::Http1Endpoint;
use crate::endpoint::http2::{Http2Endpoint, request};
use crate::endpoint::{EndpointStream, OutgoingRequest};
use crate::exchange::{Edits, Failed, Failure, FailureSide, MirrorOrder};
use crate::message::{Framing, Http2Request, RequestFields, ResponseHead};
use crate::mirror::NotMirrored;
use crate::part::Part;
use crate::pool::{
    Endpoint, FailureCause, Holds, Lease, LeaseOutcome, LeaseRequest, Leased, MayProbe, PickRequest,
    TriedEndpoints, Verdict,
};
use crate::wait_queue::LimitPermit;
use crate::worker::Worker;

/// Bytes of an answer that are read to keep its connection; a longer one ends with it.
const ANSWER_MAX: u64 = 1 << 20;

/// A copy whose body is still to come.
pub(super) struct Copying {
    /// `None`: it is on its way, or given up.
    pending: Option<Pending>,
    body: BodyCollector,
}

struct Pending {
    order: MirrorOrder,
    head: Http2Request,
}

impl Copying {
    /// Copies the head that the endpoint gets; `None`: it cannot be copied, which is counted.
    pub fn new<R: RequestFields>(order: MirrorOrder, outgoing: &OutgoingRequest<'_, R>) -> Option<Box<Self>> {
        let Ok(head) = request::head(outgoing, order.scope.pool().tls.is_some()) else {
            order.mirror.state.count_dropped(NotMirrored::Unfit, Instant::now());
            return None;
        };
        let (parts, ()) = head.into_parts();
        let announced = match outgoing.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let head = Http2Request::new(parts, outgoing.framing == Framing::None);
        Some(Box::new(Self { pending: Some(Pending { order, head }), body: BodyCollector::new(announced) }))
    }

    /// The same bytes have gone to the endpoint.
    fn add(&mut self, bytes: &[u8]) {
        let Some(Pending { order, .. }) = &self.pending else { return };
        if (self.body.length() + bytes.len()) as u64 > order.mirror.config.body_bytes {
            return self.give_up(NotMirrored::BodyTooLarge);
        }
        self.body.add(bytes);
    }

    pub fn is_given_up(&self) -> bool {
        self.pending.is_none()
    }

    /// The body is sent again from its beginning.
    pub fn restart(&mut self) {
        self.body.clear();
    }

    fn give_up(&mut self, why: NotMirrored) {
        if let Some(Pending { order, .. }) = self.pending.take() {
            order.mirror.state.count_dropped(why, Instant::now());
        }
        self.body = BodyCollector::default();
    }

    /// Sends the copy: all of the body has been added, and these trailers follow it.
    pub fn send_gathered<'a>(
        mut self: Box<Self>,
        worker: &Rc<Worker>,
        trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) {
        let mut body = std::mem::take(&mut self.body);
        body.end(trailers);
        self.send(worker, body.into_body());
    }

    /// Sends the copy with this body.
    pub fn send(mut self: Box<Self>, worker: &Rc<Worker>, body: WholeBody) {
        let Some(Pending { order, head }) = self.pending.take() else { return };
        order.mirror.state.count_sent();
        spawn_local(run(worker.clone(), order, head, body));
    }
}

/// Neither sent nor too large.
impl Drop for Copying {
    fn drop(&mut self) {
        self.give_up(NotMirrored::BodyIncomplete);
    }
}

/// The client's body on its way to the endpoint, of which a copy is kept.
pub(super) struct Tee<'a, S> {
    pub source: &'a mut S,
    pub copy: &'a mut Copying,
}

impl<S: BodySource> BodySource for Tee<'_, S> {
    const BACKLOG: Backlog = S::BACKLOG;

    fn data(&self) -> &[u8] {
        self.source.data()
    }

    fn consume(&mut self, count: usize) -> usize {
        self.copy.add(self.source.data().part(..count));
        self.source.consume(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        let taken = self.source.take(count);
        self.copy.add(&taken);
        taken
    }

    fn is_last(&self) -> bool {
        self.source.is_last()
    }

    fn is_paused(&self) -> bool {
        self.source.is_paused()
    }

    fn release(&mut self) {
        self.source.release();
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        self.source.poll_fill(context, room)
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.source.trailers()
    }
}

/// Sends a copy, and counts what comes of it.
async fn run(worker: Rc<Worker>, order: MirrorOrder, head: Http2Request, body: WholeBody) {
    let lease = match lease(&order) {
        Ok(lease) => lease,
        Err(failure) => return order.mirror.state.count_failed(failure.label(), None, Instant::now()),
    };
    let sent = match order.scope.pool().protocol {
        EndpointProtocol::Http11 => {
            send::<Http1Endpoint>(&worker, &order, &lease.of_endpoint, &head, body).await
        }
        EndpointProtocol::Http2 => {
            send::<Http2Endpoint>(&worker, &order, &lease.of_endpoint, &head, body).await
        }
    };
    let now = Instant::now();
    lease.end(&sent, &order.request_id, now);
    match sent {
        Ok(status) => order.mirror.state.count_answered(status),
        Err(Failed { failure, detail, .. }) => {
            order.mirror.state.count_failed(failure.label(), detail.as_deref(), now);
        }
    }
}

/// What a copy occupies in its pool.
struct Leases {
    of_endpoint: Lease,
    began: Instant,
    _of_pool: Option<LimitPermit>,
}

impl Leases {
    /// Ends them, and tells the mirror's pool how its endpoint did, as after a request of its own.
    fn end(mut self, sent: &Result<u16, Failed>, request_id: &str, now: Instant) {
        let failed = |cause| (Some(Verdict::Failed(cause)), LeaseOutcome::Failed);
        let (verdict, outcome) = match sent {
            Ok(status @ 500..) => failed(FailureCause::Status(*status)),
            Ok(429) => (Some(Verdict::Throttled), LeaseOutcome::Answered),
            Ok(_) => (Some(Verdict::Good), LeaseOutcome::Answered),
            Err(Failed { stale: true, .. }) => (None, LeaseOutcome::Abandoned),
            Err(Failed { failure, .. }) if failure.side() == FailureSide::Endpoint => {
                failed(FailureCause::NoAnswer(failure.label()))
            }
            Err(_) => (None, LeaseOutcome::Abandoned),
        };
        if let Some(verdict) = verdict {
            let took = now.saturating_duration_since(self.began);
            self.of_endpoint.judged(verdict, took, request_id, now);
        }
        self.of_endpoint.end(outcome);
    }
}

/// A copy waits for nothing: where there is no room, or no endpoint, it is dropped.
fn lease(order: &MirrorOrder) -> Result<Leases, Failure> {
    let (pool, now) = (&order.mirror.pool, Instant::now());
    let _alone = pool.try_alone();
    let of_pool = match pool.request_limit() {
        Some(limit) => Some(limit.take().ok_or(Failure::PoolFull)?),
        None => None,
    };
    let pick = PickRequest {
        tried: &TriedEndpoints::default(),
        key: order.key,
        sticky: None,
        may_probe: MayProbe::AtOnce,
        now,
    };
    match pool.lease(LeaseRequest { pick, holds: Holds::Stream, admitted: false }) {
        Leased::Lease { lease, .. } => Ok(Leases { of_endpoint: lease, began: now, _of_pool: of_pool }),
        Leased::NoneHealthy { .. } => Err(Failure::NoHealthyEndpoint),
        Leased::Full | Leased::EndpointsFull => Err(Failure::PoolFull),
    }
}

/// Sends a copy, reads the answer and drops it; the answer's status.
async fn send<E: EndpointStream>(
    worker: &Rc<Worker>,
    order: &MirrorOrder,
    lease: &Lease,
    head: &Http2Request,
    body: WholeBody,
) -> Result<u16, Failed> {
    let (endpoint, deadline) = (lease.endpoint(), Instant::now() + order.mirror.config.timeout);
    let carrier = match E::take_carrier(worker, endpoint, order.scope.pool(), Instant::now()) {
        Some(carrier) => carrier,
        None => connect::<E>(worker, order, endpoint).await?,
    };
    let mut edits = Edits::default();
    edits.set(http::header::HOST, order.host.as_deref().unwrap_or(endpoint.authority()));
    let framing = match RequestFields::framing(&head) {
        Framing::None => Framing::None,
        _ if body.trailers.is_empty() => Framing::Length(body.data.len() as u64),
        _ => Framing::Chunked,
    };
    let host = endpoint.authority();
    let outgoing = OutgoingRequest { request: &head, edits: &edits, framing, host, upgrade: false };
    let mut stream = E::begin(worker, &order.scope, carrier, &outgoing)?;
    lease.sent(body.data.len() as u64);
    let Ok(answered) = timeout_at(deadline.into(), answer(&mut stream, body)).await else {
        stream.timed_out();
        return Err(Failed::new(Failure::ResponseTimeout, "longer than the mirror's timeout".to_owned()));
    };
    let status = answered?;
    let mut rest = Discard::default();
    let mut download = Transfer::default();
    let mut count = |bytes: usize| {
        lease.received(bytes as u64);
        Ok(())
    };
    let read = poll_fn(|context| download.poll(context, &mut stream, &mut rest, &mut count));
    if let Ok(Ok(())) = timeout_at(deadline.into(), read).await {
        stream.finish(endpoint);
    }
    Ok(status)
}

async fn connect<E: EndpointStream>(
    worker: &Rc<Worker>,
    order: &MirrorOrder,
    endpoint: &Arc<Endpoint>,
) -> Result<E::Carrier, Failed> {
    let pool = &order.mirror.pool;
    let limit = pool.config().timeouts.connect.min(order.mirror.config.timeout);
    let connects = E::connect(worker, endpoint, pool.config(), limit);
    let connected = timeout(limit, connects).await.unwrap_or(Err(Failure::ConnectTimeout.into()));
    let (now, time) = (Instant::now(), SystemTime::now());
    match &connected {
        Ok(_) => pool.connected(endpoint, now, time),
        Err(Failed { failure: Failure::ResourcesShort, .. }) => {}
        Err(failed) if failed.failure.is_of_connect() => {
            let reason = failed.detail.as_deref().unwrap_or("no connection in time");
            pool.connect_failed(endpoint, reason, now, time);
        }
        Err(_) => {}
    }
    connected
}

/// Sends the body, as far as the endpoint takes it, and waits for the head of the final response.
async fn answer<E: EndpointStream>(stream: &mut E, mut body: WholeBody) -> Result<u16, Failed> {
    let (mut upload, mut uploaded, mut interim) = (Transfer::default(), false, 0);
    poll_fn(|context| {
        loop {
            if !uploaded {
                uploaded = upload.poll(context, &mut body, stream, &mut |_| Ok(())).is_ready();
            }
            ready!(stream.poll_response(context))?;
            let response = stream.response();
            let (status, is_interim) = (response.status(), response.is_interim());
            drop(response);
            if !is_interim && status != 101 {
                stream.begin_body();
                return Poll::Ready(Ok(status));
            }
            interim += 1;
            if status == 101 || interim > INTERIM_MAX {
                return Poll::Ready(Err(Failure::BadResponse.into()));
            }
            stream.drop_interim();
        }
    })
    .await
}

/// Takes a body and drops it.
#[derive(Default)]
struct Discard {
    taken: u64,
    done: bool,
}

impl BodySink for Discard {
    fn has_pending(&self) -> bool {
        false
    }

    fn poll_send(
        &mut self,
        _context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        let count = source.consume(source.data().len());
        self.taken += count as u64;
        if self.taken > ANSWER_MAX {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        self.done = source.has_ended();
        Poll::Ready(Ok(count))
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
