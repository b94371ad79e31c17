//! What is done before a config comes into force, so that its endpoints are known by then.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::pool::Pool;

/// How long a reload waits in all: it must not hang, nor keep a stop waiting, because a resolver or an endpoint does.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Of that, for names, so that something is left for probes.
const NAMES_LIMIT: Duration = Duration::from_secs(1);

/// Resolves the names of these pools, and probes the endpoints of which their checks know nothing: a dead one gets no
/// request. What is left over is for the supervisor, as at every start.
pub async fn warm_up(pools: &[Arc<Pool>]) {
    let _ = timeout(LIMIT, async {
        resolve_names(pools).await;
        probe_new(pools).await;
    })
    .await;
    // Also what was found before the time was over.
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
