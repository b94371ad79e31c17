//! Changes of endpoints by hand: finding the endpoint that is meant, refusing what would leave nobody to serve, and
//! ending by itself what has an end.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::adjustment::{ByHand, End, EndpointChange};
use super::candidates;
use super::endpoint::Endpoint;
use super::status::EndpointStatus;
use super::{Member, Pool};
use crate::config::{WhenNoneHealthy, suggest};
use crate::human;

/// Endpoints that an error lists.
const LISTED_MAX: usize = 8;

/// An order about one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustOrder {
    /// As `evenkeel status` shows it, or its address alone.
    pub endpoint: String,
    pub pools: PoolChoice,
    pub change: EndpointChange,
    /// After that it ends by itself.
    pub limit: Option<Duration>,
    /// Even if nobody is left to serve.
    pub force: bool,
}

/// The pools in which an order changes the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolChoice {
    /// The one that has it; if several have, none.
    Sole,
    Named(String),
    All,
}

/// An endpoint after a change.
#[derive(Debug, Clone, Serialize)]
pub struct Adjusted {
    pub pool: String,
    /// There was something to change.
    pub changed: bool,
    /// How many other endpoints of the pool there are that can serve.
    pub others_that_can_serve: usize,
    #[serde(flatten)]
    pub endpoint: EndpointStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdjustError {
    #[error("there is no pool {name}: {remedy}")]
    UnknownPool { name: String, remedy: String },
    #[error("no endpoint {name} in {place}: {remedy}")]
    UnknownEndpoint { name: String, place: String, remedy: String },
    #[error("{name} is several endpoints of pool {pool}: name one of them: {}", .labels.join(", "))]
    SeveralEndpoints { name: String, pool: String, labels: Vec<String> },
    #[error("{name} is in the pools {}: name one with --pool, or say --all-pools", .pools.join(", "))]
    SeveralPools { name: String, pools: Vec<String> },
    #[error(
        "{label} is the last endpoint of pool {pool} that can serve: without it, requests would be {fate}; --force does it all the same"
    )]
    Last { label: String, pool: String, fate: String },
}

/// Carries out an order in all the pools that it means, or in none.
pub fn adjust(pools: &[Arc<Pool>], order: &AdjustOrder, by: &str) -> Result<Vec<Adjusted>, AdjustError> {
    let found = find(pools, order)?;
    if !order.force
        && let Some((pool, member)) = found.iter().find(|(pool, member)| pool.needs(member, order.change))
    {
        let (label, pool_name) = (member.endpoint.label().to_string(), pool.name().to_string());
        return Err(AdjustError::Last { label, pool: pool_name, fate: pool.fate_without(member) });
    }
    let by_hand = ByHand { by: by.to_owned(), until: order.limit.map(End::after) };
    Ok(found.into_iter().filter_map(|(pool, member)| pool.adjust(&member, order.change, &by_hand)).collect())
}

fn find<'a>(
    pools: &'a [Arc<Pool>],
    order: &AdjustOrder,
) -> Result<Vec<(&'a Arc<Pool>, Member)>, AdjustError> {
    let wanted: Vec<&Arc<Pool>> = match &order.pools {
        PoolChoice::Named(name) => pools.iter().filter(|pool| **pool.name() == **name).collect(),
        PoolChoice::Sole | PoolChoice::All => pools.iter().collect(),
    };
    if let (PoolChoice::Named(name), true) = (&order.pools, wanted.is_empty()) {
        let names = pools.iter().map(|pool| &**pool.name());
        return Err(AdjustError::UnknownPool {
            name: name.clone(),
            remedy: suggest::remedy(name, names, "the pools are"),
        });
    }
    let mut found = Vec::new();
    for pool in &wanted {
        found.extend(pool.member_named(&order.endpoint)?.map(|member| (*pool, member)));
    }
    match found.len() {
        0 => Err(unknown(&wanted, order)),
        1 => Ok(found),
        _ if order.pools == PoolChoice::Sole => {
            let pools = found.iter().map(|(pool, _)| pool.name().to_string()).collect();
            Err(AdjustError::SeveralPools { name: order.endpoint.clone(), pools })
        }
        _ => Ok(found),
    }
}

fn unknown(pools: &[&Arc<Pool>], order: &AdjustOrder) -> AdjustError {
    let name = order.endpoint.clone();
    let place = match &order.pools {
        PoolChoice::Named(pool) => format!("pool {pool}"),
        PoolChoice::Sole | PoolChoice::All => "any pool".to_owned(),
    };
    let mut labels: Vec<Arc<str>> =
        pools.iter().flat_map(|pool| pool.members()).map(|member| member.endpoint.label().clone()).collect();
    labels.sort();
    labels.dedup();
    let remedy = match suggest::by_nearness(&name, labels.iter().map(|label| &**label)) {
        near if near.is_empty() => "there are none now".to_owned(),
        near if near.len() <= LISTED_MAX => format!("there are {}", near.join(", ")),
        near => format!(
            "the nearest of {} are {}",
            near.len(),
            near.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ")
        ),
    };
    AdjustError::UnknownEndpoint { name, place, remedy }
}

/// Whether requests that come now could get it, but as a last resort.
fn can_serve(member: &Member) -> bool {
    let endpoint = &member.endpoint;
    !endpoint.is_draining()
        && member.weight() > 0
        && candidates::preference(endpoint.state(), member.attributes.backup).is_some()
}

impl Pool {
    fn member_named(&self, name: &str) -> Result<Option<Member>, AdjustError> {
        let mut meant: Vec<Member> =
            self.members().into_iter().filter(|member| member.endpoint.is_named(name)).collect();
        if let Some(exact) = meant.iter().position(|member| **member.endpoint.label() == *name) {
            return Ok(Some(meant.swap_remove(exact)));
        }
        if meant.len() > 1 {
            let labels = meant.iter().map(|member| member.endpoint.label().to_string()).collect();
            let (name, pool) = (name.to_owned(), self.name().to_string());
            return Err(AdjustError::SeveralEndpoints { name, pool, labels });
        }
        Ok(meant.pop())
    }

    fn others_that_can_serve(&self, member: &Member) -> usize {
        let is_other = |other: &&Member| !Arc::ptr_eq(&other.endpoint, &member.endpoint);
        self.members().iter().filter(is_other).filter(|other| can_serve(other)).count()
    }

    /// Whether the change would take from requests the last endpoint that can serve them.
    fn needs(&self, member: &Member, change: EndpointChange) -> bool {
        let takes_out = match change {
            EndpointChange::Drain | EndpointChange::Weight(0) => true,
            EndpointChange::ResetWeight => member.attributes.weight == 0,
            EndpointChange::Weight(_) | EndpointChange::Undrain => false,
        };
        takes_out && can_serve(member) && self.others_that_can_serve(member) == 0
    }

    /// What would become of requests without this member.
    fn fate_without(&self, member: &Member) -> String {
        let is_left = |other: &Member| {
            !Arc::ptr_eq(&other.endpoint, &member.endpoint)
                && !other.endpoint.is_draining()
                && other.weight() > 0
        };
        match self.config().when_none_healthy {
            WhenNoneHealthy::FailOpen if self.members().iter().any(is_left) => {
                "sent to endpoints that are down".to_owned()
            }
            WhenNoneHealthy::Wait { limit, .. } if !limit.is_zero() => {
                format!("held for {} at most, and then answered 503", human::coarse_duration(limit))
            }
            WhenNoneHealthy::FailOpen | WhenNoneHealthy::Wait { .. } => "answered 503".to_owned(),
        }
    }

    /// In force when this returns: requests that come later are picked an endpoint by it. `None`: the member has left.
    fn adjust(&self, member: &Member, change: EndpointChange, by_hand: &ByHand) -> Option<Adjusted> {
        let state = member.endpoint.adjustment();
        let was = state.get();
        let changed = match change {
            EndpointChange::Drain | EndpointChange::Weight(_) => true,
            EndpointChange::Undrain => was.drain.is_some(),
            EndpointChange::ResetWeight => was.weight.is_some(),
        };
        if changed {
            state.change(change, by_hand.clone());
            self.log_change(&member.endpoint, change, by_hand);
            self.publish_health();
            self.table.adjusted.notify_one();
        }
        let label = member.endpoint.label();
        let endpoint = self.status().endpoints.into_iter().find(|status| *status.address == **label)?;
        let others_that_can_serve = self.others_that_can_serve(member);
        Some(Adjusted { pool: self.name().to_string(), changed, others_that_can_serve, endpoint })
    }

    /// Ends changes by hand when their time is over, for ever.
    pub(super) async fn end_adjustments(&self) {
        loop {
            let adjusted = self.table.adjusted();
            match adjusted.iter().filter_map(|endpoint| endpoint.adjustment().next_end()).min() {
                None => self.table.adjusted.notified().await,
                Some(end) => tokio::select! {
                    () = sleep_until(end) => self.end_due(&adjusted),
                    () = self.table.adjusted.notified() => {}
                },
            }
        }
    }

    fn end_due(&self, adjusted: &[Arc<Endpoint>]) {
        let now = Instant::now();
        for endpoint in adjusted {
            for change in endpoint.adjustment().end_due(now) {
                self.log_change(endpoint, change, &ByHand { by: "its end".to_owned(), until: None });
            }
        }
        self.publish_health();
    }

    fn log_change(&self, endpoint: &Endpoint, change: EndpointChange, by_hand: &ByHand) {
        let (pool, label, by) = (&**self.name(), &**endpoint.label(), &*by_hand.by);
        let until = Until(by_hand, change);
        match change {
            EndpointChange::Drain => log::info!(pool, endpoint = label, by, until:%; "endpoint drained"),
            EndpointChange::Undrain => log::info!(pool, endpoint = label, by; "endpoint undrained"),
            EndpointChange::Weight(weight) => {
                log::info!(pool, endpoint = label, weight, by, until:%; "endpoint weight set");
            }
            EndpointChange::ResetWeight => {
                log::info!(pool, endpoint = label, by; "endpoint weight reset");
            }
        }
    }
}

/// When a change by hand ends: a time, or the command that ends it.
struct Until<'a>(&'a ByHand, EndpointChange);

impl fmt::Display for Until<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.until, self.1) {
            (Some(end), _) => out.write_str(&human::date(human::unix_seconds(end.time))),
            (None, EndpointChange::Drain | EndpointChange::Undrain) => out.write_str("undrain"),
            (None, EndpointChange::Weight(_) | EndpointChange::ResetWeight) => out.write_str("weight reset"),
        }
    }
}
