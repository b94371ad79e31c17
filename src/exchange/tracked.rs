//! An exchange that counts as active while it lives, and whose record is written whatever becomes of it.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::{Exchange, Failure};

pub struct Tracked {
    exchange: Exchange,
    finished: bool,
}

impl Tracked {
    pub fn new(exchange: Exchange) -> Self {
        exchange.held().counters().accept();
        Self { exchange, finished: false }
    }

    /// Writes the record; what the client was sent, and how much of the body it took.
    pub fn finish(&mut self, status: Option<u16>, bytes_out: u64, now: Instant) {
        self.finished = true;
        let held = self.exchange.held().clone();
        let record = self.exchange.finish(status, bytes_out, now);
        let outcome = record.outcome;
        held.telemetry().record(record, now);
        // Last: a stop ends the process as soon as no request is counted as in flight, and each has its line by then.
        held.counters().close(outcome);
    }
}

impl Deref for Tracked {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl DerefMut for Tracked {
    fn deref_mut(&mut self) -> &mut Exchange {
        &mut self.exchange
    }
}

impl Drop for Tracked {
    /// A request that its carrier dropped has its line in the log all the same: in a panic, or because a stop cuts it.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if std::thread::panicking() {
            self.exchange.failed(Failure::Internal, Some("dropped before its end".into()));
            self.finish(Some(Failure::Internal.status().as_u16()), 0, Instant::now());
        } else {
            self.exchange.failed(Failure::Stopped, None);
            let begun = self.exchange.status_of_endpoint();
            let (status, bytes) =
                (begun.unwrap_or(Failure::Stopped.status().as_u16()), self.exchange.bytes_out());
            self.finish(Some(status), bytes, Instant::now());
        }
    }
}
