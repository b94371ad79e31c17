//! The request balance of a listener: each accepted request was answered, refused with a reason, left by its client, or
//! cut, or it is still in flight.

use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use crate::sharded_counter::ShardedCounter;
use crate::telemetry::record::Outcome;

/// Requests of one listener since the start: the number accepted, then the number ended by each [`Outcome`].
#[derive(Debug, Default)]
pub struct RequestCounts(ShardedCounter<5>);

const ACCEPTED: usize = 0;

/// The balance at one moment. `accepted` is always the sum of all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestBalance {
    /// Requests whose head arrived, or was refused.
    pub accepted: u64,
    pub answered: u64,
    pub refused: u64,
    pub client_gone: u64,
    pub cut: u64,
    pub in_flight: u64,
}

impl RequestCounts {
    pub(super) fn accept(&self) {
        self.0.add(ACCEPTED, 1, SeqCst);
    }

    pub(super) fn close(&self, outcome: Outcome) {
        self.0.add(index(outcome), 1, SeqCst);
    }

    pub fn balance(&self) -> RequestBalance {
        let count = |outcome| self.0.sum(index(outcome), SeqCst);
        let (answered, refused) = (count(Outcome::Answered), count(Outcome::Refused));
        let (client_gone, cut) = (count(Outcome::ClientGone), count(Outcome::Cut));
        // Read last, so that it includes every request counted above as ended.
        let accepted = self.0.sum(ACCEPTED, SeqCst);
        let in_flight = accepted.saturating_sub(answered + refused + client_gone + cut);
        RequestBalance { accepted, answered, refused, client_gone, cut, in_flight }
    }
}

fn index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Answered => 1,
        Outcome::Refused => 2,
        Outcome::ClientGone => 3,
        Outcome::Cut => 4,
    }
}

impl RequestBalance {
    /// Requests that have ended with any outcome.
    pub fn ended(&self) -> u64 {
        self.accepted - self.in_flight
    }
}

impl std::ops::Add for RequestBalance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            client_gone: self.client_gone + other.client_gone,
            cut: self.cut + other.cut,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharded_counter::use_own_shard;

    #[test]
    fn what_has_not_ended_is_in_flight() {
        let counts = RequestCounts::default();
        (0..9).for_each(|_| counts.accept());
        let ends =
            [Outcome::Answered, Outcome::Answered, Outcome::Refused, Outcome::ClientGone, Outcome::Cut];
        ends.into_iter().for_each(|outcome| counts.close(outcome));
        let balance = counts.balance();
        let expected =
            RequestBalance { accepted: 9, answered: 2, refused: 1, client_gone: 1, cut: 1, in_flight: 4 };
        assert_eq!((balance, balance.ended()), (expected, 5));
        assert_eq!((balance + balance).in_flight, 8);
    }

    #[test]
    fn the_balance_holds_while_others_write() {
        let counts = RequestCounts::default();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let counts = &counts;
                scope.spawn(move || {
                    use_own_shard(worker);
                    for _ in 0..20_000 {
                        counts.accept();
                        counts.close(Outcome::Answered);
                    }
                });
            }
            for _ in 0..1000 {
                let RequestBalance { accepted, answered, in_flight, .. } = counts.balance();
                assert_eq!(accepted, answered + in_flight);
            }
        });
        assert_eq!(counts.balance().in_flight, 0);
    }
}
