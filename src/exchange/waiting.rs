//! Requests that wait: for room in the limit of their route or pool, or for an endpoint because none can be picked. A
//! reload meanwhile routes them anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::matched::Matched;
use super::passage::Served;
use super::scope::Scope;
use super::{Admitted, Exchange, Failure, Next, RequestScope};
use crate::config::{QueueLimits, RoutePriority, WhenNoneHealthy};
use crate::pool::{Pool, Wait};
use crate::routing::RequestHead;
use crate::snapshot::{Route, RouteRequests};
use crate::wait_queue::{Claim, LimitPermit, Place, Priority, RequestLimit, WaitQueue, WaitsFor};

/// What a request has of its route and pool beside an endpoint.
#[derive(Default)]
pub(super) struct Waiting {
    pub priority: Priority,
    /// The pool's share of what all pools have in common has let it in: it waits, or has had an endpoint.
    pub admitted: bool,
    /// The permits of the limits beyond which requests wait, kept until the request is over.
    pub of_route: Option<LimitPermit>,
    pub of_pool: Option<LimitPermit>,
    /// Start of the wait that is under way.
    pub since: Option<Instant>,
    /// Its place in a queue; that of one that waits for an endpoint is kept until a connection is open.
    pub place: Option<Place>,
    /// Time that failed connects have taken since the last wait.
    pub connecting: Duration,
}

impl Waiting {
    /// Gives up everything.
    pub fn end(&mut self) {
        (self.place, self.of_pool, self.of_route) = (None, None, None);
    }

    /// Gives up a place in another queue.
    fn keep_place_in(&mut self, queue: &Arc<WaitQueue>) {
        self.place = self.place.take().filter(|place| place.is_of(queue));
    }
}

impl Exchange {
    pub(super) fn set_priority<H: RequestHead>(&mut self, rule: &RoutePriority, head: &H) {
        self.waiting.priority = match rule {
            RoutePriority::Fixed(priority) => *priority,
            RoutePriority::Header(name) => priority(head.header(name).unwrap_or_default()),
        };
    }

    /// Takes a permit of its route, or says what to do instead.
    pub(super) fn enter_route(&mut self, route: &Route, now: Instant) -> Result<(), Next> {
        match &route.requests {
            Some(requests) if self.waiting.of_route.is_none() => self.enter_route_limit(route, requests, now),
            _ => Ok(()),
        }
    }

    fn enter_route_limit(
        &mut self,
        route: &Route,
        requests: &RouteRequests,
        now: Instant,
    ) -> Result<(), Next> {
        let RouteRequests { limit, queue: limits } = requests;
        let queue = limit.queue();
        self.waiting.keep_place_in(queue);
        let claim = queue.claim(self.waiting.place.as_ref(), self.waiting.priority, limits.shed, now);
        let permit = if claim == Claim::Try { limit.take() } else { None };
        if permit.is_some() {
            self.waiting.of_route = permit;
            self.waiting.place.take().into_iter().for_each(Place::leave);
            return Ok(());
        }
        let failure = match claim {
            Claim::Shed => self.shed(now),
            _ if !limits.lets_wait() => {
                limit.refuse();
                Failure::RouteFull
            }
            _ => match self.wait_for_room(queue, limits, WaitsFor::Route, now) {
                Ok(next) => return Err(next),
                Err(failure) => failure,
            },
        };
        if let Some(count) = limit.report(now) {
            let (route, cause, most) = (&*route.name, failure.label(), limit.most().unwrap_or_default());
            log::warn!(route, cause, most, count; "requests of the route are refused");
        }
        Err(Next::Fail(failure))
    }

    /// Whether it is the request's turn to try for what its pool has; the error says what to do instead.
    pub(super) fn enter_pool(&mut self, pool: &Arc<Pool>, now: Instant) -> Result<(), Next> {
        if self.waiting.place.is_none() && !pool.has_queue() {
            return Ok(());
        }
        self.waiting.keep_place_in(pool.queue());
        let (place, limits) = (self.waiting.place.as_ref(), &pool.config().limits.queue);
        // Who has been at an endpoint before need not wait for others to try another one.
        let claim = match place {
            None if self.waiting.of_pool.is_some() || !pool.has_queue() => Claim::Try,
            place => pool.queue().claim(place, self.waiting.priority, limits.shed, now),
        };
        match claim {
            Claim::Shed => {
                let failure = self.shed(now);
                Err(self.refused_in_queue_of(pool, failure, now))
            }
            Claim::Wait if pool.has_queue() && pool.has_reachable() => {
                let lack = if pool.request_limit().is_some() { WaitsFor::Pool } else { WaitsFor::Endpoint };
                Err(self.wait_for_room_in(pool, lack, now))
            }
            Claim::Wait => Err(self.wait_for_endpoint(pool, now)),
            Claim::Try => match pool.request_limit() {
                Some(limit) if self.waiting.of_pool.is_none() => self.enter_pool_limit(pool, limit, now),
                _ => Ok(()),
            },
        }
    }

    fn enter_pool_limit(
        &mut self,
        pool: &Arc<Pool>,
        limit: &Arc<RequestLimit>,
        now: Instant,
    ) -> Result<(), Next> {
        self.waiting.of_pool = limit.take();
        match &self.waiting.of_pool {
            Some(_) => Ok(()),
            None => Err(self.wait_for_room_in(pool, WaitsFor::Pool, now)),
        }
    }

    /// It has an endpoint: others may be served, too.
    pub(super) fn has_endpoint(&mut self, pool: &Pool, now: Instant) {
        self.waiting.admitted = true;
        self.stop_waiting(now);
        match self.waiting.place.take() {
            // It may have to wait for an endpoint again.
            Some(mut place) if !pool.has_queue() => {
                place.step_out();
                self.waiting.place = Some(place);
            }
            place => place.into_iter().for_each(Place::leave),
        }
    }

    /// Waits for room in a limit of the pool.
    pub(super) fn wait_for_room_in(&mut self, pool: &Arc<Pool>, lack: WaitsFor, now: Instant) -> Next {
        let limits = &pool.config().limits.queue;
        if !limits.lets_wait() {
            return self.refused_by(pool, now);
        }
        match self.wait_for_room(pool.queue(), limits, lack, now) {
            Ok(next) => next,
            Err(failure) => self.refused_in_queue_of(pool, failure, now),
        }
    }

    fn refused_in_queue_of(&mut self, pool: &Pool, failure: Failure, now: Instant) -> Next {
        pool.log_refused_in_queue(failure.label(), now);
        Next::Fail(failure)
    }

    fn wait_for_room(
        &mut self,
        queue: &Arc<WaitQueue>,
        limits: &QueueLimits,
        lack: WaitsFor,
        now: Instant,
    ) -> Result<Next, Failure> {
        let limit = match self.pool().map(|pool| &pool.config().when_none_healthy) {
            // It has been let in for longer.
            Some(WhenNoneHealthy::Wait { limit, .. })
                if self.record.waited_for.has(WaitsFor::HealthyEndpoint) =>
            {
                limits.wait.max(*limit)
            }
            _ => limits.wait,
        };
        let Some(left) = self.time_to_wait(limit, lack, now) else {
            self.waiting.place.take().into_iter().for_each(Place::expired);
            return Err(Failure::QueueExpired);
        };
        let Waiting { place, priority, .. } = &mut self.waiting;
        queue.enter(place, *priority, lack, limits.length, now);
        match place {
            Some(place) => Ok(Next::Wait(Wait::for_room(place), left)),
            None => {
                self.stop_waiting(now);
                Err(Failure::QueueFull)
            }
        }
    }

    /// Waits, if the pool's config allows it, because no endpoint can be picked.
    pub(super) fn wait_for_endpoint(&mut self, pool: &Arc<Pool>, now: Instant) -> Next {
        // Who waits is not in flight.
        self.waiting.of_pool = None;
        let WhenNoneHealthy::Wait { limit, .. } = pool.config().when_none_healthy else {
            return self.no_healthy_endpoint(now);
        };
        if limit.is_zero() {
            return self.no_healthy_endpoint(now);
        }
        if !self.waiting.admitted && !pool.may_wait(self.holds()) {
            return self.refused_by(pool, now);
        }
        self.waiting.admitted = true;
        // Failed connects before the first wait have a time limit of their own. Those between two waits count as
        // waiting, or a request that times out at one endpoint after the other would never end.
        let connecting = std::mem::take(&mut self.waiting.connecting);
        self.record.waited = self.record.waited.map(|waited| waited + connecting);
        let Some(left) = self.time_to_wait(limit, WaitsFor::HealthyEndpoint, now) else {
            self.waiting.place.take().into_iter().for_each(Place::expired);
            return Next::Fail(Failure::WaitExpired);
        };
        let Waiting { place, priority, .. } = &mut self.waiting;
        pool.enter_queue(place, *priority, WaitsFor::HealthyEndpoint, now);
        let Some(place) = place else { return Next::Fail(Failure::WaitQueueFull) };
        // After the wait, any endpoint may be back.
        self.tried.forget();
        Next::Wait(Wait::for_endpoint(place, pool.clone()), left)
    }

    fn no_healthy_endpoint(&mut self, now: Instant) -> Next {
        self.stop_waiting(now);
        self.waiting.place = None;
        Next::Fail(Failure::NoHealthyEndpoint)
    }

    /// How long the request may still wait; `None`: no longer. The limit is for all its waits together.
    fn time_to_wait(&mut self, limit: Duration, lack: WaitsFor, now: Instant) -> Option<Duration> {
        if self.waiting.since.is_none() && self.scope.telemetry().watches_in_flight() {
            self.show_waiting(lack, now);
        }
        let since = *self.waiting.since.get_or_insert(now);
        let until = since + limit.saturating_sub(self.record.waited.unwrap_or_default());
        if until <= now {
            self.stop_waiting(now);
            return None;
        }
        self.record.waited_for.add(lack);
        let until = self.deadline.map_or(until, |deadline| until.min(deadline));
        Some(until.saturating_duration_since(now))
    }

    fn shed(&mut self, now: Instant) -> Failure {
        self.stop_waiting(now);
        self.waiting.place = None;
        Failure::Overloaded
    }

    pub(super) fn stop_waiting(&mut self, now: Instant) {
        let Some(since) = self.waiting.since.take() else { return };
        let waited = self.record.waited.unwrap_or_default() + now.saturating_duration_since(since);
        self.record.waited = Some(waited);
    }

    /// Routes a waiting request anew if the snapshot in force is not its own, so that a reload that repairs a pool
    /// helps those that already wait in it. The time waited so far counts.
    ///
    /// `Some`: the policies of its route say what follows, and [`Exchange::take_new_path`] has its path; `None`: it goes
    /// on waiting.
    pub fn reroute<H: RequestHead>(
        &mut self,
        scope: Arc<RequestScope>,
        head: &H,
        now: Instant,
    ) -> Result<Option<Admitted>, Failure> {
        if self.scope.is_same(&scope) {
            return Ok(None);
        }
        let used = self.retry_limit().saturating_sub(self.retries.left);
        self.stop_waiting(now);
        self.record.generation = scope.snapshot().generation();
        let before = self.pool().cloned();
        self.scope = Scope::Request(scope);
        self.record.skipped = None;
        self.waiting.connecting = Duration::ZERO;
        let matched = self.matched.take();
        let admitted = match &matched {
            // The head may have another path by now.
            Some(matched) => self.route_anew(&matched.head(head), before, used)?,
            None => self.route_anew(head, before, used)?,
        };
        self.matched = Matched::after(matched, self.matched.take());
        Ok(Some(admitted))
    }

    /// `before` is the pool that it waited for, `used` the number of its retries.
    fn route_anew<H: RequestHead>(
        &mut self,
        head: &H,
        before: Option<Arc<Pool>>,
        used: u8,
    ) -> Result<Admitted, Failure> {
        self.find_route(&mut Served, head)?;
        if !before.zip(self.pool()).is_some_and(|(before, pool)| before.shares_load(pool)) {
            // The new pool has not admitted it.
            (self.waiting.admitted, self.waiting.of_pool) = (false, None);
        }
        self.keep_what_the_route_has();
        self.retries.left = self.retry_limit().saturating_sub(used);
        self.apply_route(&mut Served, head)
    }

    /// Gives up a place in the queues of another route or pool, and the permit of another route.
    fn keep_what_the_route_has(&mut self) {
        let Waiting { place, of_route, .. } = &mut self.waiting;
        let (place, of_route) = (place.take(), of_route.take());
        let Some(route) = self.route() else { return };
        let requests = route.requests.as_ref();
        let of_route = of_route.filter(|permit| requests.is_some_and(|own| permit.is_of(&own.limit)));
        let place = place.filter(|place| {
            self.scope.target(self.route, self.target).is_some_and(|target| place.is_of(target.pool.queue()))
                || requests.is_some_and(|own| place.is_of(own.limit.queue()))
        });
        (self.waiting.place, self.waiting.of_route) = (place, of_route);
    }

    fn retry_limit(&self) -> u8 {
        self.target().map_or(0, |target| target.retry.limit)
    }
}

/// The priority that a request names.
fn priority(value: &[u8]) -> Priority {
    match value.trim_ascii() {
        value if value.eq_ignore_ascii_case(b"high") => Priority::High,
        value if value.eq_ignore_ascii_case(b"low") => Priority::Low,
        _ => Priority::Normal,
    }
}
