//! Resolves names and probes endpoints of new pools before a config comes into force.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::pool::Pool;

/// How long a reload waits in all: a slow resolver or endpoint must not hold up a reload, nor a stop.
pub const LIMIT: Duration = Duration::from_secs(2);

/// The part of it for names, so that time is left for probes.
const NAMES_LIMIT: Duration = Duration::from_secs(1);

/// Resolves the names of these pools, and probes the endpoints whose health is unknown, so that a dead one gets no
/// request. The supervisor does what is not done in time.
pub async fn warm_up(pools: &[Arc<Pool>]) {
    let _ = timeout(LIMIT, async {
        resolve_names(pools).await;
        probe_new(pools).await;
    })
    .await;
    // Results that came before a timeout count, too.
    pools.iter().for_each(|pool| pool.publish_health());
}

pub async fn resolve_names(pools: &[Arc<Pool>]) {
    let mut lookups = JoinSet::new();
    for pool in pools {
        let pool = pool.clone();
        lookups.spawn(async move { pool.discover(|| {}).await });
    }
    let _ = timeout(NAMES_LIMIT, lookups.join_all()).await;
}

async fn probe_new(pools: &[Arc<Pool>]) {
    let mut probes = JoinSet::new();
    for pool in pools {
        for member in pool.members() {
            if pool.is_undecided(&member) {
                let pool = pool.clone();
                probes.spawn(async move { pool.probe_first(&member).await });
            }
        }
    }
    probes.join_all().await;
}
