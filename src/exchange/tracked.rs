//! An exchange that counts as in flight while it lives, and whose record is written even if it is dropped.

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

    /// Writes the record. `status` is what the client was sent, `bytes_out` the body bytes that it took.
    pub fn finish(&mut self, status: Option<u16>, bytes_out: u64, now: Instant) {
        self.finished = true;
        let held = self.exchange.held().clone();
        let record = self.exchange.finish(status, bytes_out, now);
        let outcome = record.outcome;
        held.telemetry().record(record, now);
        // Last: a stop ends the process as soon as no request counts as in flight, and all records must be written
        // then.
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
    /// Writes the record of a request that its engine dropped, in a panic or because a stop cuts it.
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
