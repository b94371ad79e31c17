//! One attempt: sends the request to an endpoint and the response to the client, which may overlap.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::buffer::upload_failure;
use super::client_watch::ClientWatch;
use super::expectation::Expectation;
use super::hedge::{Hedge, HedgeEvent};
use super::interim::{expects_continue, flush, send_continue};
use super::kept::Kept;
use super::min_body_rate::MinBodyRate;
use super::mirror::Tee;
use super::new_body::NewSource;
use super::pace::{Pace, move_at};
use super::request::circumstances;
use super::{ClientStream, tunnel};
use crate::body::{ReadError, Transfer, TransferError, WaitsFor, WholeBody};
use crate::config::{self, Listener};
use crate::endpoint::EndpointStream;
use crate::exchange::{Exchange, Failed, Failure, ResponseAction, ResponseScope};
use crate::message::{RequestFields, ResponseHead};
use crate::mirror::NotMirrored;
use crate::routing::RequestHead;
use crate::telemetry::record::MirrorResult;

/// The most interim responses before a final one (RFC 9110, section 15.2).
pub(super) const INTERIM_MAX: usize = 20;

/// What the client has been sent so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sent {
    pub status: Option<u16>,
    pub bytes: u64,
    /// `100 Continue`.
    pub go_on: bool,
}

/// What the attempt has to act on before there is a final response.
enum Event {
    /// The head of a response, interim or final, has arrived.
    Head,
    /// That of the second attempt, which takes the place of the first.
    HedgeHead,
    /// The client waits to be told to send its body, and the endpoint says nothing.
    Silence,
}

/// The result of an attempt that got a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The client has the whole response.
    Whole,
    /// The response is not forwarded: another attempt may follow.
    Again,
}

/// What the attempt waits for now, which decides the time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    RequestBody,
    EndpointWrite,
    Response,
    ResponseBody,
    /// That the client takes the response.
    ClientRead,
    /// That more may be sent at the response's rate.
    Pace,
}

pub struct Attempt<'a, C, E: EndpointStream> {
    client: &'a mut C,
    exchange: &'a mut Exchange,
    endpoint: E,
    listener: &'a Listener,
    scope: &'a Arc<ResponseScope>,
    pool: &'a config::Pool,
    upload: Transfer,
    /// The request's body, if it was received before; shared with `kept` until a response goes to the client.
    body: Option<Box<WholeBody>>,
    kept: &'a mut Kept,
    /// The endpoint has the whole request, or takes no more of it.
    uploaded: bool,
    rate: MinBodyRate,
    /// When the attempt began, until the first deadline is set from it.
    began: Option<Instant>,
    /// `retry.attempt_timeout`, and when it is over; later for each piece that the client sends of its body.
    attempt_limit: Option<(Duration, Instant)>,
    waits: Waits,
    client_watch: ClientWatch,
    expectation: Expectation,
    interim: usize,
    /// A second attempt, under way or due; `None`: there is none.
    hedge: Option<Box<Hedge<E>>>,
    /// What the client gets in the place of the endpoint's body.
    new_body: Option<Box<NewSource>>,
    /// `None`: the response is as fast as both sides are.
    pace: Option<Box<Pace>>,
}

impl<'a, C: ClientStream, E: EndpointStream> Attempt<'a, C, E> {
    pub fn new(
        client: &'a mut C,
        exchange: &'a mut Exchange,
        endpoint: E,
        listener: &'a Listener,
        scope: &'a Arc<ResponseScope>,
        kept: &'a mut Kept,
    ) -> Self {
        let limit = exchange.attempt_timeout().zip(exchange.attempt_began());
        Self {
            began: Some(client.now()),
            attempt_limit: limit.and_then(|(limit, began)| Some((limit, began.checked_add(limit)?))),
            hedge: Hedge::of(client, exchange),
            client,
            exchange,
            endpoint,
            listener,
            scope,
            pool: scope.pool(),
            upload: Transfer::default(),
            body: kept.body.clone(),
            kept,
            uploaded: false,
            rate: MinBodyRate::new(listener.limits.body_rate),
            waits: Waits::Nothing,
            client_watch: ClientWatch::default(),
            expectation: Expectation::default(),
            interim: 0,
            new_body: None,
            pace: None,
        }
    }

    /// Sends the request, and forwards the response unless it is to be retried or refused.
    pub async fn run(&mut self, sent: &mut Sent) -> Result<Answered, Failed> {
        let answered = self.response(sent).await;
        let now = self.client.tick();
        answered?;
        let (status, circumstances) =
            (self.status(), circumstances(self.client, self.kept.body.is_some(), false));
        let response = self.endpoint.response();
        let after = if status >= 500 { retry_after(&response) } else { None };
        let action = self.exchange.response_head(status, after, circumstances, now);
        drop(response);
        match action {
            ResponseAction::Forward => self.forward_response(sent).await.map(|()| Answered::Whole),
            ResponseAction::Retry => Ok(Answered::Again),
            ResponseAction::Refuse(failure) => Err(failure.into()),
        }
    }

    /// The status of the response whose head has arrived.
    fn status(&self) -> u16 {
        self.endpoint.response().status()
    }

    /// Sends the request, as far as the endpoint takes it, and reads the final response's head. Forwards interim
    /// responses.
    async fn response(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        if !sent.go_on && expects_continue(self.client) {
            match E::ASKS_FOR_BODY {
                true => self.expectation.begin(),
                false => Box::pin(self.send_continue(sent)).await?,
            }
        }
        loop {
            // Boxed because interim responses are rare.
            match poll_fn(|context| self.poll_response(context)).await {
                Ok(Event::Silence) => Box::pin(self.send_continue(sent)).await?,
                Ok(Event::Head) if self.endpoint.response().is_interim() => {
                    Box::pin(self.pass_interim(sent)).await?;
                }
                Ok(Event::Head) if self.hedge.is_none() || self.beats_hedge() => break,
                Ok(Event::HedgeHead) => {
                    self.exchange.overtaken(self.client.tick());
                    self.follow_hedge();
                    break;
                }
                Err(failed) if self.hedge.is_none() || !self.leaves_to_hedge(&failed) => return Err(failed),
                // The second attempt goes on alone.
                Ok(Event::Head) | Err(_) => self.follow_hedge(),
            }
        }
        self.client.timer().clear();
        let judged = match self.status() {
            101 => self.check_switch().map_err(str::to_owned),
            _ => self.client.judge(&self.endpoint.response()),
        };
        judged.map_err(|reason| Failed::new(Failure::BadResponse, reason))
    }

    /// Checks a response by which the endpoint switches protocols.
    fn check_switch(&self) -> Result<(), &'static str> {
        if !self.uploaded {
            return Err("the endpoint switches protocols before it has the whole request");
        }
        let (request, response) = (self.client.request(), self.endpoint.response());
        let fields: Vec<_> = response.fields().collect();
        self.exchange.check_switch(request.websocket_key(), fields.iter().copied())
    }

    async fn pass_interim(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        self.interim += 1;
        if self.interim > INTERIM_MAX {
            return Err(Failed::new(Failure::BadResponse, "too many interim responses".to_owned()));
        }
        if self.status() == 100 {
            self.expectation.end();
            if std::mem::replace(&mut sent.go_on, true) {
                self.endpoint.drop_interim();
                self.waits = Waits::Nothing;
                return Ok(());
            }
        }
        let worker = self.client.worker().clone();
        let mut edits = worker.memory.edits.take();
        let response = self.endpoint.response();
        self.exchange.response_edits(response.status(), || response.fields(), &mut edits);
        self.client.send_interim(&response, &edits);
        worker.memory.edits.set(edits);
        drop(response);
        self.endpoint.drop_interim();
        self.flush().await
    }

    async fn send_continue(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        self.waits = Waits::Nothing;
        send_continue(self.client, sent, self.listener.timeouts.write).await
    }

    /// Waits until the interim responses have been sent.
    async fn flush(&mut self) -> Result<(), Failed> {
        self.waits = Waits::Nothing;
        flush(self.client, self.listener.timeouts.write).await
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Failed>> {
        self.upload.moved = false;
        self.poll_upload(context)?;
        let may_read = self.client.poll_read_permit(context).is_ready();
        if may_read {
            if let Poll::Ready(response) = self.endpoint.poll_response(context) {
                return Poll::Ready(response.map(|()| Event::Head));
            }
            if let Poll::Ready(()) = self.poll_hedge(context) {
                return Poll::Ready(Ok(Event::HedgeHead));
            }
            self.client.source_idle(E::BACKLOG);
        }
        if self.upload.delivered > 0 {
            self.expectation.end();
        }
        if self.expectation.poll_due(context).is_ready() {
            return Poll::Ready(Ok(Event::Silence));
        }
        if self.uploaded || self.upload.waits_for == WaitsFor::Sink {
            self.poll_gone(context)?;
        }
        let waits = match self.upload.waits_for {
            _ if !may_read => Waits::ClientRead,
            _ if self.uploaded => Waits::Response,
            WaitsFor::Source => Waits::RequestBody,
            WaitsFor::Sink => Waits::EndpointWrite,
        };
        self.set_deadline(waits, self.upload.moved);
        ready!(self.client.timer().poll_passed(context));
        Poll::Ready(Err(self.deadline_failure()))
    }

    /// Ready when the second attempt has got a response for the client.
    fn poll_hedge(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(hedge) = &mut self.hedge else { return Poll::Pending };
        match hedge.poll(context, self.client, self.exchange, self.scope) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(HedgeEvent::Head) => Poll::Ready(()),
            Poll::Ready(HedgeEvent::Over) => {
                self.hedge = None;
                Poll::Pending
            }
        }
    }

    /// Whether the response that has arrived goes to the client, so that the second attempt is given up. If not, it has
    /// counted as failed.
    fn beats_hedge(&mut self) -> bool {
        let (status, now) = (self.status(), self.client.tick());
        if status >= 500 && self.hedge.as_ref().is_some_and(|hedge| hedge.is_sent()) {
            self.exchange.answers_badly_beside(status, now);
            return false;
        }
        self.drop_hedge(now);
        true
    }

    /// Whether the second attempt goes on alone after a failure of the first. If not, it is given up.
    fn leaves_to_hedge(&mut self, failed: &Failed) -> bool {
        let now = self.client.tick();
        let ends_both = failed.of_client || failed.failure == Failure::RequestDeadline;
        if !ends_both && self.hedge.as_ref().is_some_and(|hedge| hedge.is_sent()) {
            self.exchange.fails_beside(failed.failure, failed.detail.as_deref(), failed.stale, now);
            return true;
        }
        self.drop_hedge(now);
        false
    }

    fn drop_hedge(&mut self, now: Instant) {
        self.hedge = None;
        if self.exchange.is_hedged() {
            self.exchange.switch_attempts();
            self.exchange.overtaken(now);
        }
    }

    /// Puts the second attempt in the place of the first, which ends with its stream.
    fn follow_hedge(&mut self) {
        if let Some((endpoint, upload)) = self.hedge.take().and_then(|hedge| hedge.into_stream()) {
            (self.endpoint, self.upload) = (endpoint, upload);
            self.uploaded = false;
            self.waits = Waits::Nothing;
        }
    }

    /// Moves the request's body on.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<(), Failed> {
        if self.uploaded {
            return Ok(());
        }
        let Self { upload, client, body, kept, endpoint, exchange, .. } = self;
        let mut count = |bytes| exchange.request_body(bytes);
        let moved = match (body, &mut kept.mirror) {
            (None, None) => upload.poll(context, *client, endpoint, &mut count),
            (Some(body), _) => upload.poll(context, &mut **body, endpoint, &mut count),
            (None, Some(copy)) => {
                upload.poll(context, &mut Tee { source: *client, copy }, endpoint, &mut count)
            }
        };
        if self.kept.mirror.is_some() {
            self.go_on_mirroring(matches!(moved, Poll::Ready(Ok(()))));
        }
        match moved {
            Poll::Pending => Ok(()),
            // An endpoint that takes no more of the body may have answered.
            Poll::Ready(Ok(()) | Err(TransferError::Sink(_))) => {
                (self.uploaded, self.body) = (true, None);
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(upload_failure(error)),
        }
    }

    /// Sends the copy for the mirror once the endpoint has the whole body, or forgets that it is too large.
    fn go_on_mirroring(&mut self, is_whole: bool) {
        let is_given_up = self.kept.mirror.as_ref().is_some_and(|copying| copying.is_given_up());
        if is_given_up {
            self.kept.mirror = None;
            self.exchange.mirrored(MirrorResult::Dropped(NotMirrored::BodyTooLarge));
        } else if is_whole && let Some(copying) = self.kept.mirror.take() {
            copying.send_gathered(self.client.worker(), self.client.trailers());
            self.exchange.mirrored(MirrorResult::Sent);
        }
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Result<(), Failed> {
        let gone = self.client_watch.poll(context, self.client);
        gone.map_err(|error| Failed::of_client(Failure::ClientGone, error.to_string()))
    }

    /// Sets the deadline anew if bytes have moved or something else is waited for.
    fn set_deadline(&mut self, waits: Waits, moved: bool) {
        if waits == self.waits && !moved {
            return;
        }
        self.waits = waits;
        let now = self.began.take().unwrap_or_else(Instant::now);
        let (of_client, of_endpoint) = (&self.listener.timeouts, &self.pool.timeouts);
        if waits != Waits::RequestBody {
            self.rate.stop(now);
        }
        let limit = match waits {
            Waits::RequestBody => {
                if let Some((limit, until)) = &mut self.attempt_limit {
                    *until = (now + *limit).max(*until);
                }
                self.rate.wait(now, self.upload.delivered, of_client.body)
            }
            Waits::EndpointWrite => self.in_attempt(now, of_endpoint.write),
            Waits::Nothing | Waits::Response => self.in_attempt(now, of_endpoint.response),
            Waits::ResponseBody => of_endpoint.idle,
            Waits::ClientRead => of_client.write,
            Waits::Pace => Duration::MAX,
        };
        self.client.timer().set_from(now, limit);
    }

    /// A limit for the endpoint, within what is left of the attempt's own.
    fn in_attempt(&self, now: Instant, limit: Duration) -> Duration {
        self.attempt_limit.map_or(limit, |(_, until)| limit.min(until.saturating_duration_since(now)))
    }

    /// The failure that a passed deadline means.
    fn deadline_failure(&mut self) -> Failed {
        let whole = self.client.timer().is_at_bound();
        match self.waits {
            Waits::RequestBody | Waits::ClientRead | Waits::Pace => {}
            _ if whole => self.endpoint.request_timed_out(),
            _ => self.endpoint.timed_out(),
        }
        if whole {
            return self.request_deadline_failure();
        }
        let is_endpoints = matches!(self.waits, Waits::EndpointWrite | Waits::Nothing | Waits::Response);
        if is_endpoints && self.attempt_limit.is_some_and(|(_, until)| until <= Instant::now()) {
            return Failed::new(Failure::ResponseTimeout, "longer than retry.attempt_timeout".to_owned());
        }
        match self.waits {
            Waits::RequestBody => self.rate.failure(Instant::now(), self.listener.timeouts.body),
            Waits::EndpointWrite => Failure::RequestWriteTimeout.into(),
            Waits::Nothing | Waits::Response => Failure::ResponseTimeout.into(),
            Waits::ResponseBody | Waits::Pace => {
                Failed::new(Failure::ResponseCut, "nothing came for too long".to_owned())
            }
            Waits::ClientRead => Failed::of_client(Failure::ClientStalled, None),
        }
    }

    /// The failure when the time for the whole request is over.
    fn request_deadline_failure(&self) -> Failed {
        let waited_for = match self.waits {
            Waits::RequestBody => "waiting for the request's body",
            Waits::EndpointWrite => "waiting for the endpoint to take the request",
            Waits::Nothing | Waits::Response => "waiting for the response",
            Waits::ResponseBody => "waiting for the rest of the response",
            Waits::ClientRead => "waiting for the client to take the response",
            Waits::Pace => "sending the response at limits.response_rate",
        };
        let of_client = matches!(self.waits, Waits::RequestBody | Waits::ClientRead | Waits::Pace);
        Failed { of_client, ..Failed::new(Failure::RequestDeadline, waited_for.to_owned()) }
    }

    /// Forwards the response whose head has arrived.
    async fn forward_response(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        if self.status() == 101 {
            // Boxed to keep the future of other responses small.
            return Box::pin(self.switch_protocols(sent)).await;
        }
        self.send_head(sent)?;
        let mut download = Transfer::default();
        self.waits = Waits::Nothing;
        let delivered = poll_fn(|context| self.poll_forward_response(context, &mut download)).await;
        self.client.timer().clear();
        self.client.tick();
        sent.bytes = download.delivered;
        if let Some(body) = &self.new_body {
            self.exchange.encoded(body.plain_bytes());
        }
        delivered?;
        self.exchange.grpc_status(self.endpoint.trailers());
        Ok(())
    }

    /// Gives the endpoint's connection back if the client has the whole response.
    pub fn finish(self, answered: &Result<Answered, Failed>) {
        if let (Ok(Answered::Whole), Some(endpoint)) = (answered, self.exchange.endpoint()) {
            self.endpoint.finish(endpoint);
        }
    }

    /// Sends the response's head to the client.
    fn send_head(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        let worker = self.client.worker().clone();
        let mut edits = worker.memory.edits.take();
        let response = self.endpoint.response();
        let (mut onward, is_head) = {
            let head = self.client.request();
            (response.onward(head.method(), head.version()), head.method() == "HEAD")
        };
        self.exchange.grpc_status(response.fields());
        self.exchange.capture_response(|| response.fields());
        self.exchange.response_edits(response.status(), || response.fields(), &mut edits);
        let length = onward.length(is_head);
        if let Some(body) =
            self.exchange.new_body(response.status(), length, || response.fields(), &mut edits)
        {
            let body = Box::new(NewSource::new(body)?);
            onward = body.onward(onward, is_head);
            self.new_body = Some(body);
        }
        sent.status = Some(response.status());
        self.client.send_head(&response, &edits, onward);
        worker.memory.edits.set(edits);
        drop(response);
        self.endpoint.begin_body();
        self.pace = self.exchange.response_rate().map(|rate| Box::new(Pace::new(rate, Instant::now())));
        self.exchange.release_snapshot();
        // No other attempt can follow.
        self.kept.body = None;
        Ok(())
    }

    /// The endpoint has agreed to another protocol.
    async fn switch_protocols(&mut self, sent: &mut Sent) -> Result<(), Failed> {
        let worker = self.client.worker().clone();
        let mut edits = worker.memory.edits.take();
        let response = self.endpoint.response();
        let is_websocket = is_websocket(response.fields());
        self.exchange.capture_response(|| response.fields());
        self.exchange.response_edits(response.status(), || response.fields(), &mut edits);
        sent.status = Some(self.client.switch_protocols(&response, &edits));
        worker.memory.edits.set(edits);
        drop(response);
        self.endpoint.switch_protocols();
        self.exchange.release_snapshot();
        self.client.timer().bound(None);
        self.flush().await?;
        self.tunnel(sent, is_websocket).await
    }

    fn poll_forward_response(
        &mut self,
        context: &mut Context<'_>,
        download: &mut Transfer,
    ) -> Poll<Result<(), Failed>> {
        (download.moved, self.upload.moved) = (false, false);
        if let Poll::Ready(done) = self.poll_download(context, download) {
            return Poll::Ready(done);
        }
        if !self.uploaded && self.poll_upload(context).is_err() {
            // The endpoint has answered already, so a broken upload must not cut the response.
            self.uploaded = true;
        }
        if self.uploaded || self.upload.waits_for == WaitsFor::Sink {
            self.poll_gone(context)?;
        }
        let (waits, moved) = match download.waits_for {
            WaitsFor::Source if self.pace.as_ref().is_some_and(|pace| pace.is_paused()) => {
                (Waits::Pace, download.moved)
            }
            WaitsFor::Source => (Waits::ResponseBody, download.moved || self.upload.moved),
            // Upload progress does not extend the time that the client has for reading.
            WaitsFor::Sink => (Waits::ClientRead, download.moved),
        };
        // Set only here: nearly every response is sent at once, and needs no deadline.
        self.set_deadline(waits, moved);
        ready!(self.client.timer().poll_passed(context));
        Poll::Ready(Err(self.deadline_failure()))
    }

    fn poll_download(
        &mut self,
        context: &mut Context<'_>,
        download: &mut Transfer,
    ) -> Poll<Result<(), Failed>> {
        let Self { client, endpoint, exchange, pace, .. } = self;
        let mut count = |bytes| {
            exchange.response_body(bytes);
            Ok(())
        };
        let moved = match &mut self.new_body {
            None => move_at(pace, download, context, endpoint, *client, &mut count),
            Some(body) => body.poll(pace, context, download, endpoint, *client, &mut count),
        };
        moved.map_err(|error| match error {
            TransferError::Source(ReadError::Cut(reason)) => {
                let reason = reason.unwrap_or_else(|| "closed in the middle of its body".to_owned());
                Failed::new(Failure::ResponseCut, reason)
            }
            TransferError::Source(ReadError::Malformed(reason)) => Failed::new(Failure::ResponseCut, reason),
            TransferError::Sink(error) => Failed::of_client(Failure::ClientGone, error.to_string()),
            TransferError::Refused(failure) => failure.into(),
        })
    }

    async fn tunnel(&mut self, sent: &mut Sent, is_websocket: bool) -> Result<(), Failed> {
        let idle = self.pool.timeouts.tunnel;
        let passed = tunnel::run(self.client, &mut self.endpoint, is_websocket, idle).await;
        // A tunnel has no limit for its bytes.
        let _ = self.exchange.request_body(usize::try_from(passed.from_client).unwrap_or(usize::MAX));
        self.exchange.response_body(usize::try_from(passed.from_endpoint).unwrap_or(usize::MAX));
        sent.bytes = passed.from_endpoint;
        self.client.tick();
        passed.aborted.map_or(Ok(()), |reason| Err(Failed::new(Failure::ResponseCut, reason)))
    }
}

fn retry_after(response: &impl ResponseHead) -> Option<&[u8]> {
    response.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"retry-after")).map(|(_, value)| value)
}

/// Whether the endpoint has switched to WebSocket.
fn is_websocket<'a>(mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    fields.any(|(name, value)| {
        name.eq_ignore_ascii_case(b"upgrade") && value.trim_ascii().eq_ignore_ascii_case(b"websocket")
    })
}
