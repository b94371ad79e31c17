//! A config that is in force until further notice, and its way back to the one before.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::offload::Hung;

/// How long after a way back that was refused it is tried again: twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// The config in force is not so for good.
#[derive(Debug)]
pub struct PendingRevert {
    /// The text of the config that was in force for good, and comes back.
    pub revert_to: Arc<str>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// For its confirmation.
    Waits { until: Instant },
    /// It was not confirmed in time, and the config before could not be put in force, for this reason.
    Refused { reason: String, retry: Duration, at: Instant },
}

impl PendingRevert {
    /// It waits for its confirmation for so long.
    pub fn waiting(revert_to: Arc<str>, limit: Duration) -> Self {
        Self { revert_to, phase: Phase::Waits { until: Instant::now() + limit } }
    }

    /// It was not confirmed in time, and this is why the config before is not in force.
    pub fn refused(revert_to: Arc<str>, reason: String) -> Self {
        let (retry, at) = (RETRY_FIRST, Instant::now() + RETRY_FIRST);
        Self { revert_to, phase: Phase::Refused { reason, retry, at } }
    }

    /// When it is too late for a confirmation; `None`: it is.
    pub fn waits_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waits { until } => Some(until),
            Phase::Refused { .. } => None,
        }
    }

    /// Why the config before is not in force, although this one was not confirmed in time.
    pub fn refusal(&self) -> Option<&str> {
        match &self.phase {
            Phase::Waits { .. } => None,
            Phase::Refused { reason, .. } => Some(reason),
        }
    }

    /// The config before is about to be put in force: it is too late for a confirmation. Another attempt comes later,
    /// even if this one panics. Returns why the one before was refused, if there was one.
    pub fn attempt(&mut self) -> Option<String> {
        let refusal = self.refusal().map(str::to_owned);
        let retry = match self.phase {
            Phase::Waits { .. } => RETRY_FIRST,
            Phase::Refused { retry, .. } => (retry * 2).min(RETRY_LAST),
        };
        let reason = refusal.clone().unwrap_or_else(|| Hung::Panicked.to_string());
        self.phase = Phase::Refused { reason, retry, at: Instant::now() + retry };
        refusal
    }

    /// That failed, for this reason, which may be gone by the next attempt.
    pub fn refuse(&mut self, why: String) {
        if let Phase::Refused { reason, retry, at } = &mut self.phase {
            (*reason, *at) = (why, Instant::now() + *retry);
        }
    }

    /// Returns when the config before is to be put in force. May be dropped and called again.
    pub async fn revert_due(&self) {
        match self.phase {
            Phase::Waits { until: at } | Phase::Refused { at, .. } => sleep_until(at).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn due_after(pending_revert: &PendingRevert) -> Duration {
        let begun = Instant::now();
        pending_revert.revert_due().await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_back_that_is_refused_is_tried_again_whatever_the_reason() {
        let seconds = Duration::from_secs;
        let mut pending_revert = PendingRevert::waiting("before".into(), seconds(60));
        assert!(pending_revert.waits_until().is_some() && pending_revert.refusal().is_none());
        assert!(due_after(&pending_revert).await.abs_diff(seconds(60)) < seconds(1));
        let mut before = None;
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(pending_revert.attempt(), before);
            assert!(pending_revert.waits_until().is_none(), "it is too late to confirm it");
            // An attempt takes its time.
            sleep(seconds(20)).await;
            before = Some(format!("no {expected}"));
            pending_revert.refuse(format!("no {expected}"));
            assert!(
                due_after(&pending_revert).await.abs_diff(seconds(expected)) < Duration::from_millis(500)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_panics_is_not_the_last_and_not_followed_at_once() {
        let mut pending_revert = PendingRevert::waiting("before".into(), Duration::ZERO);
        pending_revert.attempt();
        assert!(pending_revert.refusal().is_some_and(|reason| reason.contains("panicked")));
        assert!(due_after(&pending_revert).await.abs_diff(RETRY_FIRST) < Duration::from_millis(500));
    }
}
