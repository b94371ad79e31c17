//! One request from its head to its record: asks `exchange` what to do, and does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::connection::Client;
use crate::client::handover;
use crate::client::handover::Judged;
use crate::config::{self, Listener};
use crate::endpoint::idle_pool::Connection;
use crate::exchange::{
    Arrival, Circumstances, Exchange, Failure, Head, Next, OwnListener, RequestScope, Tracked,
};
use crate::forward::attempt::{self, Attempt, Failed};
use crate::forward::local_reply;
use crate::forward::pump::Pump;
use crate::forward::response::{self, Delivered, Passage};
use crate::http1::framing::{Framing, Version};
use crate::http1::head::{HeadRoom, RequestView, Response};
use crate::http1::write::{self, RequestForm, ResponseForm};
use crate::http1::{chunked, head};
use crate::net::buffer::Buffer;
use crate::pool::{Endpoint, Wait};
use crate::telemetry::record::Protocol;
use crate::worker::Worker;

/// Room before a response, so that its head, which grows on the way, can go out in one piece with the body.
const GAP: usize = 512;

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    Close,
    /// Close, but let the client read the answer first: it may still be sending.
    Linger,
    /// End it so that nobody takes what was sent for whole.
    Abort,
}

/// What the request's head says about its way.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub version: Version,
    pub framing: Framing,
    pub keep_alive: bool,
    pub upgrade: bool,
}

/// What the client has been sent.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sent {
    pub status: Option<u16>,
    pub bytes: u64,
}

/// What came of an attempt.
enum Outcome {
    Served(After),
    Again,
    Failed(Failure, Option<String>),
}

/// Who serves a request.
pub enum Served {
    Here(After),
    /// Its endpoints speak HTTP/2.
    Elsewhere(Box<Judged>),
}

/// Serves the request whose head is in `client`, unless it is for the other carrier.
pub async fn request(client: &mut Client, scope: Arc<RequestScope>) -> Served {
    let own = scope.listener().clone();
    let mut tracked = begin(client, scope);
    let mut sent = Sent::default();
    let after = match admit(client, &mut tracked) {
        Ok(()) => {
            client.timer.bound(tracked.deadline());
            serve(client, own, &mut tracked, &mut sent).await
        }
        Err((failure, detail)) => {
            Some(local_reply::send(client, &own, &mut tracked, &mut sent, failure, detail).await)
        }
    };
    client.timer.bound(None);
    let Some(after) = after else {
        let framing = client.view().framing();
        return Served::Elsewhere(Box::new(Judged { tracked, framing, head_length: 0 }));
    };
    tracked.finish(sent.status, sent.bytes, client.now);
    Served::Here(after)
}

fn admit(client: &mut Client, tracked: &mut Tracked) -> Result<(), (Failure, Option<String>)> {
    let plain = |failure| (failure, None);
    if let Some(path) = tracked.normal_path(&client.view()).map_err(plain)? {
        let HeadRoom { request, head, .. } = client.room();
        request.set_path(head.bytes(), &path);
    }
    let view = client.view();
    tracked.admit(&view, view.sizes()).map_err(plain)?;
    fits_handover(client, tracked)?;
    // What came with the head is judged before an endpoint hears of it.
    match view.framing() {
        Framing::Chunked => chunked::check(client.input.bytes())
            .map_err(|error| (Failure::BadRequest, Some(error.to_string()))),
        _ => Ok(()),
    }
}

fn fits_handover(client: &Client, tracked: &Tracked) -> Result<(), (Failure, Option<String>)> {
    if tracked.speaks_http2() && client.view().fields().nth(handover::FIELDS_MAX).is_some() {
        let why = format!("more than {} fields for an HTTP/2 endpoint", handover::FIELDS_MAX);
        return Err((Failure::HeadersTooLarge, Some(why)));
    }
    Ok(())
}

/// Answers a request whose head was refused; it has its line in the log like any other.
pub async fn refused(client: &mut Client, scope: Arc<RequestScope>, refusal: head::Refusal) -> After {
    let own = scope.listener().clone();
    let mut tracked = begin(client, scope);
    let mut sent = Sent::default();
    let detail = Some(refusal.reason.to_owned());
    local_reply::send(client, &own, &mut tracked, &mut sent, refusal.failure, detail).await;
    tracked.finish(sent.status, sent.bytes, client.now);
    After::Linger
}

fn begin(client: &Client, scope: Arc<RequestScope>) -> Tracked {
    let view = client.view();
    let arrival = Arrival {
        head: &view,
        identity: client.identity.clone(),
        secured: client.secured.clone(),
        protocol: match view.version() {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
        },
        target: view.target(),
        upgrade: view.is_upgrade(),
        short_of_memory: client.worker.lifecycle.is_short_of_memory(),
        now: client.now,
        time: client.worker.clock.time_of_day(client.now),
    };
    Tracked::new(Exchange::begin(scope, arrival))
}

/// `None`: it is for the other carrier.
async fn serve(
    client: &mut Client,
    mut listener: Arc<OwnListener>,
    tracked: &mut Tracked,
    sent: &mut Sent,
) -> Option<After> {
    let manner = Manner::of(&client.view());
    loop {
        if tracked.speaks_http2() {
            return None;
        }
        let (failure, detail) = match tracked.next(client.now) {
            Next::Attempt => match attempt(client, &listener, manner, tracked, sent).await {
                Outcome::Served(after) => return Some(after),
                Outcome::Again => continue,
                Outcome::Failed(failure, detail) => (failure, detail),
            },
            // Boxed to keep the common future small.
            Next::Wait(wait, limit) => {
                match Box::pin(wait_for_endpoint(client, &mut listener, manner, tracked, (wait, limit))).await
                {
                    Ok(()) => continue,
                    Err((Failure::ClientGone, _)) => {
                        tracked.failed(Failure::ClientGone, None);
                        return Some(After::Close);
                    }
                    Err(refused) => refused,
                }
            }
            Next::Fail(failure) => (failure, None),
        };
        return Some(local_reply::send(client, &listener, tracked, sent, failure, detail).await);
    }
}

/// Waits until there may be an endpoint, unless the config in force says something else about the request than its own.
async fn wait_for_endpoint(
    client: &mut Client,
    listener: &mut Arc<OwnListener>,
    manner: Manner,
    tracked: &mut Tracked,
    (wait, limit): (Wait, Duration),
) -> Result<(), (Failure, Option<String>)> {
    if let Some(in_force) = client.in_force() {
        *listener = in_force.listener().clone();
        let decided = tracked.decide_anew(in_force, &client.view(), client.now);
        if decided.map_err(|failure| (failure, None))? {
            client.timer.bound(tracked.deadline());
            return fits_handover(client, tracked);
        }
    }
    let gone = tokio::select! {
        _ = wait.until_available(limit) => false,
        () = client.gone(), if manner.framing == Framing::None => true,
    };
    client.now = Instant::now();
    if gone { Err((Failure::ClientGone, None)) } else { Ok(()) }
}

impl Manner {
    fn of(view: &RequestView<'_>) -> Self {
        Self {
            version: view.version(),
            framing: view.framing(),
            keep_alive: view.keep_alive(),
            upgrade: view.is_upgrade(),
        }
    }
}

async fn attempt(
    client: &mut Client,
    listener: &Listener,
    manner: Manner,
    tracked: &mut Tracked,
    sent: &mut Sent,
) -> Outcome {
    let (Some(endpoint), Some(scope)) = (tracked.endpoint(), tracked.response_scope().cloned()) else {
        return Outcome::Failed(Failure::Internal, None);
    };
    let pool = scope.pool();
    let connection = match connection(client, endpoint, pool).await {
        Ok(connection) => connection,
        Err(failed) => return failure(tracked, failed, true, false, client.now),
    };
    let mut passage = passage(client, tracked, manner, connection);
    if let Err(failed) = answered(client, listener, tracked, pool, &mut passage).await {
        let (replayable, reused) = (passage.upload.can_begin_again(), passage.connection.reused);
        let outcome = failure(tracked, failed, replayable, reused, client.now);
        return again(client, passage, outcome);
    }
    let replayable = passage.upload.can_begin_again();
    let circumstances = Circumstances { replayable, reused: false, response_begun: false };
    let status = passage.response.view(passage.answer.bytes()).status();
    match tracked.response_head(status, circumstances, client.now) {
        Head::Forward => {}
        Head::Retry => return again(client, passage, Outcome::Again),
        Head::Refuse(refused) => {
            let failed = Failed { failure: refused, detail: None, answered: true, client_waited_for: false };
            let outcome = failure(tracked, failed, false, false, client.now);
            return again(client, passage, outcome);
        }
    }
    match response::deliver(client, listener, tracked, sent, pool, &mut passage).await {
        Delivered::Whole { reusable, keep } => {
            let endpoint = tracked.endpoint().filter(|_| reusable);
            Outcome::Served(passage.finish(client, pool, endpoint, keep))
        }
        Delivered::Over(after) => Outcome::Served(after),
    }
}

/// What the attempt takes: a connection, and memory for both heads.
fn passage(client: &mut Client, tracked: &mut Tracked, manner: Manner, connection: Connection) -> Passage {
    tracked.connected(connection.reused, client.now);
    tracked.request_body_again();
    let upload = upload(client, tracked, manner);
    let mut answer = Buffer::default();
    answer.leave_gap(GAP);
    let response = client.worker.response();
    Passage { connection, answer, response, length: 0, upload, uploaded: false, manner }
}

/// Sends the request, and reads the head of its response.
async fn answered(
    client: &mut Client,
    listener: &Listener,
    tracked: &mut Tracked,
    pool: &config::Pool,
    passage: &mut Passage,
) -> Result<(), Failed> {
    let limits = attempt::Limits { endpoint: &pool.timeouts, listener };
    let (began, worker, manner) = (client.now, client.worker.clone(), passage.manner);
    let Passage { connection, answer, response, upload, .. } = passage;
    let mut carried = Attempt::new(client.side(), connection, answer, upload, limits, began);
    let mut interim =
        |tracked: &Tracked, head: &Response, bytes: &[u8]| interim(&worker, tracked, manner, head, bytes);
    let length = carried.response(response, tracked, &mut interim).await;
    passage.uploaded = carried.uploaded;
    client.now = Instant::now();
    passage.length = length?;
    Ok(())
}

async fn connection(
    client: &mut Client,
    endpoint: &Arc<Endpoint>,
    pool: &config::Pool,
) -> Result<Connection, Failed> {
    if let Some(connection) = client.worker.kept.take(endpoint, &pool.tls, client.now) {
        return Ok(connection);
    }
    // In a box, so that those who need no new one do not carry the room for it along.
    let opened = Box::pin(attempt::connect(&client.worker.kept, endpoint, pool, &client.timer)).await;
    client.now = Instant::now();
    opened
}

fn failure(tracked: &mut Tracked, failed: Failed, replayable: bool, reused: bool, now: Instant) -> Outcome {
    if failed.client_waited_for {
        return Outcome::Failed(failed.failure, failed.detail);
    }
    let circumstances =
        Circumstances { replayable, reused: reused && !failed.answered, response_begun: false };
    if tracked.attempt_failed(failed.failure, failed.detail.as_deref(), circumstances, now) {
        Outcome::Again
    } else {
        Outcome::Failed(failed.failure, failed.detail)
    }
}

/// Gives back what the attempt has taken: its memory, and the body's begin, if there is to be another attempt.
fn again(client: &mut Client, passage: Passage, outcome: Outcome) -> Outcome {
    let Passage { response, mut answer, mut upload, .. } = passage;
    client.worker.give_back_response(response);
    client.worker.give_back(answer.release());
    if let (Outcome::Again, Some(taken)) = (&outcome, upload.begin_again())
        && !taken.is_empty()
    {
        client.input.prepend(&taken);
    }
    client.room().out = upload.into_memory();
    outcome
}

/// The request on its way to the endpoint; what may be sent again is kept.
fn upload(client: &mut Client, tracked: &Tracked, manner: Manner) -> Pump {
    let head = request_head(client, tracked, manner);
    let upload = Pump::new(manner.framing, manner.framing, head);
    if manner.framing == Framing::None || !tracked.is_idempotent() { upload } else { upload.keeping() }
}

fn request_head(client: &mut Client, tracked: &Tracked, manner: Manner) -> Vec<u8> {
    let mut out = std::mem::take(&mut client.room().out);
    out.clear();
    let view = client.view();
    let mut edits = client.worker.edits.take();
    tracked.request_edits(&view, view.connection(), &mut edits);
    let form = RequestForm {
        edits: &edits,
        framing: manner.framing,
        upgrade: manner.upgrade,
        trailers: view.takes_trailers(),
        host: tracked.endpoint().map_or("", |endpoint| endpoint.written()),
    };
    write::request(&mut out, view, &form);
    client.worker.edits.set(edits);
    out
}

/// An interim response as the client is to see it; an HTTP/1.0 client knows none (RFC 9110, section 15.2).
fn interim(
    worker: &Worker,
    tracked: &Tracked,
    manner: Manner,
    head: &Response,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    if manner.version == Version::Http10 {
        return None;
    }
    let mut out = Vec::new();
    let view = head.view(bytes);
    let mut edits = worker.edits.take();
    tracked.response_edits(view.status(), || view.fields(), &mut edits);
    let form = ResponseForm {
        edits: &edits,
        framing: Framing::None,
        connection: write::Connection::Silent,
        date: None,
    };
    write::response(&mut out, view, &form);
    worker.edits.set(edits);
    Some(out)
}
