//! The operations of workers for a request. Each has a function that prepares what workers share, and returns another
//! one that prepares a worker.

use std::future::ready;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use evenkeel::config;
use evenkeel::exchange::decide;
use evenkeel::listener_state::ListenerState;
use evenkeel::pool::{Holds, Lease, MayProbe, PickRequest, Picked, Pool, TriedEndpoints};
use evenkeel::snapshot::Snapshot;
use evenkeel::worker::request_scopes::RequestScopes;

use super::WORKERS;
use super::requests::{Connections, requests};
use super::stuck::{grow_queue, stuck_telemetry};
use super::traffic::{self, PLAIN, Read, Times};

pub struct Operation {
    pub name: &'static str,
    /// Prepares what workers share.
    pub prepare: fn() -> ForWorkers,
}

/// Makes the operation that one worker repeats; called in the worker's thread, within its runtime.
pub type ForWorkers = Box<dyn Fn() -> Work + Send + Sync>;

pub type Work = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = ()>>>>;

pub const OPERATIONS: [Operation; 10] = [
    Operation { name: "hold the config", prepare: hold },
    Operation { name: "decide", prepare: decide_route },
    Operation { name: "pick", prepare: pick },
    Operation { name: "pick, another endpoint is down", prepare: pick_beside },
    Operation { name: "lease", prepare: lease },
    Operation { name: "count a record", prepare: count_record },
    Operation { name: "log a record", prepare: log_record },
    Operation { name: "life of a request", prepare: life },
    Operation { name: "request on a kept connection", prepare: || requests(Connections::Kept) },
    Operation { name: "request on a connection of its own", prepare: || requests(Connections::New) },
];

/// The limit on a process's connections.
pub const CONNECTIONS: usize = 1000;

/// An endpoint that is never connected to.
const NOWHERE: &str = "127.0.0.1:1";

/// A snapshot with one pool of these endpoints. With one endpoint, all workers use the same.
pub fn snapshot(endpoints: &str) -> Arc<Snapshot> {
    let text = format!(
        "server: {{ threads: {WORKERS} }}\nlisteners: [{{ name: a, address: '127.0.0.1:0' }}]\n\
         routes: [{{ name: last, pool: p }}]\npools: {{ p: {{ health_check: off, endpoints: [{endpoints}] }} }}\n"
    );
    let config = config::parse(&text, "benchmark").unwrap_or_else(|report| panic!("{report}"));
    let snapshot = Snapshot::build(config, None);
    snapshot.limit_pools(CONNECTIONS, CONNECTIONS);
    Arc::new(snapshot)
}

/// Work that never waits.
fn at_once(mut work: impl FnMut() + 'static) -> Work {
    Box::new(move || {
        work();
        Box::pin(ready(()))
    })
}

fn hold() -> ForWorkers {
    let (current, telemetry) = (Arc::new(ArcSwap::new(snapshot(NOWHERE))), traffic::telemetry());
    let listener = ListenerState::new("a".into(), telemetry.metrics.listener(&"a".into()));
    Box::new(move || {
        let (scopes, listener) = (RequestScopes::new(current.clone(), telemetry.worker()), listener.clone());
        at_once(move || drop(black_box(scopes.of(&listener))))
    })
}

fn decide_route() -> ForWorkers {
    let snapshot = snapshot(NOWHERE);
    Box::new(move || {
        let (snapshot, read) = (snapshot.clone(), Read::of(PLAIN));
        at_once(move || {
            black_box(decide(&snapshot, &read.view(), None).route.is_some());
        })
    })
}

fn pick() -> ForWorkers {
    pick_from(pool(NOWHERE))
}

fn pick_beside() -> ForWorkers {
    let pool = pool("127.0.0.1:1, 127.0.0.1:2");
    let down = pool.members().pop().expect("there are two").endpoint;
    pool.connect_failed(&down, "nobody listens", Instant::now(), SystemTime::now());
    pool.publish_health();
    pick_from(pool)
}

fn pool(endpoints: &str) -> Arc<Pool> {
    snapshot(endpoints).pool("p").expect("it is in the config").clone()
}

fn first(tried: &TriedEndpoints) -> PickRequest<'_> {
    PickRequest { tried, key: None, sticky: None, may_probe: MayProbe::AtOnce, now: Instant::now() }
}

fn pick_from(pool: Arc<Pool>) -> ForWorkers {
    Box::new(move || {
        let (pool, none) = (pool.clone(), TriedEndpoints::default());
        at_once(move || drop(black_box(pool.pick(&first(&none)))))
    })
}

fn lease() -> ForWorkers {
    let pool = pool(NOWHERE);
    Box::new(move || {
        let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&TriedEndpoints::default())) else {
            unreachable!("there are no health checks")
        };
        at_once(move || {
            let lease = Lease::within_limit(endpoint.clone(), Holds::Connection);
            lease.iter().for_each(|lease| lease.received(100));
        })
    })
}

fn count_record() -> ForWorkers {
    let telemetry = traffic::telemetry();
    Box::new(move || {
        let (metrics, record) = (telemetry.metrics.clone(), traffic::record(PLAIN));
        at_once(move || metrics.request(traffic::named(black_box(&record))))
    })
}

fn log_record() -> ForWorkers {
    let telemetry = stuck_telemetry();
    Box::new(move || {
        grow_queue(&telemetry);
        let (log, record, now) =
            (telemetry.access_log.worker(), traffic::record(PLAIN), Times::new().later());
        at_once(move || log.log(traffic::named(black_box(&record)), now))
    })
}

/// All that `exchange` does for a request, including its record.
fn life() -> ForWorkers {
    let (snapshot, telemetry) = (snapshot(NOWHERE), stuck_telemetry());
    Box::new(move || {
        grow_queue(&telemetry);
        let (scope, read, times) = (traffic::pinned(&snapshot, &telemetry), Read::of(PLAIN), Times::new());
        // What lies beside it in memory is this worker's, too, as in a process whose workers allocate for themselves.
        let clients = [(); 3].map(|()| traffic::client());
        at_once(move || {
            let [_, client, _] = &clients;
            let mut exchange = traffic::begin(&scope, &read.view(), client, times);
            traffic::admit_and_connect(&mut exchange, &read.view(), times);
            traffic::answer(&mut exchange, times);
            exchange.finish(Some(200), 100, times.later());
        })
    })
}
