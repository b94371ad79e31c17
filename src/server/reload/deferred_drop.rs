//! Holds replaced snapshots until no request uses them, and drops them on the control thread.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::snapshot::Snapshot;
use crate::telemetry::metrics::Metrics;

/// How often the reference counts are checked.
const SWEEP: Duration = Duration::from_secs(1);

/// Dropping a snapshot of ten thousand endpoints takes milliseconds. If the last request that uses it dropped it, all
/// other requests of that worker would wait meanwhile.
pub struct DeferredDrop {
    snapshots: Vec<Arc<Snapshot>>,
    metrics: Metrics,
}

impl DeferredDrop {
    pub fn new(metrics: Metrics) -> Self {
        Self { snapshots: Vec::new(), metrics }
    }

    pub fn add(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshots.push(snapshot);
        self.sweep();
    }

    /// Drops each snapshot once nothing else refers to it. Cancel safe.
    pub async fn drop_unused(&mut self) -> Infallible {
        while !self.snapshots.is_empty() {
            tokio::time::sleep(SWEEP).await;
            self.sweep();
        }
        std::future::pending().await
    }

    fn sweep(&mut self) {
        self.snapshots.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.metrics.snapshots_in_use(self.snapshots.len() + 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::config;

    #[tokio::test(start_paused = true)]
    async fn the_last_user_does_not_drop_it() {
        let config = config::parse("listen: 127.0.0.1:0\nendpoints: [127.0.0.1:1]", "test");
        let request = Arc::new(Snapshot::build(config.expect("a valid config"), None));
        let snapshot = Arc::downgrade(&request);
        let mut deferred_drop = DeferredDrop::new(Metrics::new(std::time::UNIX_EPOCH));
        deferred_drop.add(request.clone());
        let _ = timeout(SWEEP * 5, deferred_drop.drop_unused()).await;
        drop(request);
        assert_eq!(snapshot.strong_count(), 1, "it waits for the next look");
        let _ = timeout(SWEEP * 2, deferred_drop.drop_unused()).await;
        assert_eq!(snapshot.strong_count(), 0);
    }
}
