//! The pending revert of an unconfirmed config: when the last permanent config comes back, and the retries if it
//! cannot.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::offload::Hung;

/// The delay before a failed revert is retried: it doubles from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// What becomes of an unconfirmed config.
#[derive(Debug)]
pub struct PendingRevert {
    /// The text of the last permanent config.
    pub revert_to: Arc<str>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The config can be confirmed until then.
    Waits { until: Instant },
    /// The config was not confirmed in time, and the revert failed for this reason.
    Refused { reason: String, retry: Duration, at: Instant },
}

impl PendingRevert {
    /// A config that can be confirmed within `limit`.
    pub fn waiting(revert_to: Arc<str>, limit: Duration) -> Self {
        Self { revert_to, phase: Phase::Waits { until: Instant::now() + limit } }
    }

    /// A config that was not confirmed in time, with the reason why the revert failed.
    pub fn refused(revert_to: Arc<str>, reason: String) -> Self {
        let (retry, at) = (RETRY_FIRST, Instant::now() + RETRY_FIRST);
        Self { revert_to, phase: Phase::Refused { reason, retry, at } }
    }

    /// The deadline of the confirmation; `None`: it has passed.
    pub fn waits_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waits { until } => Some(until),
            Phase::Refused { .. } => None,
        }
    }

    /// Why the revert failed, if it has.
    pub fn refusal(&self) -> Option<&str> {
        match &self.phase {
            Phase::Waits { .. } => None,
            Phase::Refused { reason, .. } => Some(reason),
        }
    }

    /// Begins an attempt to revert: from now on the config cannot be confirmed. Schedules the next attempt right away,
    /// in case this one panics. Returns why the attempt before failed, if there was one.
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

    /// The attempt has failed for this reason.
    pub fn refuse(&mut self, why: String) {
        if let Phase::Refused { reason, retry, at } = &mut self.phase {
            (*reason, *at) = (why, Instant::now() + *retry);
        }
    }

    /// Returns when the revert is to be attempted. Cancel safe.
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
