//! Outages: endpoints stop listening and come back a moment later, as in a deployment. Most endpoints of a pool do, or,
//! in every second outage, all of them, while requests wait.

use std::time::{Duration, Instant};

use super::super::admin;
use super::super::settings::Form;
use super::super::subject::SubjectError;
use super::{Operator, Outcome, PAUSE};

/// How long endpoints are away.
const AWAY: Duration = Duration::from_millis(1500);
/// Time for health checks to find all endpoints healthy again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

impl Operator<'_> {
    pub(super) async fn outage(&mut self, number: u64) -> Result<Outcome, SubjectError> {
        let began = Instant::now();
        let all_go = number.is_multiple_of(2);
        self.settings.form = if all_go { Form::Waits } else { Form::Plain };
        self.reload().await?;
        self.wait_until_healthy(began).await?;
        // Endpoint `self.number` is in another pool, so the one after it stays.
        let stays = (!all_go).then_some((self.number + 1) % self.endpoints.len().max(1));
        let going = || self.endpoints.iter().enumerate().filter(|(at, _)| Some(*at) != stays);
        for (_, endpoint) in going() {
            endpoint.go().await;
        }
        tokio::time::sleep(AWAY).await;
        going().try_for_each(|(_, endpoint)| endpoint.come_back()).map_err(SubjectError::Endpoint)?;
        self.wait_until_healthy(began).await?;
        self.settings.form = Form::Plain;
        Ok(Outcome::Done)
    }

    async fn wait_until_healthy(&self, began: Instant) -> Result<(), SubjectError> {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        while !admin::status(self.folder).await?.is_healthy() {
            if Instant::now() > deadline {
                self.complain(began, "endpoints that are found again", "not all of them are healthy");
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
