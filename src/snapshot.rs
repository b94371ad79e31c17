//! The validated, compiled, immutable config in force.
//!
//! A request pins one snapshot when it starts and uses it to its end, unless a reload happens while it waits for an
//! endpoint: then the new snapshot routes it anew. A reload builds a whole new snapshot and swaps it in, or changes
//! nothing; pools whose definition has not changed are the same pools, and endpoints keep their live state.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderName;

use crate::auth::Gate;
use crate::config::{
    self, Access, Action, Config, HeaderEdits, HedgeAfter, Listener, QueueLimits, RateKey, RateLimit,
    RequestLimit as ConfigLimit, Retry, Rewrite, RouteLimits, RoutePriority, Upgrades,
};
use crate::mirror::MirrorState;
use crate::pool::live_state::{KnownState, LiveState};
use crate::pool::status::{MirrorStatus, PoolStatus, RateLimitStatus, RouteStatus};
use crate::pool::{MaxRequests, Pool};
use crate::rate_limit::RateLimiter;
use crate::recent_times::RecentTimes;
use crate::routing::{Regex, RequestHead, RouteOutcome, Router};
use crate::wait_queue::{RequestLimit, WaitQueue};

pub struct Snapshot {
    generation: u64,
    config: Config,
    router: Router,
    routes: Vec<Route>,
    pools: Vec<Arc<Pool>>,
    listeners: Vec<Arc<Listener>>,
}

/// A route with its pools.
pub struct Route {
    pub name: Arc<str>,
    pub action: Action,
    /// The pools that its requests may go to, those of a `split` in its order; empty: it answers them itself.
    pub targets: Box<[Target]>,
    /// How many targets all routes before it have.
    pub targets_before: usize,
    /// `None`: its requests go nowhere else.
    pub mirror: Option<Arc<Mirror>>,
    pub rewrite: Option<Arc<Rewrite>>,
    pub request_headers: Option<Arc<HeaderEdits>>,
    pub limits: RouteLimits,
    /// Endpoints get requests once their bodies are whole, and not larger than so many bytes; `None`: at once.
    pub buffer_request: Option<u64>,
    pub timeout: Option<Duration>,
    pub timeout_header: Option<HeaderName>,
    pub access: Access,
    pub rate_limits: Box<[RouteRateLimit]>,
    pub upgrades: Upgrades,
    /// Statuses from 500 that say nothing against an endpoint.
    pub expected_statuses: Vec<RangeInclusive<u16>>,
    pub priority: RoutePriority,
    /// The expressions of its paths whose groups templates name.
    pub path_groups: Vec<Regex>,
    /// It has templates, which need to know what its requests asked for.
    pub has_templates: bool,
    /// What is done with its responses; `None`: nothing that the config asks for.
    pub response: Option<Arc<config::ResponsePolicy>>,
    /// The limit of its requests in flight; `None`: there is none.
    pub requests: Option<RouteRequests>,
    /// Who may pass; `None`: everybody.
    pub auth: Option<Arc<Gate>>,
}

/// A route's limit of requests, and the bounds of their queue.
pub struct RouteRequests {
    pub limit: Arc<RequestLimit>,
    pub queue: QueueLimits,
}

/// A limit of how many requests of a key a route takes in a time.
pub struct RouteRateLimit {
    pub config: RateLimit,
    /// In logs and metrics: the key, and a number where the route has several of it.
    pub label: Arc<str>,
    /// What clients are told: without the name of a header or cookie.
    pub policy: String,
    pub limiter: Arc<RateLimiter>,
}

/// A pool that a route forwards to.
pub struct Target {
    pub pool: Arc<Pool>,
    /// What the route and the pool say together.
    pub retry: Retry,
    /// Of the route's requests to the first byte of a response; `None`: nobody asks for them.
    pub response_times: Option<Arc<RecentTimes>>,
}

/// A pool that gets copies of a route's requests.
pub struct Mirror {
    pub config: Arc<config::Mirror>,
    pub pool: Arc<Pool>,
    pub state: Arc<MirrorState>,
}

impl Route {
    /// Whether some of its requests go to the pool of that name.
    pub fn has_pool(&self, name: &str) -> bool {
        match &self.action {
            Action::Split(split) => split.shares.iter().any(|share| &*share.pool == name && share.weight > 0),
            action => action.pools().any(|pool| &**pool == name),
        }
    }
}

impl Snapshot {
    /// Keeps the pools of `previous` that have not changed; the others inherit the live state of endpoints known there.
    pub fn build(config: Config, previous: Option<&Snapshot>) -> Self {
        let pools = previous.map(Snapshot::pools).unwrap_or_default();
        let running = by_name(pools);
        let is_new = |pool_config: &config::Pool| {
            running.get(&*pool_config.name).is_none_or(|pool| pool.config() != pool_config)
        };
        let live = if config.pools.iter().any(is_new) { LiveState::of(pools) } else { LiveState::default() };
        Self::assemble(config, previous, live)
    }

    /// The first snapshot of a process that takes over from another, with the live state of that one.
    pub fn succeeding(config: Config, live: LiveState) -> Self {
        Self::assemble(config, None, live)
    }

    fn assemble(config: Config, previous: Option<&Snapshot>, live: LiveState) -> Self {
        let running = by_name(previous.map(Snapshot::pools).unwrap_or_default());
        let known = Arc::new(KnownState::new(live, config.pools.iter().map(|pool| &*pool.name)));
        let pools: Vec<Arc<Pool>> = (config.pools.iter())
            .map(|pool_config| pool(pool_config, running.get(&*pool_config.name).copied(), &known))
            .collect();
        let by_name = by_name(&pools);
        let running_routes = previous.map(Snapshot::routes).unwrap_or_default();
        let (limits, times) = (request_limits(running_routes), response_times(running_routes));
        let (gates, mirrors) = (gates(running_routes), mirrors(running_routes));
        let mut targets_before = 0;
        let limiters = rate_limiters(running_routes);
        let routes: Vec<Route> = config
            .routes
            .iter()
            .map(|route| {
                let targets = targets(route, &by_name, &times);
                let before = targets_before;
                targets_before += targets.len();
                Route {
                    name: route.name.clone(),
                    action: route.action.clone(),
                    targets,
                    targets_before: before,
                    mirror: mirror(route, &by_name, &mirrors),
                    rewrite: route.rewrite.clone(),
                    request_headers: route.request_headers.clone(),
                    limits: route.limits,
                    buffer_request: route.buffer_request,
                    timeout: route.timeout,
                    timeout_header: route.timeout_header.clone(),
                    access: route.access.clone(),
                    rate_limits: rate_limits(route, &limiters),
                    upgrades: route.upgrades.clone(),
                    expected_statuses: route.expected_statuses.clone(),
                    priority: route.priority.clone(),
                    path_groups: route.path_groups.clone(),
                    has_templates: route.has_templates(),
                    response: route.response.clone(),
                    requests: route.limits.requests.map(|requests| RouteRequests {
                        limit: limits.get(&*route.name).map(|limit| Arc::clone(limit)).unwrap_or_default(),
                        queue: requests.queue,
                    }),
                    auth: route.auth.as_ref().map(|auth| gate(auth, gates.get(&*route.name).copied())),
                }
            })
            .collect();
        Self {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            router: Router::new(config.routes.iter().map(config::Route::enabled_match)),
            listeners: config.listeners.iter().map(|listener| self::listener(listener, previous)).collect(),
            routes,
            pools,
            config,
        }
    }

    /// Sets the limits of requests of each pool and route. `connections` is the limit of client connections, `http2` that of HTTP/2
    /// requests beyond one for each connection.
    pub fn limit_pools(&self, connections: usize, http2: usize) {
        let capacity = PoolCapacity { connections, http2, pools: self.pools.len() };
        for pool in &self.pools {
            pool.in_flight_limit()
                .set(capacity.most(pool.config().limits.requests), self.config.server.threads);
            pool.set_request_limit();
        }
        for (route, config) in self.routes.iter().zip(&self.config.routes) {
            if let Some(requests) = &route.requests {
                requests.limit.set(config.limits.requests.map(|requests| requests.most));
            }
        }
    }

    /// Has all requests that wait look where they belong, because another config is in force.
    pub fn ask_again(&self) {
        self.pools.iter().for_each(|pool| pool.ask_again());
        self.queues_of_routes().for_each(|queue| queue.ask_again());
    }

    /// Whether requests wait.
    pub fn is_waited_in(&self) -> bool {
        self.pools.iter().any(|pool| pool.is_waited_for())
            || self.queues_of_routes().any(|queue| !queue.is_empty())
    }

    fn queues_of_routes(&self) -> impl Iterator<Item = &WaitQueue> {
        self.routes.iter().filter_map(|route| Some(&**route.requests.as_ref()?.limit.queue()))
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| &**pool.name() == name)
    }

    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }

    /// In the order of the config.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// For `exchange::decide` alone; all others call that.
    pub fn route(&self, head: &impl RequestHead, client: Option<IpAddr>) -> (Option<&Route>, RouteOutcome) {
        let outcome = self.router.find(head, client);
        (outcome.route().and_then(|index| self.routes.get(index)), outcome)
    }

    pub fn status(&self) -> Vec<PoolStatus> {
        self.pools.iter().map(|pool| pool.status()).collect()
    }

    /// Of all rate limits.
    pub fn rate_limit_status(&self) -> Vec<RateLimitStatus> {
        let of_route = |route: &Route| {
            let name = route.name.clone();
            let status = move |limit: &RouteRateLimit| RateLimitStatus {
                route: name.to_string(),
                limit: limit.label.to_string(),
                refused: limit.limiter.refused(),
                would_refuse: limit.limiter.would_refuse(),
                keys: limit.limiter.keys() as u64,
                forgotten: limit.limiter.forgotten(),
            };
            route.rate_limits.iter().map(status).collect::<Vec<_>>()
        };
        self.routes.iter().flat_map(of_route).collect()
    }

    /// Of all mirrors.
    pub fn mirror_status(&self) -> Vec<MirrorStatus> {
        let mirrors = self.routes.iter().filter_map(|route| route.mirror.as_ref());
        mirrors.map(|mirror| MirrorStatus::of(&mirror.state)).collect()
    }

    /// Of the routes that have a limit of requests.
    pub fn route_status(&self) -> Vec<RouteStatus> {
        let status = |route: &Route| {
            let limit = &route.requests.as_ref()?.limit;
            Some(RouteStatus {
                name: route.name.to_string(),
                in_flight: limit.in_flight() as u64,
                most: limit.most().map(|most| most as u64),
                refused: limit.refused(),
                queue: limit.queue().status(),
            })
        };
        self.routes.iter().filter_map(status).collect()
    }
}

/// The capacity that all pools share.
struct PoolCapacity {
    connections: usize,
    http2: usize,
    pools: usize,
}

impl PoolCapacity {
    /// By default a pool leaves a tenth to the others, for the case that it hangs; a sole pool may use all. More than a
    /// tenth would refuse requests of a burst that could have been served.
    fn most(&self, limit: ConfigLimit) -> MaxRequests {
        let share = |all: usize| Some((all - all.div_ceil(10)).max(1) as u64);
        match limit {
            ConfigLimit::Auto if self.pools > 1 => MaxRequests {
                all: share(self.connections.saturating_add(self.http2)),
                of_connections: share(self.connections),
            },
            // Beyond a number, requests wait: see `Pool::request_limit`.
            ConfigLimit::Auto | ConfigLimit::Off | ConfigLimit::Fixed(_) => MaxRequests::default(),
        }
    }
}

/// The pools that a route's requests may go to.
fn targets(
    route: &config::Route,
    pools: &HashMap<&str, &Arc<Pool>>,
    times: &ResponseTimes<'_>,
) -> Box<[Target]> {
    let target = |name: &Arc<str>| {
        let pool = pools.get(&**name).map(|pool| Arc::clone(pool));
        // `config::compile` refuses routes without a pool.
        debug_assert!(pool.is_some(), "route {} names an unknown pool", route.name);
        let pool = pool?;
        let retry = route.retry.over(&pool.config().retry);
        let asks_for_times = retry.hedge.is_some_and(|hedge| hedge.after == HedgeAfter::P95);
        let kept = || times.get(&(&*route.name, &**pool.name())).map(|times| Arc::clone(times));
        let response_times =
            asks_for_times.then(|| kept().unwrap_or_else(|| Arc::new(RecentTimes::new(Instant::now()))));
        Some(Target { retry, response_times, pool })
    };
    route.pools().filter_map(target).collect()
}

/// The mirror of a route, with what was counted of it before.
fn mirror(
    route: &config::Route,
    pools: &HashMap<&str, &Arc<Pool>>,
    running: &HashMap<&str, &Arc<Mirror>>,
) -> Option<Arc<Mirror>> {
    let config = route.mirror.as_ref()?;
    let pool = Arc::clone(pools.get(&*config.pool)?);
    let known = running.get(&*route.name).filter(|mirror| mirror.config.pool == config.pool);
    let state = known.map(|mirror| mirror.state.clone());
    let state = state.unwrap_or_else(|| MirrorState::new(route.name.clone(), config.pool.clone()));
    Some(Arc::new(Mirror { config: config.clone(), pool, state }))
}

/// By the names of their routes.
fn mirrors(routes: &[Route]) -> HashMap<&str, &Arc<Mirror>> {
    routes.iter().filter_map(|route| Some((&*route.name, route.mirror.as_ref()?))).collect()
}

/// The previous listener if its config has not changed, so that its TLS clients can still resume their sessions.
fn listener(is: &Listener, previous: Option<&Snapshot>) -> Arc<Listener> {
    let was = previous.and_then(|previous| previous.listener(&is.name)).filter(|was| ***was == *is);
    was.cloned().unwrap_or_else(|| Arc::new(is.clone()))
}

/// By the names of their routes.
fn request_limits(routes: &[Route]) -> HashMap<&str, &Arc<RequestLimit>> {
    routes.iter().filter_map(|route| Some((&*route.name, &route.requests.as_ref()?.limit))).collect()
}

/// By the names of their routes and pools.
type ResponseTimes<'a> = HashMap<(&'a str, &'a str), &'a Arc<RecentTimes>>;

fn response_times(routes: &[Route]) -> ResponseTimes<'_> {
    let targets = routes.iter().flat_map(|route| route.targets.iter().map(move |target| (route, target)));
    targets
        .filter_map(|(route, target)| {
            Some(((&*route.name, &**target.pool.name()), target.response_times.as_ref()?))
        })
        .collect()
}

/// By the names of their routes.
fn gates(routes: &[Route]) -> HashMap<&str, &Arc<Gate>> {
    routes.iter().filter_map(|route| Some((&*route.name, route.auth.as_ref()?))).collect()
}

/// The running gate if its config has not changed, with what it remembers.
fn gate(config: &Arc<config::Auth>, running: Option<&Arc<Gate>>) -> Arc<Gate> {
    let running = running.filter(|running| running.config() == config);
    running.cloned().unwrap_or_else(|| Arc::new(Gate::new(config.clone())))
}

/// By the names of their routes and their labels.
fn rate_limiters(routes: &[Route]) -> HashMap<(&str, &str), &Arc<RateLimiter>> {
    let limits = routes.iter().flat_map(|route| route.rate_limits.iter().map(move |limit| (route, limit)));
    limits.map(|(route, limit)| ((&*route.name, &*limit.label), &limit.limiter)).collect()
}

/// The rate limits of a route. One that was there before, by the same key, goes on with what it has counted, unless it is
/// to remember more or fewer keys.
fn rate_limits(
    route: &config::Route,
    known: &HashMap<(&str, &str), &Arc<RateLimiter>>,
) -> Box<[RouteRateLimit]> {
    let numbered = |name: String, same: usize| if same == 0 { name } else { format!("{name} {}", same + 1) };
    let limit = |(index, config): (usize, &RateLimit)| {
        let before = route.rate_limits.iter().take(index);
        let label =
            numbered(config.by.to_string(), before.clone().filter(|other| other.by == config.by).count());
        let kind = config.by.kind();
        let policy = numbered(kind.to_owned(), before.filter(|other| other.by.kind() == kind).count());
        let most = (config.by != RateKey::Route).then_some(config.keys);
        let limiter = known.get(&(&*route.name, &*label)).filter(|limiter| limiter.most() == most);
        let new = || Arc::new(most.map_or_else(RateLimiter::of_one, RateLimiter::of_keys));
        let limiter = limiter.map_or_else(new, |limiter| Arc::clone(limiter));
        RouteRateLimit { config: config.clone(), label: label.into(), policy, limiter }
    };
    route.rate_limits.iter().enumerate().map(limit).collect()
}

fn by_name(pools: &[Arc<Pool>]) -> HashMap<&str, &Arc<Pool>> {
    pools.iter().map(|pool| (&**pool.name(), pool)).collect()
}

/// The running pool if its definition has not changed, else a new one that inherits live state.
fn pool(config: &config::Pool, running: Option<&Arc<Pool>>, known: &Arc<KnownState>) -> Arc<Pool> {
    match running {
        Some(running) if running.config() == config => running.clone(),
        running => Pool::new(config.clone(), running.map(|running| &**running), known),
    }
}
