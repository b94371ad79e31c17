//! The life of one request, whichever engine serves it: decide, attempt, outcome, retry or answer, record.
//!
//! An engine moves the bytes and asks here what to do. Nothing here knows a socket or a clock: time is an argument.

mod access;
mod act;
mod authentication;
mod backoff;
mod client_identity;
mod config_tests;
mod connection_header;
mod decide;
mod edits;
pub mod explain;
mod failure;
mod forwarded;
mod grpc;
mod hash_key;
mod header_edits;
mod hedge;
mod hide_endpoint;
mod hops;
mod https;
mod limits;
mod local_reply;
mod matched;
mod mirror;
mod outcome;
mod passage;
mod path;
mod proxy_claims;
mod rate_limit;
mod request_id;
mod response;
mod retry;
mod rewrite;
mod scope;
mod split;
mod sticky;
#[cfg(test)]
mod tests;
mod upgrade;
mod waiting;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue, header};

pub use client_identity::ClientIdentity;
pub use config_tests::run_config_tests;
pub use decide::{Decision, decide};
pub use edits::{Action, Edits};
pub use failure::{Failed, Failure, FailureSide};
pub use forwarded::RequestSender;
pub use local_reply::LocalReply;
pub use mirror::{MirrorOrder, MirroredBody};
pub use retry::{ATTEMPTS_MAX, Circumstances};
pub use scope::{OwnListener, RequestScope, ResponseScope};

use crate::auth::Check;
use crate::config::{self, EndpointProtocol, HostHeader, Listener, ResponseRate};
use crate::pool::authorities::Authorities;
use crate::pool::{
    Endpoint, FailureCause, Holds, Lease, LeaseOutcome, LeaseRequest, Leased, PickRequest, Pool, StickyTag,
    TriedEndpoints, Verdict, Wait,
};
use crate::routing::RequestHead;
use crate::snapshot::{Route, Target};
use crate::telemetry::record::{AttemptResult, Protocol, Record, RequestText, TextParts};
use crate::tls::TlsInfo;
use crate::wait_queue::{LimitPermit, WaitsFor};
use authentication::Authentication;
use grpc::GrpcCall;
use hide_endpoint::HideEndpoint;
use hops::Hops;
use limits::HeadSize;
use matched::Matched;
use passage::{Passage, Served, Stage};
use request_id::RequestId;
pub use response::NewBody;
use response::ResponseWishes;
use retry::Retries;
use scope::Scope;
use upgrade::Upgrade;
use waiting::Waiting;

/// One request from its header's arrival to its record. While it lives, it counts as in flight.
pub struct Exchange {
    scope: Scope,
    sender: RequestSender,
    /// `None`: the client's connection has no TLS.
    tls_info: Option<Arc<TlsInfo>>,
    /// The client wants to speak another protocol.
    wants_upgrade: bool,
    /// What it may get of that; `None`: nothing.
    upgrade: Option<Upgrade>,
    hops: Hops,
    short_of_memory: bool,
    /// `None`: the request is not gRPC.
    grpc: Option<GrpcCall>,
    /// The endpoint has agreed to the upgrade.
    tunnel: bool,
    /// Index of the decided route in the snapshot.
    route: Option<usize>,
    /// Index of the pool among those of the route.
    target: usize,
    /// What the route has matched; `None`: the route has neither templates nor a rewrite.
    matched: Option<Box<Matched>>,
    /// What the route's authentication has said; `None`: it has none, or is about to be asked.
    authentication: Option<Box<Authentication>>,
    waiting: Waiting,
    tried: TriedEndpoints,
    /// For a pool that balances by hash; `None`: the request has no key.
    hash_key: Option<u64>,
    /// What the client wants of responses; `None`: its route changes none.
    wishes: Option<Box<ResponseWishes>>,
    /// Where the client was drawn among the pools of its route, if it knows nothing of that yet.
    new_place: Option<NonZeroU64>,
    /// The client's cookie, for a pool that keeps clients at their endpoints; `None`: it has none.
    sticky: Option<StickyTag>,
    retries: Retries,
    /// Largest request body in bytes; `None`: no limit.
    body_limit: Option<u64>,
    /// When the whole request must be over; `None` for an upgraded connection.
    deadline: Option<Instant>,
    open: Option<OpenAttempt>,
    /// A second attempt beside it: see [`hedge`].
    other: Option<Box<OpenAttempt>>,
    started: Instant,
    /// Size of the head as sent.
    size: HeadSize,
    /// The first cause of failure.
    failure: Option<Failure>,
    /// What a client is told whom a rate limit has refused. Boxed, because few are.
    limited: Option<Box<[(HeaderName, HeaderValue)]>>,
    /// The record has been written.
    finished: bool,
    record: Record,
}

/// The attempt that is under way.
struct OpenAttempt {
    lease: Lease,
    /// What stands for its endpoint in cookies.
    tag: Option<StickyTag>,
    started: Instant,
    /// Time to open the connection; `None` if it was reused.
    connect: Option<Duration>,
    first_byte: Option<Duration>,
    result: AttemptResult,
    /// It was begun beside another.
    is_hedge: bool,
}

/// What an engine knows of a request when its head has arrived.
pub struct Arrival<'a, H> {
    pub head: &'a H,
    pub identity: ClientIdentity,
    pub tls_info: Option<Arc<TlsInfo>>,
    pub protocol: Protocol,
    /// The request target as sent.
    pub target: &'a [u8],
    /// The client wants to speak another protocol on this connection (WebSocket).
    pub upgrade: bool,
    /// The process has no memory for another request.
    pub short_of_memory: bool,
    pub now: Instant,
    pub time: SystemTime,
}

/// What is done with a request that is admitted.
#[derive(Debug)]
pub enum Admitted {
    /// It goes to an endpoint: ask for the first attempt.
    Forward,
    /// It is answered here.
    Reply(LocalReply),
    /// Its route asks who the client is: give the answer to [`Exchange::authenticated`].
    Authenticate(Box<Check>),
}

/// What to do next for a request that has no response yet.
pub enum Next {
    /// Send it to the endpoint of [`Exchange::endpoint`].
    Attempt,
    /// There is no room, or no endpoint can be picked: wait, at most that long, and ask again. Another snapshot may be
    /// in force by then: see [`Exchange::reroute`].
    Wait(Wait, Duration),
    /// An endpoint is to be tried for the second time: pause that long, and ask again.
    Pause(Duration),
    Fail(Failure),
}

/// What to do with a response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseAction {
    Forward,
    /// Drop it and ask for the next attempt.
    Retry,
    /// The response must not reach the client; the attempt has failed.
    Refuse(Failure),
}

impl Exchange {
    pub fn begin<H: RequestHead>(scope: Arc<RequestScope>, arrival: Arrival<'_, H>) -> Self {
        let (head, listener) = (arrival.head, scope.listener());
        scope.counters().request_accepted();
        let sender =
            RequestSender::new(arrival.identity, arrival.tls_info.is_some(), &listener.trusted_proxies, head);
        let request_id = RequestId::of(head);
        let text = request_text(head, arrival.target, &request_id);
        let client = sender.client().clone();
        let mut record = Record {
            peer: (sender.client() != sender.peer()).then(|| sender.peer().clone()),
            tls: arrival.tls_info.as_ref().map(|info| info.version),
            generation: scope.snapshot().generation(),
            ..Record::new(arrival.time, client, text, arrival.protocol)
        };
        scope.telemetry().capture_request(&mut record, head);
        Self {
            wants_upgrade: arrival.upgrade,
            upgrade: None,
            hops: Hops::default(),
            short_of_memory: arrival.short_of_memory,
            grpc: GrpcCall::of(head, arrival.protocol),
            tunnel: false,
            route: None,
            target: 0,
            matched: None,
            authentication: None,
            waiting: Waiting::default(),
            tried: TriedEndpoints::default(),
            hash_key: None,
            wishes: None,
            new_place: None,
            sticky: None,
            retries: Retries::default(),
            body_limit: listener.limits.body_bytes,
            deadline: None,
            open: None,
            other: None,
            started: arrival.now,
            size: HeadSize::default(),
            failure: None,
            limited: None,
            finished: false,
            scope: Scope::Request(scope),
            sender,
            tls_info: arrival.tls_info,
            record,
        }
    }

    /// Finds the request's route, and checks the limits of its listener and its route.
    ///
    /// `fields` gives the size of each header field, as sent.
    pub fn admit<H: RequestHead>(
        &mut self,
        head: &H,
        fields: impl Iterator<Item = usize>,
    ) -> Result<Admitted, Failure> {
        self.admit_by(&mut Served, head, fields)
    }

    /// The same for whoever takes the request through its policies.
    fn admit_by<H: RequestHead>(
        &mut self,
        passage: &mut impl Passage,
        head: &H,
        fields: impl Iterator<Item = usize>,
    ) -> Result<Admitted, Failure> {
        inject_fault(head);
        if self.short_of_memory {
            return Err(Failure::MemoryShort);
        }
        passage.reached(Stage::Limits);
        self.size = HeadSize::of(self.record.text.parts().target.len(), fields);
        self.size.fits(&self.listener().limits)?;
        passage.reached(Stage::ListenerAccess);
        self.check_access_to_listener()?;
        passage.reached(Stage::Host);
        if head.authority().is_empty() && self.record.protocol != Protocol::Http10 {
            return Err(Failure::MissingHost);
        }
        passage.reached(Stage::Certificate);
        self.check_certificate(head.authority())?;
        passage.reached(Stage::RedirectHttps);
        if let Some(reply) = self.redirect_to_https(head.path()) {
            return reply.map(Admitted::Reply);
        }
        passage.reached(Stage::Hops);
        if let Some(reply) = self.check_hops(head) {
            return reply.map(Admitted::Reply);
        }
        self.find_route(passage, head)?;
        passage.reached(Stage::RateLimit);
        self.limit_rate(passage, head)?;
        passage.reached(Stage::Preflight);
        if let Some(reply) = self.answer_preflight() {
            return Ok(Admitted::Reply(reply));
        }
        self.retries.left = self.target().map_or(0, |target| target.retry.limit);
        self.apply_route(passage, head)
    }

    /// Applies the policies of the route that was found, in their fixed order: when the request has come, and again
    /// when it is routed anew.
    fn apply_route<H: RequestHead>(
        &mut self,
        passage: &mut impl Passage,
        head: &H,
    ) -> Result<Admitted, Failure> {
        passage.reached(Stage::Authentication);
        match self.ask_who(head) {
            Some(check) => Ok(Admitted::Authenticate(check)),
            None => self.act(passage),
        }
    }

    /// Finds the route, and checks and applies its limits.
    fn find_route<H: RequestHead>(&mut self, passage: &mut impl Passage, head: &H) -> Result<(), Failure> {
        passage.reached(Stage::Route);
        let Scope::Request(scope) = self.scope.clone() else { return Err(Failure::Internal) };
        let decision = decide(scope.snapshot(), head, self.sender.client().ip());
        // First, because an index from the previous snapshot is wrong in this one.
        self.route = decision.trace.route();
        let Some(route) = decision.route else {
            self.record.unusual_mut().detail = Some(decision.trace.to_string().into());
            return Err(Failure::NoRoute);
        };
        self.matched = Matched::of(route, head);
        passage.reached(Stage::RouteAccess);
        self.check_access_to(route)?;
        passage.reached(Stage::RouteLimits);
        self.target = self.find_target(route, head);
        // HTTP/2 has no `Upgrade` (RFC 9113, section 8.6).
        let may_switch = self.wants_upgrade
            && self.pool().is_some_and(|pool| pool.config().protocol == EndpointProtocol::Http11);
        self.upgrade = if may_switch { Upgrade::of(head, &route.upgrades) } else { None };
        self.retries.repeatable = self
            .target()
            .is_some_and(|target| target.retry.methods.iter().any(|method| method == head.method()));
        self.set_deadline(route, head);
        self.find_hash_key(head);
        self.find_cookie(head);
        let policy = route.response.as_ref();
        let wishes = policy.map(|policy| ResponseWishes::of(policy, head, self.record.protocol));
        self.wishes = wishes.map(Box::new);
        self.set_priority(&route.priority, head);
        self.size.fits_route(&route.limits)?;
        self.body_limit = limits::of_body(route, &self.listener().limits);
        let announced =
            head.header_text(&header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| self.body_limit.is_some_and(|limit| length > limit)) {
            return Err(self.body_too_large());
        }
        Ok(())
    }

    /// The shortest of the route's time, the client's, and that of the client's gRPC call.
    fn set_deadline<H: RequestHead>(&mut self, route: &Route, head: &H) {
        let of_client = route.timeout_header.as_ref().and_then(|name| head.header(name)).map(asked_timeout);
        if of_client == Some(None) {
            self.record.unusual_mut().timeout_ignored = true;
        }
        let of_grpc = self.grpc.as_ref().and_then(GrpcCall::timeout);
        let timeout = route.timeout.into_iter().chain(of_client.flatten()).chain(of_grpc).min();
        self.deadline = timeout.and_then(|timeout| self.started.checked_add(timeout));
    }

    /// Opens the next attempt, or says what to do instead.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.is_late(now) {
            self.stop_waiting(now);
            return Next::Fail(Failure::RequestDeadline);
        }
        let Scope::Request(scope) = self.scope.clone() else { return Next::Fail(Failure::Internal) };
        let Some(route) = scope.route(self.route) else { return Next::Fail(Failure::NoRoute) };
        let Some(target) = route.targets.get(self.target) else { return Next::Fail(Failure::Internal) };
        let pool = &target.pool;
        if let Some(pause) = self.pause(target, now) {
            return Next::Pause(pause);
        }
        let _alone = pool.try_alone();
        let entered = self.enter_route(route, now).and_then(|()| self.enter_pool(pool, now));
        if let Err(next) = entered {
            return next;
        }
        let request = LeaseRequest {
            pick: self.pick_request(now),
            holds: self.holds(),
            admitted: self.waiting.admitted,
        };
        match pool.lease(request) {
            Leased::Lease { lease, failed_open, tag, skipped } => {
                self.has_endpoint(pool, now);
                if self.record.attempts.is_empty() {
                    pool.retry_budget().count_first_attempt();
                    if target.retry.hedge.is_some() {
                        pool.hedge_budget().count_first_attempt();
                    }
                }
                if failed_open {
                    self.record.unusual_mut().failed_open = true;
                }
                self.record.skipped = skipped;
                if let Some(tag) = tag {
                    self.record.unusual_mut().sticky = Some(self.stuck(tag));
                }
                self.open = Some(OpenAttempt {
                    lease,
                    tag,
                    started: now,
                    connect: None,
                    first_byte: None,
                    result: AttemptResult::Failed(Failure::Internal.label()),
                    is_hedge: false,
                });
                if self.scope.telemetry().watches_in_flight() {
                    self.show_attempt(now);
                }
                Next::Attempt
            }
            Leased::NoneHealthy { skipped } => {
                self.record.skipped = skipped;
                self.wait_for_endpoint(pool, now)
            }
            Leased::EndpointsFull => {
                // All others lack the same.
                self.waiting.of_pool.take().into_iter().for_each(LimitPermit::give_back_unused);
                self.wait_for_room_in(pool, WaitsFor::Endpoint, now)
            }
            Leased::Full => self.refused_by(pool, now),
        }
    }

    fn pick_request(&self, now: Instant) -> PickRequest<'_> {
        PickRequest {
            tried: &self.tried,
            key: self.hash_key,
            sticky: self.sticky,
            may_probe: self.may_probe(),
            now,
        }
    }

    /// What the request occupies while it is in flight.
    fn holds(&self) -> Holds {
        if self.record.protocol == Protocol::Http2 { Holds::Stream } else { Holds::Connection }
    }

    fn refused_by(&self, pool: &Pool, now: Instant) -> Next {
        pool.in_flight_limit().refuse(pool.name(), now);
        Next::Fail(Failure::PoolFull)
    }

    /// When the whole request must be over, response body included.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn time_of_day(&self, now: Instant) -> SystemTime {
        self.record.time + now.saturating_duration_since(self.started)
    }

    /// The endpoint of the attempt that is under way.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.open.as_ref().map(|open| open.lease.endpoint())
    }

    /// What the request still needs once its response is on its way.
    pub fn response_scope(&self) -> Option<&Arc<ResponseScope>> {
        self.scope.response_scope(self.route, self.target)
    }

    /// Releases the snapshot and the pool: the response is on its way to the client, so no other attempt can follow.
    pub fn release_snapshot(&mut self) {
        if let Some(scope) = self.response_scope().cloned() {
            self.scope = Scope::Response(scope);
        }
    }

    fn route(&self) -> Option<&Route> {
        self.scope.route(self.route)
    }

    fn target(&self) -> Option<&Target> {
        self.scope.target(self.route, self.target)
    }

    /// `None`: the request goes to no pool, or has let go of it.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.target().map(|target| &target.pool)
    }

    /// The config of the request's pool; without endpoints after [`Exchange::release_snapshot`].
    pub fn pool_config(&self) -> Option<&config::Pool> {
        match &self.scope {
            Scope::Request(_) => self.pool().map(|pool| pool.config()),
            Scope::Response(scope) => Some(scope.pool()),
        }
    }

    /// Whether its endpoints speak HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        self.pool_config().is_some_and(|pool| pool.protocol == EndpointProtocol::Http2)
    }

    pub fn listener(&self) -> &Listener {
        self.scope.listener()
    }

    pub fn request_id(&self) -> &str {
        self.record.text.request_id()
    }

    /// The host and port that the client has asked for; empty if it named none.
    pub fn host(&self) -> &str {
        self.record.text.host()
    }

    /// Records how long the request waited for a permit of its worker.
    pub fn record_queue_time(&mut self, queued: Duration) {
        self.record.unusual_mut().queued = Some(queued);
    }

    /// Whether the attempt under way is the first.
    pub fn is_first_attempt(&self) -> bool {
        self.record.attempts.is_empty()
    }

    /// Whether the endpoint is asked for another protocol.
    pub fn is_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Checks a response with status 101: the error is the reason why it is none. `key`: the client's
    /// `Sec-WebSocket-Key`.
    pub fn check_switch<'a>(
        &self,
        key: Option<&[u8]>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Result<(), &'static str> {
        let asked =
            self.upgrade.as_ref().ok_or("the endpoint switches protocols, and nobody has asked for it")?;
        asked.check_switch(key, fields)
    }

    /// Notes that the attempt under way has a connection.
    pub fn connected(&mut self, reused: bool, now: Instant) {
        let time = self.time_of_day(now);
        let Some(open) = &mut self.open else { return };
        if !reused {
            open.connect = Some(now.saturating_duration_since(open.started));
            if let Some(target) = self.scope.target(self.route, self.target) {
                target.pool.connected(open.lease.endpoint(), now, time);
            }
        }
        self.waiting.place = None;
    }

    /// Makes the edits that turn the client's head into the one that the endpoint is sent.
    ///
    /// `connection` gives the values of the client's `Connection` fields.
    pub fn request_edits<'a, H: RequestHead>(
        &self,
        head: &H,
        connection: impl Iterator<Item = &'a str>,
        edits: &mut Edits,
    ) {
        self.request_edits_for(self.endpoint().map(|endpoint| &**endpoint), head, connection, edits);
    }

    /// The same for the head that would go to this endpoint.
    fn request_edits_for<'a, H: RequestHead>(
        &self,
        endpoint: Option<&Endpoint>,
        head: &H,
        connection: impl Iterator<Item = &'a str>,
        edits: &mut Edits,
    ) {
        edits.clear();
        connection.for_each(|value| connection_header::remove_named(edits, value, self.is_upgrade()));
        edits.remove_hop_by_hop(self.is_upgrade());
        if let Some(protocols) = self.upgrade.as_ref().and_then(Upgrade::replacement) {
            edits.set(header::UPGRADE, &protocols);
        }
        self.sender.set_forwarded_fields(edits, head);
        self.set_client_cert_fields(edits);
        edits.set(request_id::NAME, self.record.text.request_id());
        self.hops.set(edits);
        self.set_identity_fields(edits);
        if let Some(host) = self.host_for(endpoint) {
            edits.set(header::HOST, host);
        }
        self.add_route_edits(edits);
    }

    /// The `Host` to send to the endpoint; `None`: the client's.
    fn host_for_endpoint(&self) -> Option<&str> {
        self.host_for(self.endpoint().map(|endpoint| &**endpoint))
    }

    fn host_for<'a>(&'a self, endpoint: Option<&'a Endpoint>) -> Option<&'a str> {
        let endpoint_host = || endpoint.map(|endpoint| &**endpoint.authority());
        let of_route = self.route().and_then(|route| route.rewrite.as_ref()?.host.as_ref());
        match of_route.unwrap_or(&self.pool_config()?.host) {
            // A client of HTTP/1.0 may name the host in the target alone.
            HostHeader::Preserve if self.record.protocol == Protocol::Http10 => {
                Some(self.record.text.host()).filter(|host| !host.is_empty()).or_else(endpoint_host)
            }
            HostHeader::Preserve if !self.record.text.host().is_empty() => None,
            HostHeader::Preserve | HostHeader::Endpoint => endpoint_host(),
            HostHeader::Fixed(host) => host.to_str().ok(),
        }
    }

    /// Judges a response whose head has arrived; `retry_after` is its field of that name.
    pub fn response_head(
        &mut self,
        status: u16,
        retry_after: Option<&[u8]>,
        circumstances: Circumstances,
        now: Instant,
    ) -> ResponseAction {
        if status == 101 && !self.is_upgrade() {
            return ResponseAction::Refuse(Failure::BadResponse);
        }
        self.tunnel = status == 101;
        self.deadline = self.deadline.filter(|_| !self.tunnel);
        let verdict = self.verdict(status);
        let retry = self.retries_status(status, retry_after, verdict, circumstances, now);
        self.judge_status(status, verdict, now);
        if !retry {
            return ResponseAction::Forward;
        }
        self.close_attempt(LeaseOutcome::Failed);
        ResponseAction::Retry
    }

    /// Records the status of the attempt's response, and tells the pool how the endpoint did.
    fn judge_status(&mut self, status: u16, verdict: Verdict, now: Instant) {
        let Some(open) = &mut self.open else { return };
        let took = now.saturating_duration_since(open.started);
        open.first_byte = Some(took);
        open.result = AttemptResult::Status(status);
        let target = self.scope.target(self.route, self.target);
        if let Some(times) = target.and_then(|target| target.response_times.as_ref()) {
            times.add(took, now);
        }
        open.lease.judged(verdict, took, self.record.text.request_id(), now);
    }

    /// What a response's status says of its endpoint.
    fn verdict(&self, status: u16) -> Verdict {
        let is_expected = || {
            let route = self.scope.route(self.route);
            route.is_some_and(|route| route.expected_statuses.iter().any(|range| range.contains(&status)))
        };
        match status {
            500.. if !is_expected() => Verdict::Failed(FailureCause::Status(status)),
            429 => Verdict::Throttled,
            200 if self.grpc.is_some() => Verdict::Begun,
            _ => Verdict::Good,
        }
    }

    /// Makes the edits that turn the endpoint's head into the one that the client is sent; `fields` gives the names and
    /// values of the endpoint's, in order.
    pub fn response_edits<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
        &self,
        status: u16,
        fields: impl Fn() -> I,
        edits: &mut Edits,
    ) {
        edits.clear();
        // A 426 says which protocols are required (RFC 9110, section 15.5.22).
        let upgrade = matches!(status, 101 | 426);
        let mut may_name_endpoint = false;
        for (name, value) in fields() {
            may_name_endpoint |= hide_endpoint::concerns(name);
            if name.eq_ignore_ascii_case(b"connection")
                && let Ok(value) = str::from_utf8(value)
            {
                connection_header::remove_named(edits, value, upgrade);
            }
        }
        edits.remove_hop_by_hop(upgrade);
        edits.set(header::SERVER, local_reply::SERVER_NAME);
        if let Some(policy) = self.strict_transport() {
            edits.set(header::STRICT_TRANSPORT_SECURITY, policy);
        }
        let policy = self.response_policy().filter(|_| status >= 200);
        if may_name_endpoint {
            let cookies = policy.and_then(|policy| policy.cookies.as_ref());
            self.hide_endpoint(cookies).apply(edits, &fields);
        }
        if let Some(policy) = policy {
            self.policy_edits(policy, &fields, edits);
        }
        self.set_service_cookies(edits);
        if let Some(cookie) = self.new_cookie(status) {
            edits.append(header::SET_COOKIE, cookie.as_bytes());
        }
        if let Some(cookie) = self.new_split_cookie(status) {
            edits.append(header::SET_COOKIE, cookie.as_bytes());
        }
    }

    fn hide_endpoint<'a>(
        &'a self,
        cookies: Option<&'a config::CookieEdits>,
    ) -> HideEndpoint<'a, impl Fn() -> Option<Arc<Authorities>>> {
        let asked = self.record.text.host();
        HideEndpoint {
            scheme: self.sender.scheme,
            authority: self.sender.host(asked),
            sent_host: self.host_for_endpoint().unwrap_or(asked),
            endpoints: || self.pool().map(|pool| pool.authorities()),
            cookies,
            prefix: self.prefix_change(),
        }
    }

    /// Keeps the fields of the response that the client gets, where somebody has asked for some.
    pub fn capture_response<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(&mut self, fields: impl Fn() -> I) {
        self.scope.telemetry().capture_response(&mut self.record, fields);
    }

    /// Counts a piece of the request's body and checks the limit.
    pub fn request_body(&mut self, bytes: usize) -> Result<(), Failure> {
        self.record.bytes_in += bytes as u64;
        if let Some(open) = &self.open {
            open.lease.sent(bytes as u64);
        }
        match self.body_limit {
            // A tunnel's bytes are no body; a request that only asks for an upgrade may have one.
            Some(limit) if self.record.bytes_in > limit && !self.tunnel => Err(self.body_too_large()),
            _ => Ok(()),
        }
    }

    /// The failure of a body that is larger than `body_limit`.
    fn body_too_large(&mut self) -> Failure {
        if self.body_limit.is_some() && self.body_limit == self.route().and_then(|route| route.buffer_request)
        {
            self.record.unusual_mut().detail = Some("more than buffer_request".into());
        }
        Failure::BodyTooLarge
    }

    /// Whether the endpoint gets the request once its body is whole.
    pub fn buffers_body(&self) -> bool {
        self.route().is_some_and(|route| route.buffer_request.is_some())
    }

    /// Records how long that has taken.
    pub fn buffered(&mut self, took: Duration) {
        self.record.unusual_mut().buffered = Some(took);
    }

    /// Whether a piece of its body has gone to the endpoint of the attempt under way.
    pub fn has_body(&self) -> bool {
        self.record.bytes_in > 0
    }

    /// Resets the count of body bytes: the body is sent again from its beginning.
    pub fn request_body_again(&mut self) {
        self.record.bytes_in = 0;
    }

    /// The rate at which the response's body is sent; `None`: any.
    pub fn response_rate(&self) -> Option<ResponseRate> {
        self.route()?.limits.response_rate
    }

    /// Counts a piece of the response's body.
    pub fn response_body(&mut self, bytes: usize) {
        self.record.bytes_out += bytes as u64;
        if let Some(open) = &self.open {
            open.lease.received(bytes as u64);
        }
    }
}

fn request_text(head: &impl RequestHead, target: &[u8], request_id: &RequestId) -> RequestText {
    RequestText::new(TextParts {
        method: head.method().as_bytes(),
        host: host_to_log(head),
        target,
        request_id: request_id.as_bytes(),
        user_agent: head.header(&header::USER_AGENT).unwrap_or_default(),
        referer: head.header(&header::REFERER).unwrap_or_default(),
        accept: head.header(&header::ACCEPT).unwrap_or_default(),
    })
}

/// The time that a client asks for in the route's `timeout_header`; `None`: it cannot be read.
fn asked_timeout(value: &[u8]) -> Option<Duration> {
    let text = str::from_utf8(value).ok()?.trim();
    let millis = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    config::duration(text).or_else(|| millis().map(Duration::from_millis))
}

/// The host that a request asks for; of a refused head also what no authority can be.
fn host_to_log(head: &impl RequestHead) -> &[u8] {
    match head.authority() {
        "" => head.header(&header::HOST).unwrap_or_default(),
        authority => authority.as_bytes(),
    }
}

/// Panics where a test asks for it, to show what a panic in a request does. Debug builds only.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "this is the panic that the test asks for")]
fn inject_fault(head: &impl RequestHead) {
    let asked = http::HeaderName::from_static("x-evenkeel-test-panic");
    if head.header(&asked).is_some() && std::env::var_os("EVENKEEL_TEST_PANIC").is_some() {
        panic!("a test asked for this panic");
    }
}

#[cfg(not(debug_assertions))]
fn inject_fault(_head: &impl RequestHead) {}
