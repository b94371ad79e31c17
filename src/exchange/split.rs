//! Which of its pools a route's request goes to.

use std::num::NonZeroU64;

use super::Exchange;
use super::hash_key::hash_of;
use crate::config::{Action, SplitSticky};
use crate::pool::hash_of_key;
use crate::routing::{RequestHead, cookie};
use crate::snapshot::Route;

impl Exchange {
    /// The index of the pool. A request without key is drawn by its id, so that it stays where it is when it is routed
    /// anew.
    pub(super) fn find_target<H: RequestHead>(&mut self, route: &Route, head: &H) -> usize {
        let Action::Split(split) = &route.action else { return 0 };
        let known = match &split.sticky {
            Some(SplitSticky::Key(by)) => hash_of(by, head, self.sender.client()).map(scrambled),
            Some(SplitSticky::Cookie(own)) => cookie(head, &own.name).and_then(place_of),
            None => None,
        };
        let drawn = || scrambled(hash_of_key(self.record.text.request_id().as_bytes()));
        let place = known.unwrap_or_else(drawn);
        self.new_place = NonZeroU64::new(place).filter(|_| known.is_none());
        split.at(place)
    }
}

/// The place that the cookie's value stands for: 16 digits.
fn place_of(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok().filter(|text| text.len() == 16)?;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// Unlike the hash by which the pool may balance: else the keys of one pool would be those of a few endpoints.
pub(super) fn scrambled(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30) ^ 0x5bd1_e995_9d1b_54a7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Split, SplitShare};

    fn split(weights: &[u32]) -> Split {
        let share =
            |(index, weight): (usize, &u32)| SplitShare { pool: format!("p{index}").into(), weight: *weight };
        Split { shares: weights.iter().enumerate().map(share).collect(), sticky: None }
    }

    fn places() -> impl Iterator<Item = u64> {
        (0..10_000).map(|user| scrambled(hash_of_key(format!("user-{user}").as_bytes())))
    }

    #[test]
    fn each_pool_gets_its_share() {
        for weights in [&[95, 5][..], &[0, 100], &[100, 0], &[1], &[50, 30, 0, 20], &[10_000, 10_000]] {
            let split = split(weights);
            let mut counts = vec![0_u32; weights.len()];
            places().for_each(|place| counts[split.at(place)] += 1);
            let all: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let expected = 10_000 * weight / all;
                assert!(count.abs_diff(expected) <= expected / 5, "{weights:?}: {counts:?}");
            }
        }
        assert_eq!([0, u64::MAX].map(|place| split(&[0, 1, 1, 0]).at(place)), [1, 2]);
    }

    #[test]
    fn nobody_leaves_the_last_pool_as_it_grows() {
        for (before, after) in [([95, 5], [90, 10]), ([100, 0], [99, 1]), ([50, 50], [0, 100])] {
            let (before, after) = (split(&before), split(&after));
            assert!(places().all(|place| before.at(place) == 0 || after.at(place) == 1));
        }
    }
}
