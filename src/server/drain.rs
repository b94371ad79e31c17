//! Drains the process: requests in flight finish, clients that can be told are told to close, and the rest is cut and
//! counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::ServerState;

/// How often the drain checks whether everything has finished.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// How long WebSockets have to close after the close frame that they get at the end of the drain.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How long cutting the remaining requests and logging them may take.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// The stages of a drain, which the workers follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainStage {
    #[default]
    Serving,
    /// The listeners are closed. Idle connections are closed after `server.drain_idle`.
    Draining,
    /// The drain time is over: WebSockets get a close frame.
    Closing,
    /// The remaining connections are dropped.
    Cut,
}

/// The result of a drain.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Requests that have ended since the drain began.
    pub finished: u64,
    pub cut: u64,
}

/// A drain in progress.
pub struct Drain {
    shared: Arc<ServerState>,
    /// Requests that had ended before the drain began.
    ended: u64,
    begun: Instant,
}

impl Drain {
    /// Readiness fails and responses announce the close of their connection from now on.
    pub fn begin(shared: Arc<ServerState>, reason: &str) -> Self {
        shared.lifecycle.stop();
        let balance = shared.telemetry.metrics.balance();
        let (in_flight, drain) = (balance.in_flight, shared.snapshot.load().config().server.drain);
        log::info!(reason, in_flight, drain_seconds = drain.as_secs_f64(); "stopping");
        Self { shared, ended: balance.ended(), begun: Instant::now() }
    }

    /// Closes the listeners after `delay`, and lets requests finish for at most `server.drain`.
    pub async fn run(&mut self, delay: Duration) -> Drained {
        tokio::time::sleep(delay).await;
        self.wait_for_workers().await;
        self.shared.listen_sockets.close();
        self.shared.drain_stage.send_replace(DrainStage::Draining);
        self.begun = Instant::now();
        let limit = self.shared.snapshot.load().config().server.drain;
        let mut finished = self.finishes(limit).await;
        if !finished {
            self.shared.drain_stage.send_replace(DrainStage::Closing);
            finished = self.finishes(CLOSE_LIMIT.min(limit)).await;
        }
        let drained = self.drained();
        let (finished_requests, seconds) = (drained.finished, self.begun.elapsed().as_secs_f64());
        if finished {
            log::info!(finished = finished_requests, cut = 0, seconds; "stopped");
        } else {
            log::warn!(finished = finished_requests, cut = drained.cut, seconds; "stopped: the drain time is over");
            self.cut().await;
        }
        drained
    }

    /// In a process that has just started the workers may not exist yet: waits until they have served the clients that
    /// are in the queues.
    async fn wait_for_workers(&self) {
        let deadline = Instant::now() + self.shared.snapshot.load().config().server.drain;
        while self.shared.listen_sockets.nobody_accepts()
            && self.shared.listen_sockets.have_waiting()
            && Instant::now() < deadline
        {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Cuts all remaining requests at once.
    pub async fn abandon(&self) -> Drained {
        let drained = self.drained();
        log::warn!(finished = drained.finished, cut = drained.cut; "stopped at once: a second signal came");
        self.cut().await;
        drained
    }

    /// Waits at most `limit` for everything to finish; returns whether it has.
    async fn finishes(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        true
    }

    /// Whether no client is connected or waits in the queue of a socket.
    fn is_finished(&self) -> bool {
        self.shared.listen_sockets.are_closed() && self.shared.loads.sum() == 0
    }

    fn drained(&self) -> Drained {
        let balance = self.shared.telemetry.metrics.balance();
        Drained { finished: balance.ended().saturating_sub(self.ended), cut: balance.in_flight }
    }

    /// Waits until every request that is cut has its line in the access log.
    async fn cut(&self) {
        self.shared.drain_stage.send_replace(DrainStage::Cut);
        let deadline = Instant::now() + CUT_LIMIT;
        while self.shared.telemetry.metrics.balance().in_flight > 0 && Instant::now() < deadline {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}
