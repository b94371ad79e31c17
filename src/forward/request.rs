//! One request from its head to its record: attempts and local replies, as `exchange` decides.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::attempt::{Answered, Attempt, Sent};
use super::client_watch::ClientWatch;
use super::kept::Kept;
use super::{ClientStream, Ending, open};
use crate::auth::Check;
use crate::body::{Backlog, ReadError};
use crate::endpoint::EndpointStream;
use crate::endpoint::http1::Http1Endpoint;
use crate::endpoint::http2::Http2Endpoint;
use crate::exchange::{
    Admitted, Arrival, Circumstances, Exchange, Failed, Failure, Next, OwnListener, RequestScope,
    ResponseScope,
};
use crate::message::{Framing, RequestFields, Version};
use crate::pool::Wait;
use crate::telemetry::record::Protocol;

/// Longer than any check of a route's authentication, which have limits of their own.
const CHECK_MAX: Duration = Duration::from_secs(24 * 3600);

/// A request that is being served.
pub(super) struct Request<'a, C> {
    pub client: &'a mut C,
    pub listener: Arc<OwnListener>,
    pub exchange: Exchange,
    pub sent: Sent,
    pub kept: Kept,
}

/// The result of an attempt.
enum Outcome {
    Ended(Ending),
    /// Another attempt may follow.
    Again,
    /// No other attempt may follow.
    Failed(Failed),
    /// The response broke off after the client got its head.
    Cut(Failed),
}

/// Serves a request to its end.
pub async fn serve(client: &mut impl ClientStream, scope: Arc<RequestScope>) -> Ending {
    let mut request = Request::begin(client, scope);
    let mut admitted = request.admit();
    if let Ok(Admitted::Authenticate(check)) = admitted {
        // Boxed to keep the common future small.
        admitted = Box::pin(request.authenticate(check)).await;
    }
    let ending = match admitted {
        Ok(Admitted::Forward) => {
            request.bound_timer();
            request.run_attempts().await
        }
        Ok(Admitted::Reply(reply)) => Box::pin(request.reply(reply)).await,
        Ok(Admitted::Authenticate(_)) => Box::pin(request.fail(Failure::Internal.into())).await,
        Err(failed) => Box::pin(request.fail(failed)).await,
    };
    request.finish();
    ending
}

/// Answers a request whose head was refused, and logs it like any other.
pub async fn refuse(client: &mut impl ClientStream, scope: Arc<RequestScope>, failed: Failed) -> Ending {
    client.close_behind();
    let mut request = Request::begin(client, scope);
    let ending = request.fail(failed).await;
    request.finish();
    ending
}

impl<'a, C: ClientStream> Request<'a, C> {
    fn begin(client: &'a mut C, scope: Arc<RequestScope>) -> Self {
        let listener = scope.listener().clone();
        let (head, now) = (client.request(), client.now());
        let arrival = Arrival {
            head: &head,
            identity: client.identity().clone(),
            tls_info: client.tls_info().cloned(),
            protocol: match head.version() {
                Version::Http10 => Protocol::Http10,
                Version::Http11 => Protocol::Http11,
                Version::Http2 => Protocol::Http2,
            },
            target: head.target(),
            upgrade: head.is_upgrade(),
            short_of_memory: client.worker().lifecycle.is_short_of_memory(),
            now,
            time: client.worker().clock.time_of_day(now),
        };
        let mut exchange = Exchange::begin(scope, arrival);
        drop(head);
        if let Some(queued) = client.queued() {
            exchange.record_queue_time(queued);
            client.tick();
        }
        Self { client, listener, exchange, sent: Sent::default(), kept: Kept::default() }
    }

    fn admit(&mut self) -> Result<Admitted, Failed> {
        let path = self.exchange.normalize_path(&self.client.request())?;
        if let Some(path) = path
            && !self.client.set_path(&path)
        {
            return Err(Failed::new(Failure::BadRequest, "its path has no normal form".to_owned()));
        }
        let admitted = {
            let head = self.client.request();
            self.exchange.admit(&head, head.sizes())?
        };
        self.client.check_body().map_err(|reason| Failed::new(Failure::BadRequest, reason))?;
        if let Admitted::Forward = admitted {
            self.put_new_path()?;
            self.check_protocols()?;
        }
        Ok(admitted)
    }

    /// Puts the path there that the endpoint gets, if the route rewrites it, and withholds what the route sets from
    /// trailers.
    fn put_new_path(&mut self) -> Result<(), Failed> {
        if self.client.request().framing() == Framing::Chunked {
            self.client.withhold_trailers(self.exchange.withheld_names());
        }
        match self.exchange.take_new_path() {
            Some(path) if !self.client.set_path(&path) => {
                Err(Failed::new(Failure::BadRequest, "its rewritten path is no path".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a WebSocket over HTTP/2 that its route does not pass on, or whose endpoints speak HTTP/2, too: they cannot
    /// be sent `Upgrade`. A client of HTTP/1.1 gets a response without the upgrade (RFC 9110, section 7.8).
    fn check_protocols(&self) -> Result<(), Failed> {
        let head = self.client.request();
        if head.version() == Version::Http2 && head.is_upgrade() && !self.exchange.is_upgrade() {
            let why = "a WebSocket over HTTP/2 needs a route that passes it on, to endpoints of HTTP/1.1";
            return Err(Failed::new(Failure::MethodNotAllowed, why.to_owned()));
        }
        Ok(())
    }

    /// Bounds all deadlines of the client's timer by the request's own.
    fn bound_timer(&self) {
        self.client.timer().bound(self.exchange.deadline());
    }

    async fn run_attempts(&mut self) -> Ending {
        if self.client.request().framing() == Framing::Length(0) && !self.client.has_ended() {
            // Boxed to keep the common future small.
            if let Err(failed) = Box::pin(self.empty_body_ends()).await {
                return Box::pin(self.fail(failed)).await;
            }
        }
        if self.exchange.buffers_body()
            && let Err(failed) = Box::pin(self.buffer_body()).await
        {
            return Box::pin(self.fail(failed)).await;
        }
        if self.exchange.is_repeatable() {
            self.client.keep_body();
        }
        loop {
            let failed = match self.exchange.next(self.client.now()) {
                Next::Attempt => match self.attempt().await {
                    Outcome::Ended(ending) => return ending,
                    Outcome::Again => continue,
                    Outcome::Failed(failed) => failed,
                    Outcome::Cut(failed) => return Box::pin(self.cut(failed)).await,
                },
                // Boxed to keep the common future small.
                Next::Wait(wait, limit) => match Box::pin(self.wait(wait, limit)).await {
                    Ok(None) => continue,
                    Ok(Some(ending)) => return ending,
                    Err(failed) => failed,
                },
                Next::Pause(pause) => match Box::pin(self.pause(pause)).await {
                    Ok(()) => continue,
                    Err(failed) => failed,
                },
                Next::Fail(failure) => failure.into(),
            };
            return Box::pin(self.fail(failed)).await;
        }
    }

    /// Waits for the end of a body that is announced as empty: what contradicts it is not forwarded (RFC 9113, section
    /// 8.1.1).
    async fn empty_body_ends(&mut self) -> Result<(), Failed> {
        let client = &mut *self.client;
        client.timer().set(self.listener.timeouts.body);
        let ended = poll_fn(|context| match client.poll_fill(context, 1) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => client.timer().poll_passed(context).map(|()| None),
        })
        .await;
        client.timer().clear();
        client.tick();
        let malformed = "its body is announced as empty, and is not";
        match ended {
            Some(Ok(())) if client.has_ended() => Ok(()),
            Some(Ok(()) | Err(ReadError::Malformed(_))) => {
                Err(Failed::of_client(Failure::BadRequest, malformed.to_owned()))
            }
            Some(Err(ReadError::Cut(reason))) => Err(Failed::of_client(Failure::ClientGone, reason)),
            None => Err(Failed::of_client(Failure::RequestTimeout, None)),
        }
    }

    /// Waits until there may be what the request lacks, unless a newer config routes it anew. `Some`: that one has
    /// answered it.
    async fn wait(&mut self, wait: Wait, limit: Duration) -> Result<Option<Ending>, Failed> {
        if let Some(in_force) = self.client.scope_in_force() {
            self.listener = in_force.listener().clone();
            let now = self.client.now();
            let admitted = self.exchange.reroute(in_force, &self.client.request(), now)?;
            if let Some(admitted) = admitted {
                self.bound_timer();
                return self.go_on(admitted).await;
            }
        }
        self.client.source_idle(Backlog::InMemory);
        let (client, mut watch) = (&mut *self.client, ClientWatch::at_once());
        client.timer().set(limit);
        let waited = poll_fn(|context| match wait.poll_over(context) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => match watch.poll(context, client) {
                Ok(()) => client.timer().poll_passed(context).map(Ok),
                Err(error) => Poll::Ready(Err(error)),
            },
        })
        .await;
        client.timer().clear();
        client.tick();
        // Who has gone, and was called before that was noticed, must not take the place of others.
        let is_gone = waited.is_err() || client.has_gone();
        if is_gone { Err(Failure::ClientGone.into()) } else { Ok(None) }
    }

    /// Does what a newer config says of a request that waited.
    async fn go_on(&mut self, mut admitted: Admitted) -> Result<Option<Ending>, Failed> {
        if let Admitted::Authenticate(check) = admitted {
            admitted = self.authenticate(check).await?;
        }
        match admitted {
            Admitted::Forward => {
                self.put_new_path()?;
                self.check_protocols()?;
                self.buffer_body().await.map(|()| None)
            }
            Admitted::Reply(reply) => Ok(Some(self.reply(reply).await)),
            Admitted::Authenticate(_) => Err(Failure::Internal.into()),
        }
    }

    /// Asks who the client is, unless it goes or the request's time is over. Nothing of its body is read meanwhile.
    async fn authenticate(&mut self, check: Box<Check>) -> Result<Admitted, Failed> {
        self.bound_timer();
        self.client.source_idle(Backlog::InMemory);
        let answered = open::in_time(self.client, async { Ok(check.answer().await) }, CHECK_MAX).await;
        let answer = answered.map_err(|failed| match failed.failure {
            Failure::ConnectTimeout => Failed::new(Failure::AuthUnavailable, "it takes too long".to_owned()),
            Failure::RequestDeadline => Failed::new(Failure::RequestDeadline, "authenticating".to_owned()),
            _ => failed,
        })?;
        let admitted = self.exchange.authenticated(answer)?;
        if let Admitted::Forward = admitted {
            self.put_new_path()?;
            self.check_protocols()?;
        }
        Ok(admitted)
    }

    /// Pauses, unless the client goes. By a timer of the runtime: a pause is shorter than the clock's ticks.
    async fn pause(&mut self, pause: Duration) -> Result<(), Failed> {
        let (client, mut watch) = (&mut *self.client, ClientWatch::default());
        let mut over = pin!(tokio::time::sleep(pause));
        let paused = poll_fn(|context| match over.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => match watch.poll(context, client) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(Failed::of_client(Failure::ClientGone, error.to_string()))),
            },
        })
        .await;
        self.client.tick();
        paused
    }

    async fn attempt(&mut self) -> Outcome {
        let scope = self.exchange.response_scope().cloned();
        let Some(scope) = scope else { return Outcome::Failed(Failure::Internal.into()) };
        if self.exchange.speaks_http2() {
            // An endpoint that refuses a stream has not processed it, so even a POST can be sent again.
            self.client.keep_body();
            // Boxed to keep the future of a request to HTTP/1.1 small.
            return Box::pin(self.attempt_over::<Http2Endpoint>(&scope)).await;
        }
        self.attempt_over::<Http1Endpoint>(&scope).await
    }

    async fn attempt_over<E: EndpointStream>(&mut self, scope: &Arc<ResponseScope>) -> Outcome {
        let Self { client, exchange, kept, .. } = self;
        let stream = match open::stream::<E>(*client, exchange, scope, kept).await {
            Ok(stream) => stream,
            Err(failed) => return self.attempt_failed(failed),
        };
        let mut attempt = Attempt::new(*client, exchange, stream, &self.listener, scope, kept);
        let answered = attempt.run(&mut self.sent).await;
        attempt.finish(&answered);
        self.conclude(answered)
    }

    /// Decides what follows an attempt whose request has been sent.
    fn conclude(&mut self, answered: Result<Answered, Failed>) -> Outcome {
        match answered {
            Ok(Answered::Whole) => Outcome::Ended(Ending::Whole),
            Ok(Answered::Again) => self.again(),
            Err(failed) if self.sent.status.is_none() => self.attempt_failed(failed),
            Err(failed) => Outcome::Cut(failed),
        }
    }

    /// Decides what follows an attempt that failed before the client got a response's head.
    fn attempt_failed(&mut self, failed: Failed) -> Outcome {
        let circumstances = circumstances(self.client, self.kept.body.is_some(), failed.stale);
        let (detail, now) = (failed.detail.as_deref(), self.client.now());
        let may_follow =
            !failed.of_client && self.exchange.attempt_failed(failed.failure, detail, circumstances, now);
        if may_follow { self.again() } else { Outcome::Failed(failed) }
    }

    fn again(&mut self) -> Outcome {
        self.client.rewind();
        self.kept.rewind();
        Outcome::Again
    }

    fn finish(&mut self) {
        self.client.timer().bound(None);
        self.exchange.finish(self.sent.status, self.sent.bytes, self.client.now());
    }
}

/// `kept`: the whole body is in memory.
pub(super) fn circumstances(client: &impl ClientStream, kept: bool, stale: bool) -> Circumstances {
    Circumstances { replayable: kept || client.can_rewind(), reused: stale, response_begun: false }
}
