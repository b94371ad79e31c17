//! The end of the process: what is under way is finished, whoever can be told is told, and the rest is cut and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::ServerState;

/// How often it looks whether everything is finished.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// When the drain is over, WebSockets are told to close, and have so long to do it.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How long it may take to cut what is left, and to write its lines in the log.
const CUT: Duration = Duration::from_secs(1);

/// How far the end has come; what the workers do about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainStage {
    #[default]
    Serving,
    /// The listeners are closed. Who is idle is closed after `server.drain_idle`.
    Draining,
    /// The time is over: tunnels end where they can be told.
    Closing,
    /// What is left is dropped.
    Cut,
}

/// What a stop has come to.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Requests that have ended since it began.
    pub finished: u64,
    pub cut: u64,
}

/// A stop that is under way.
pub struct Drain {
    shared: Arc<ServerState>,
    /// Requests that had ended when it began.
    ended: u64,
    begun: Instant,
}

impl Drain {
    /// Readiness is gone, and responses say that they are the last from now on.
    pub fn begin(shared: Arc<ServerState>, reason: &str) -> Self {
        shared.lifecycle.stop();
        let balance = shared.telemetry.metrics.balance();
        let (in_flight, drain) = (balance.in_flight, shared.snapshot.load().config().server.drain);
        log::info!(reason, in_flight, drain_seconds = drain.as_secs_f64(); "stopping");
        Self { shared, ended: balance.ended(), begun: Instant::now() }
    }

    /// Closes the listeners, after `delay`, and lets finish what is under way, as long as it may take.
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

    /// In a process that starts, whoever is in a queue is let in by workers that are yet to come; nobody waits for them
    /// otherwise.
    async fn wait_for_workers(&self) {
        let deadline = Instant::now() + self.shared.snapshot.load().config().server.drain;
        while self.shared.listen_sockets.nobody_accepts()
            && self.shared.listen_sockets.have_waiting()
            && Instant::now() < deadline
        {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Ends it at once.
    pub async fn abandon(&self) -> Drained {
        let drained = self.drained();
        log::warn!(finished = drained.finished, cut = drained.cut; "stopped at once: a second signal came");
        self.cut().await;
        drained
    }

    /// Whether nothing is left within `limit`.
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

    /// No client is connected, or waits in the queue of a socket.
    fn is_finished(&self) -> bool {
        self.shared.listen_sockets.are_closed() && self.shared.loads.sum() == 0
    }

    fn drained(&self) -> Drained {
        let balance = self.shared.telemetry.metrics.balance();
        Drained { finished: balance.ended().saturating_sub(self.ended), cut: balance.in_flight }
    }

    /// Every request that is cut has its line in the log.
    async fn cut(&self) {
        self.shared.drain_stage.send_replace(DrainStage::Cut);
        let deadline = Instant::now() + CUT;
        while self.shared.telemetry.metrics.balance().in_flight > 0 && Instant::now() < deadline {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}
