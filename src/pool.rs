//! Pools of endpoints: their live state, how one is picked, and the health checks.
//!
//! A [`Pool`] has a Pingora `LoadBalancer`: discovery and membership go through it, and it rebuilds the `Rotation`
//! when the members change. Picking reads the rotation directly, by the pool's balance policy. The live state of endpoints is in an
//! [`EndpointTable`], which survives reloads, as Pingora's own state does not.

mod adjust;
mod adjustment;
mod attempts;
pub mod authorities;
mod balance;
mod candidates;
mod check_id;
pub mod connect;
mod discovery;
mod endpoint;
pub mod explain;
mod health;
pub(crate) mod http_client;
mod in_flight_limit;
mod lease;
pub mod live_state;
mod member;
mod outliers;
mod picker;
mod probe;
mod probe_schedule;
mod reachability;
mod recent_probes;
mod retry_budget;
mod rotation;
mod selection;
mod share_audit;
mod skipped;
mod slow_start;
mod sources;
pub mod status;
mod sticky;
mod supervisor;
#[cfg(test)]
mod tests;
mod tried_endpoints;
mod waiting;
mod zones;

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use arc_swap::ArcSwapOption;
use pingora_load_balancing::{Backends, LoadBalancer};
use tokio::sync::Notify;

pub use adjust::{AdjustError, AdjustOrder, Adjusted, PoolChoice, adjust};
pub use adjustment::EndpointChange;
pub use attempts::{AttemptCounts, RETRY_REASONS, STATUS_CLASSES, status_class};
pub use balance::MayProbe;
pub(crate) use balance::chance;
pub use balance::hash::of_key as hash_of_key;
pub use endpoint::{Endpoint, EndpointTable, HealthStatus, IdleConnections, Target};
pub use in_flight_limit::{Holds, InFlightLimit, MaxRequests};
pub use lease::{Lease, LeaseOutcome, LeaseRequest, Leased};
pub use member::Member;
pub use outliers::{FailureCause, Moment, Verdict};
pub use probe::ProbeResult;
pub use retry_budget::RetryBudget;
pub use skipped::{Skipped, SkippedEndpoints};
pub(crate) use sources::Dns;
pub use sticky::{StickyTag, Stuck};
pub use supervisor::{Supervisor, SupervisorHandle};
pub use tried_endpoints::{ConnectFailure, TriedEndpoints};
pub use waiting::Wait;

use crate::config;
use crate::human::unix_seconds;
use crate::log_throttle::LogThrottle;
use adjustment::ByHand;
use authorities::Authorities;
use balance::PickInput;
use discovery::Discovery;
use endpoint::HealthChange;
use health::Thresholds;
use live_state::KnownState;
use member::Membership;
use outliers::Detector;
use picker::{PickSettings, Picker, Pickers};
use probe::Probe;
pub(crate) use probe_schedule::{ProbeKind, ProbeSchedule, jittered};
use rotation::{Pick, Rotation};
use selection::Selection;
use share_audit::Audit;
use sources::{Asker, Rounds, Sources};
use status::{ByHandStatus, EndpointState, EndpointStatus, PoolStatus, WeightByHand};

/// From the start of one probe to that of the next, while an endpoint is still `checking`.
pub(crate) const UNDECIDED_INTERVAL: Duration = Duration::from_millis(100);

/// How long an endpoint must have been unreachable to begin anew with a slow start.
const RAMP_AFTER: Duration = Duration::from_secs(1);

/// A running pool.
pub struct Pool {
    config: config::Pool,
    /// `config` without endpoints, for requests whose response takes long.
    config_without_endpoints: Arc<config::Pool>,
    balancer: LoadBalancer<Selection>,
    picker: Arc<Picker>,
    pickers: Arc<Pickers>,
    /// Leases count requests in flight where the balance policy reads them.
    reads_load: bool,
    /// The most requests in flight of each endpoint; `None`: no limit.
    endpoint_most: Option<u64>,
    table: Arc<EndpointTable>,
    sources: Arc<Sources>,
    asker: Asker,
    /// Notified when a first request waits, so that endpoints that are down are probed early.
    hurry: Notify,
    /// Throttles the log of connections that this machine could not open.
    shortages: Mutex<LogThrottle>,
    /// Throttles the log of moments in which no endpoint of any pool answers.
    silences: Mutex<LogThrottle>,
    detector: Mutex<Detector>,
    /// With the members that they are of. Made when first needed, because few responses name an endpoint.
    authorities: ArcSwapOption<(Arc<Membership>, Arc<Authorities>)>,
}

/// What a pick depends on.
#[derive(Debug, Clone, Copy)]
pub struct PickRequest<'a> {
    pub tried: &'a TriedEndpoints,
    /// The hash of the request's key ([`hash_of_key`]), for a pool that balances by hash; `None`: it has none.
    pub key: Option<u64>,
    /// What the client's cookie says, for a pool that keeps clients at their endpoints; `None`: it has none.
    pub sticky: Option<StickyTag>,
    pub may_probe: MayProbe,
    pub now: Instant,
}

/// The result of picking an endpoint.
#[derive(Debug)]
pub enum Picked {
    Endpoint {
        endpoint: Arc<Endpoint>,
        failed_open: bool,
        /// The request finds out how an ejected endpoint is.
        probes: bool,
        /// What stands for it in cookies, in a pool that keeps clients at their endpoints.
        tag: Option<StickyTag>,
        skipped: Option<Arc<SkippedEndpoints>>,
    },
    NoneHealthy {
        skipped: Option<Arc<SkippedEndpoints>>,
    },
    /// Each that might be picked has as many requests as it may have.
    Full,
}

/// Why no endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoPick {
    NoneHealthy,
    /// Each that might be picked has as many requests as it may have.
    Full,
}

impl Pool {
    /// Endpoints that are also in `previous` keep their live state; others begin with what `known` has of them.
    pub fn new(mut config: config::Pool, previous: Option<&Pool>, known: &Arc<KnownState>) -> Arc<Self> {
        let now = Instant::now();
        let new_table = || Arc::new(EndpointTable::new(now));
        let table = previous.map_or_else(new_table, |pool| pool.table.clone());
        let sources = previous.map(|pool| pool.sources.clone()).unwrap_or_default();
        let asker = Asker::new(&config.resolve, previous.map(|pool| &pool.asker));
        let queue = table.request_limit().queue().clone();
        let picker = Arc::new(Picker::new(PickSettings::of(&config), queue));
        let pickers = previous.map(|pool| pool.pickers.clone()).unwrap_or_default();
        pickers.add(&picker);
        table.inherit(&config.name, known);
        table.outlier_settings().set(config.outliers.as_ref());
        sources.inherit(&config, known);
        if previous.is_some_and(|previous| !asker.asks_as(&previous.asker)) {
            sources.ask_anew();
        }
        let discovery = Discovery::new(config.clone(), table.clone(), sources.clone());
        let balancer =
            LoadBalancer::from_backends_with_config(Backends::new(Box::new(discovery)), Some(picker.clone()));
        let pool = Arc::new(Self {
            config_without_endpoints: without_endpoints(&mut config),
            reads_load: balance::reads_load(&config.balance),
            endpoint_most: config.limits.endpoint_most(config.protocol),
            config,
            balancer,
            picker,
            pickers,
            table,
            sources,
            asker,
            hurry: Notify::new(),
            shortages: Mutex::default(),
            silences: Mutex::default(),
            detector: Mutex::default(),
            authorities: ArcSwapOption::empty(),
        });
        pool.find_members(now);
        pool
    }

    /// Finds the members with what sources named last, so that a pool of addresses is complete at once.
    fn find_members(&self, now: Instant) {
        // One poll is enough: `Discovery` never waits.
        let discovery = std::pin::pin!(self.balancer.update());
        let _ = discovery.poll(&mut Context::from_waker(Waker::noop()));
        let rotation = self.picker.rotation();
        let new = rotation.candidates().members().iter().filter(|member| member.endpoint.take_new());
        // Others begin their ramp when they have been found healthy.
        if new
            .filter(|member| member.check.is_none())
            .inspect(|member| self.begin_ramp(&member.endpoint, now))
            .count()
            > 0
        {
            self.publish_health();
        }
    }

    /// Begins the slow start of an endpoint that is new or has recovered, if the pool has one.
    fn begin_ramp(&self, endpoint: &Endpoint, now: Instant) {
        if let Some(window) = self.config.slow_start {
            endpoint.ramp().begin(window, now);
            // The supervisor ends it.
            self.table.outlier_settings().due.notify_one();
        }
    }

    /// From which the live state of its endpoints counts time.
    pub(crate) fn epoch(&self) -> Instant {
        self.table.epoch()
    }

    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    pub fn config(&self) -> &config::Pool {
        &self.config
    }

    /// The config without endpoints.
    pub fn config_without_endpoints(&self) -> &Arc<config::Pool> {
        &self.config_without_endpoints
    }

    /// The count of its requests, and their limit.
    pub fn in_flight_limit(&self) -> &InFlightLimit {
        self.table.in_flight_limit()
    }

    /// How many of its attempts may be retries, across reloads.
    pub fn retry_budget(&self) -> &RetryBudget {
        self.table.retry_budget()
    }

    /// How many requests may have a second attempt beside the first, across reloads.
    pub fn hedge_budget(&self) -> &RetryBudget {
        self.table.hedge_budget()
    }

    /// How many requests may be in flight; `None`: no limit.
    fn most_requests(&self) -> Option<u64> {
        let limit = self.request_limit().and_then(|limit| limit.most());
        limit.map(|most| most as u64).or_else(|| self.in_flight_limit().most())
    }

    /// Whether the requests of both count together, because one follows the other under the same name.
    pub fn shares_load(&self, other: &Pool) -> bool {
        Arc::ptr_eq(self.table.in_flight_limit(), other.table.in_flight_limit())
    }

    /// Whether another request may wait: waiting requests count towards the limit as those in flight do.
    pub fn may_wait(&self, holds: Holds) -> bool {
        self.in_flight_limit().has_room(holds, self.queue().len() as u64)
    }

    /// The endpoint that the balance policy picks; one of those tried only where no other is left.
    ///
    /// Reads the rotation directly: `LoadBalancer::select_with` clones the backend and keeps a set of those it has
    /// seen, at seven times the cost (docs/growth.md).
    pub fn pick(&self, request: &PickRequest<'_>) -> Picked {
        let tried = request.tried;
        let (rotation, turn) = self.picker.next_turn(!tried.is_empty());
        let skipped = rotation.candidates().skipped();
        let input = PickInput::<true> { turn, may_probe: request.may_probe, ..request.without_turn() };
        match self.pick_in(&rotation, &input, tried) {
            Ok(pick) => Picked::Endpoint {
                endpoint: pick.member.endpoint.clone(),
                failed_open: pick.failed_open,
                probes: pick.probes,
                tag: rotation.candidates().membership().tag_of(pick.member),
                skipped,
            },
            Err(NoPick::NoneHealthy) => Picked::NoneHealthy { skipped },
            Err(NoPick::Full) => Picked::Full,
        }
    }

    fn pick_in<'a, const CLAIMS: bool>(
        &self,
        rotation: &'a Rotation,
        input: &PickInput<CLAIMS>,
        tried: &TriedEndpoints,
    ) -> Result<Pick<'a>, NoPick> {
        let pick = match tried {
            _ if tried.is_exhausted() => None,
            _ if tried.is_empty() => rotation.first(input),
            _ => rotation.another(input, tried),
        };
        let pick = pick.ok_or(NoPick::NoneHealthy)?;
        match self.endpoint_most {
            Some(most) => rotation.with_room(pick, input, tried, most).ok_or(NoPick::Full),
            None => Ok(pick),
        }
    }

    /// Whether there is an untried endpoint to pick.
    pub fn has_fresh(&self, request: &PickRequest<'_>) -> bool {
        self.picker.rotation().fresh(&request.without_turn::<false>(), request.tried).is_some()
    }

    /// Whether there is an endpoint to pick, tried or not.
    pub fn has_another(&self, request: &PickRequest<'_>) -> bool {
        self.picker.rotation().another(&request.without_turn::<false>(), request.tried).is_some()
    }

    /// Asks each source of endpoints once, and updates the members. Calls `on_change` whenever members may have changed.
    /// Results so far stay if the future is dropped.
    pub async fn discover(&self, mut on_change: impl FnMut()) {
        let found = || {
            self.find_members(Instant::now());
            on_change();
        };
        Rounds::new(&self.config, &self.sources, &self.asker).once(found).await;
    }

    /// Asks the sources of endpoints whenever they are due, for ever. Calls `on_change` as [`Pool::discover`] does.
    async fn follow_sources(&self, mut on_change: impl FnMut()) {
        let found = || {
            self.find_members(Instant::now());
            self.forget_gone();
            on_change();
        };
        Rounds::new(&self.config, &self.sources, &self.asker).for_ever(found).await;
    }

    /// Forgets what is known of sources and endpoints that are not its own. Only the pool in force may do this.
    fn forget_gone(&self) {
        let wanted = self.sources.retain(&self.config);
        self.asker.retain(|source| wanted.binary_search(source).is_ok());
        self.find_members(Instant::now());
        self.table.forget_inherited();
        let rotation = self.picker.rotation();
        let members: HashSet<&str> =
            rotation.candidates().members().iter().map(|member| &**member.endpoint.label()).collect();
        let has_sources = self.config.endpoints.iter().any(|spec| spec.address.is_source());
        self.table.retain(|endpoint| {
            // A source may name an endpoint now and then: what was changed of it by hand stays meanwhile.
            let may_return = || has_sources && !endpoint.adjustment().is_empty();
            members.contains(&**endpoint.label()) || may_return()
        });
    }

    /// The names and addresses of its members.
    pub fn authorities(&self) -> Arc<Authorities> {
        let rotation = self.picker.rotation();
        if let Some(made) = &*self.authorities.load()
            && Arc::ptr_eq(&made.0, rotation.candidates().membership())
        {
            return made.1.clone();
        }
        let authorities =
            Arc::new(Authorities::new(rotation.candidates().members().iter().map(|member| &member.endpoint)));
        self.authorities
            .store(Some(Arc::new((rotation.candidates().membership().clone(), authorities.clone()))));
        authorities
    }

    /// Whether a request would find an endpoint now.
    pub fn serves(&self) -> bool {
        self.picker.rotation().is_serving()
    }

    /// Whether a request would find an endpoint that is neither known to be unreachable, nor unhealthy in a pool that does
    /// not fail open.
    pub fn has_available(&self) -> bool {
        self.picker.rotation().candidates().any_available()
    }

    /// Whether it has no endpoint, healthy or not, because none of its sources has ever answered.
    pub fn is_unresolved(&self) -> bool {
        self.picker.rotation().candidates().members().is_empty()
    }

    /// Why requests find no endpoint, with the reason of one endpoint or name as an example.
    pub fn why_unavailable(&self) -> String {
        let name = self.name();
        let status = self.status();
        if let Some(endpoint) = status.endpoints.iter().find(|endpoint| endpoint.drained.is_none()) {
            return format!(
                "no endpoint of pool {name} is healthy: {}: {}",
                endpoint.address, endpoint.reason
            );
        }
        if !status.endpoints.is_empty() {
            return format!("every endpoint of pool {name} is drained by hand: see `evenkeel undrain`");
        }
        self.why_empty()
    }

    /// Why it has no endpoint at all.
    fn why_empty(&self) -> String {
        let (name, sources) = (self.name(), self.sources.status());
        let failing = sources.iter().find_map(|known| Some((&known.source, known.failing.as_ref()?)));
        match failing {
            Some((source, reason)) => format!("pool {name} has no endpoint: {source} fails: {reason}"),
            None => format!("pool {name} has no endpoint: its sources have not answered yet"),
        }
    }

    pub fn members(&self) -> Vec<Member> {
        self.picker.rotation().candidates().members().to_vec()
    }

    /// The endpoints of all members.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let rotation = self.picker.rotation();
        rotation.candidates().members().iter().map(|member| member.endpoint.clone()).collect()
    }

    /// Probes a member once, without recording the result; `None`: there is no health check, or the endpoint cannot be
    /// probed.
    pub async fn probe_once(&self, member: &Member) -> Option<ProbeResult> {
        Some(self.probe_of(member)?.run().await)
    }

    /// Whether this pool's health check has not come to a verdict about the member yet.
    pub fn is_undecided(&self, member: &Member) -> bool {
        member.check.is_some_and(|check| !member.endpoint.is_decided_by(check))
    }

    /// The first probes of a member, before the supervisor knows of it.
    pub async fn probe_first(&self, member: &Member) {
        if let Some(probe) = self.probe_of(member) {
            self.probe_until_decided(member, &probe, ProbeKind::Regular).await;
        }
    }

    /// Probes a member once, and again as long as probes fail without a verdict. The caller publishes the results.
    /// Returns when the last probe began.
    async fn probe_until_decided(
        &self,
        member: &Member,
        probe: &Probe,
        mut due: ProbeKind,
    ) -> tokio::time::Instant {
        loop {
            let began = tokio::time::Instant::now();
            let result = probe.run().await;
            let failed = matches!(result, ProbeResult::Failed(_));
            self.probed(member, result, due, Instant::now(), SystemTime::now());
            if !failed || !self.is_undecided(member) {
                return began;
            }
            due = ProbeKind::Regular;
            tokio::time::sleep_until(began + UNDECIDED_INTERVAL).await;
        }
    }

    /// `None`: there is no health check, or the endpoint cannot be probed.
    fn probe_of(&self, member: &Member) -> Option<Probe> {
        Probe::new(&member.endpoint, self.config.health_check.as_ref()?, &self.config)
    }

    /// Rebuilds the rotation from the state of the endpoints.
    ///
    /// The cost grows with the pool, so changes that come at the same time are published together: ten thousand probes
    /// that pass one by one must not place ten thousand endpoints ten thousand times.
    pub fn publish_health(&self) {
        self.pickers.publish();
    }

    /// Returns when endpoints have changed state since their health was published.
    pub(crate) async fn state_changed(&self) {
        self.pickers.changed.notified().await;
    }

    /// Publishes changes of state whenever there are some, for ever.
    async fn publish_all_health(&self) {
        loop {
            self.state_changed().await;
            // A woken task runs before tasks that were ready earlier: let those report their results first.
            tokio::task::yield_now().await;
            self.publish_health();
        }
    }

    /// Records a probe's result, and logs it if the endpoint's state changes.
    pub(crate) fn probed(
        &self,
        member: &Member,
        result: ProbeResult,
        due: ProbeKind,
        now: Instant,
        time: SystemTime,
    ) {
        member.endpoint.recent_probes().add(&result, time);
        if let ProbeResult::Shortage(reason) = &result {
            self.log_shortage(reason, now);
        }
        let Some(result) = result.verdict() else { return };
        let asked = member.check.zip(self.config.health_check.as_ref().map(Thresholds::of));
        let endpoint = &*member.endpoint;
        match endpoint.probed(result, asked, due, time) {
            HealthChange::None => {}
            HealthChange::Reachability(away) => self.reachable_again(endpoint, away, now),
            HealthChange::State => {
                self.pickers.changed.notify_one();
                let HealthStatus { state, reason, .. } = endpoint.health_status();
                endpoint.attempts().entered(state);
                let (pool, label, reason) = (&*self.config.name, &**endpoint.label(), &*reason);
                match state {
                    EndpointState::Unhealthy => {
                        log::warn!(pool, endpoint = label, reason; "endpoint is unhealthy");
                    }
                    _ => {
                        self.serves_again(endpoint, now);
                        endpoint.reachability().take_logged();
                        log::info!(pool, endpoint = label, reason; "endpoint is healthy");
                    }
                }
            }
        }
    }

    /// Records that a request could not connect to the endpoint, so that others pass it over. `true` if it was not
    /// known to be unreachable.
    pub fn connect_failed(&self, endpoint: &Endpoint, reason: &str, now: Instant, time: SystemTime) -> bool {
        if !endpoint.reachability().set(reason, time) {
            return false;
        }
        self.pickers.changed.notify_one();
        if endpoint.state() != EndpointState::Unreachable {
            return true;
        }
        endpoint.attempts().entered(EndpointState::Unreachable);
        if let Some(count) = endpoint.reachability().should_log(now) {
            let (pool, label) = (&*self.config.name, &**endpoint.label());
            log::warn!(pool, endpoint = label, reason, count; "endpoint is unreachable");
        }
        true
    }

    /// Records that a request has connected to the endpoint.
    pub fn connected(&self, endpoint: &Endpoint, now: Instant, time: SystemTime) {
        if let Some(away) = endpoint.connected(time) {
            self.reachable_again(endpoint, away, now);
        }
    }

    fn reachable_again(&self, endpoint: &Endpoint, away: Duration, now: Instant) {
        if away >= RAMP_AFTER {
            self.serves_again(endpoint, now);
        }
        self.pickers.changed.notify_one();
        if endpoint.state() == EndpointState::Healthy {
            endpoint.attempts().entered(EndpointState::Healthy);
        }
        if endpoint.reachability().take_logged() {
            log::info!(pool = &*self.config.name, endpoint = &**endpoint.label(); "endpoint is reachable again");
        }
    }

    /// What it did before it was away says nothing about it any more.
    fn serves_again(&self, endpoint: &Endpoint, now: Instant) {
        endpoint.outliers().forget_failures();
        self.begin_ramp(endpoint, now);
    }

    /// Logs that this machine could not open a connection, which says nothing about the endpoint.
    pub fn log_shortage(&self, reason: &str, now: Instant) {
        if let Some(count) = self.shortages.lock().due(now) {
            log::error!(pool = &*self.config.name, reason, count; "this machine cannot open connections to endpoints");
        }
    }

    /// What is shown is in force: requests that come later are picked an endpoint by these states.
    pub fn status(&self) -> PoolStatus {
        let before = self.picker.rotation();
        let standings: Vec<HealthStatus> =
            before.candidates().members().iter().map(|member| member.endpoint.health_status()).collect();
        // After the states have been read: none of them may be newer than the rotation.
        self.publish_health();
        let rotation = self.picker.rotation();
        let same = Arc::ptr_eq(rotation.candidates().membership(), before.candidates().membership());
        let rotation = if same { rotation } else { before };
        let loads: Vec<_> =
            rotation.candidates().members().iter().map(|member| (member, member.endpoint.load())).collect();
        let total: u64 = loads.iter().map(|(_, load)| load.requests).sum();
        let now = Instant::now();
        let ramps: Vec<bool> =
            loads.iter().map(|(member, _)| member.endpoint.ramp().is_under_way(now)).collect();
        let mut endpoints: Vec<EndpointStatus> = loads
            .iter()
            .zip(standings)
            .zip(rotation.expected_shares())
            .map(|(((member, load), standing), expected_share)| EndpointStatus {
                drained: drained(member),
                weight_by_hand: weight_by_hand(member),
                address: member.endpoint.label().to_string(),
                state: standing.state,
                since: unix_seconds(standing.since),
                reason: standing.reason.to_string(),
                weight: member.weight(),
                backup: member.attributes.backup,
                requests: load.requests,
                in_flight: load.in_flight,
                idle_connections: load.idle_connections,
                failures: load.failures,
                bytes_in: load.bytes_in,
                bytes_out: load.bytes_out,
                share: if total == 0 { 0.0 } else { load.requests as f64 / total as f64 },
                expected_share,
                response_seconds: member.endpoint.response_time().average().map(|time| time.as_secs_f64()),
                ejections: load.ejections,
                ejected_seconds: member.endpoint.outliers().seconds_left(now),
                checks_passed: load.checks_passed,
                checks_failed: load.checks_failed,
                probes: member.endpoint.recent_probes().status(),
                share_cause: None,
            })
            .collect();
        let audit = Audit::new(&self.config, &endpoints);
        for (endpoint, ramps) in endpoints.iter_mut().zip(ramps) {
            endpoint.share_cause = audit.cause(endpoint, ramps);
        }
        PoolStatus {
            name: self.config.name.to_string(),
            balance: balance::name(&self.config.balance).into(),
            waiting: self.queue().len() as u64,
            queue: self.queue().status(),
            retries: self.retry_budget().status(self.config.retry.budget.as_ref(), Instant::now()),
            in_flight: self.in_flight_limit().in_flight(),
            most: self.most_requests(),
            refused: self.in_flight_limit().refused(),
            sources: self.sources.status(),
            endpoints,
        }
    }
}

impl PickRequest<'_> {
    fn without_turn<const CLAIMS: bool>(&self) -> PickInput<CLAIMS> {
        let Self { key, sticky, now, .. } = *self;
        PickInput { turn: 0, key, sticky, may_probe: MayProbe::Never, now }
    }
}

fn drained(member: &Member) -> Option<ByHandStatus> {
    Some(by_hand_status(member.endpoint.adjustment().get().drain?))
}

fn weight_by_hand(member: &Member) -> Option<WeightByHand> {
    let (_, by_hand) = member.endpoint.adjustment().get().weight?;
    Some(WeightByHand { file: member.attributes.weight, by_hand: by_hand_status(by_hand) })
}

fn by_hand_status(by_hand: ByHand) -> ByHandStatus {
    ByHandStatus { by: by_hand.by, until: by_hand.until.map(|end| unix_seconds(end.time)) }
}

fn without_endpoints(config: &mut config::Pool) -> Arc<config::Pool> {
    let endpoints = std::mem::take(&mut config.endpoints);
    let without = Arc::new(config.clone());
    config.endpoints = endpoints;
    without
}
