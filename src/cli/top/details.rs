//! Two lines about the selected row: all that has no column on a narrow screen.

use std::time::Duration;

use super::rows::Subject;
use crate::admin::Status;
use crate::human;
use crate::pool::status::{ByHandStatus, EndpointStatus, PoolStatus, ProbeOutcome};

pub(super) fn of(status: &Status, subject: &Subject) -> Vec<String> {
    let now = status.started + status.uptime_seconds;
    let Some(pool) = status.pools.iter().find(|pool| pool.name == subject.pool) else { return Vec::new() };
    match &subject.endpoint {
        None => of_pool(pool),
        Some(address) => (pool.endpoints.iter().find(|endpoint| endpoint.address == *address))
            .map(|endpoint| of_endpoint(endpoint, now))
            .unwrap_or_default(),
    }
}

fn of_pool(pool: &PoolStatus) -> Vec<String> {
    let PoolStatus { queue, retries, .. } = pool;
    let most = pool.most.map(|most| format!(" of at most {}", human::count(most))).unwrap_or_default();
    let allowed =
        retries.allowed.map(|most| format!(" of at most {}", human::count(most))).unwrap_or_default();
    let first = format!(
        "{}; {}{most} in flight; refused {}: full {}, queue full {}, late {}, shed {}",
        human::safe(&pool.balance),
        human::count(pool.in_flight),
        human::count(pool.refused + queue.full + queue.expired + queue.shed),
        human::count(pool.refused),
        human::count(queue.full),
        human::count(queue.expired),
        human::count(queue.shed),
    );
    let failing = pool.sources.iter().find_map(|source| source.failing.as_ref().map(|why| (source, why)));
    let second = match failing {
        Some((source, why)) => format!("{} fails: {}", human::safe(&source.source), human::safe(why)),
        None => format!(
            "waited: {}; retries of ten seconds: {}{allowed}, refused by the budget: {}",
            human::count(queue.waits),
            human::count(retries.retries),
            human::count(retries.refused)
        ),
    };
    vec![first, second]
}

fn of_endpoint(endpoint: &EndpointStatus, now: f64) -> Vec<String> {
    let ago = |at: f64| human::coarse_duration(Duration::try_from_secs_f64(now - at).unwrap_or_default());
    let backup = if endpoint.backup { ", backup" } else { "" };
    let first = format!(
        "{} for {}: {}; weight {}{backup}, ejected {} times",
        endpoint.state.name(),
        ago(endpoint.since),
        human::safe(&endpoint.reason),
        endpoint.weight,
        human::count(endpoint.ejections),
    );
    let drained = endpoint.drained.as_ref().map(|ByHandStatus { by, until }| {
        let until = until.map(|until| format!(" until {}", human::date(until))).unwrap_or_default();
        format!("drained by {}{until}", human::safe(by))
    });
    let ejected = endpoint.ejected_seconds.map(|left| format!("ejected for {left:.0}s more"));
    let cause = endpoint.share_cause.as_ref().map(|cause| format!("share: {}", human::safe(cause)));
    let failed = endpoint.probes.iter().rev().find(|probe| probe.result != ProbeOutcome::Passed);
    let probe = failed.map(|probe| {
        let reason = probe.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("probe {} ago {}{}", ago(probe.at), probe.result.name(), human::safe(&reason))
    });
    let second: Vec<String> = [drained, ejected, cause, probe].into_iter().flatten().collect();
    vec![first, second.join("; ")]
}
