//! Round robin: smooth with weights, exact over all threads.
//!
//! The order in which endpoints take turns is computed once for each change of membership or health: one period of
//! smooth weighted round robin, in which every endpoint occurs as often as its weight says, spread as evenly as
//! possible. A request takes the next place in that order by one atomic addition, so that any number of threads spread
//! requests exactly as one thread would.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Longest period: weights whose sum is larger are scaled down to it.
const PERIOD_MAX: usize = 65_536;

/// Endpoints of one weight. They take turns in the order of the config, so that only the next of them can have most
/// credit: a step looks at each distinct weight, not at each endpoint.
struct Class {
    weight: i64,
    members: Vec<u32>,
    taken: usize,
}

/// One period of smooth weighted round robin over `weights`, as indexes into them; zero weights do not occur.
///
/// Each step raises every endpoint's credit by its weight, takes the one with most credit (the first of equals) and
/// lowers its credit by the sum of all weights.
pub fn period(weights: &[u32]) -> Vec<u32> {
    let weights = reduced(weights);
    let total: i64 = weights.iter().sum();
    let mut classes: BTreeMap<i64, Class> = BTreeMap::new();
    for (index, weight) in (0..).zip(weights).filter(|(_, weight)| *weight > 0) {
        let new = || Class { weight, members: Vec::new(), taken: 0 };
        classes.entry(weight).or_insert_with(new).members.push(index);
    }
    let mut classes: Vec<Class> = classes.into_values().collect();
    let mut order = Vec::with_capacity(total as usize);
    for step in 1..=total {
        let has_most =
            classes.iter_mut().max_by_key(|class| (class.credit(step, total), Reverse(class.next())));
        order.extend(has_most.map(Class::take));
    }
    order
}

impl Class {
    fn next(&self) -> u32 {
        self.members[self.taken % self.members.len()]
    }

    /// The credit of the next member after `step` steps.
    fn credit(&self, step: i64, total: i64) -> i64 {
        let turns_had = self.taken / self.members.len();
        self.weight * step - total * turns_had as i64
    }

    fn take(&mut self) -> u32 {
        let next = self.next();
        self.taken += 1;
        next
    }
}

/// The weights divided by their greatest common divisor, and scaled down where a period would be too long.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().fold(0u32, |divisor, weight| gcd(divisor, *weight)).max(1);
    let reduced: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = reduced.iter().sum();
    let limit = PERIOD_MAX.max(weights.len()) as i64;
    if total <= limit {
        return reduced;
    }
    reduced.iter().map(|weight| if *weight == 0 { 0 } else { (weight * limit / total).max(1) }).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(weights: &[u32]) -> String {
        period(weights).iter().map(|index| char::from(b'a' + *index as u8)).collect()
    }

    #[test]
    fn weights_are_spread_smoothly() {
        assert_eq!(letters(&[5, 1, 1]), "aabacaa");
        assert_eq!(letters(&[1, 1, 1]), "abc");
        assert_eq!(letters(&[2, 2]), "ab");
        assert_eq!(letters(&[1, 0, 2]), "cac");
    }

    #[test]
    fn no_weight_at_all_is_an_empty_period() {
        assert_eq!(letters(&[0, 0]), "");
        assert_eq!(letters(&[]), "");
    }

    #[test]
    fn a_period_has_a_limit() {
        let weights: Vec<u32> = (0..1_000).map(|index| 60_000 + index).collect();
        let order = period(&weights);
        assert!(order.len() <= PERIOD_MAX);
        assert!((0..1_000).all(|index| order.contains(&index)));
    }

    /// The definition, step by step over all endpoints.
    fn model(weights: &[u32]) -> Vec<u32> {
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        let mut credits = vec![0i64; weights.len()];
        let step = |_| {
            credits.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += i64::from(*weight));
            let most = (0..weights.len()).filter(|index| weights[*index] > 0);
            let most = most.max_by_key(|index| (credits[*index], Reverse(*index))).expect("somebody");
            credits[most] -= total;
            most as u32
        };
        (0..total).map(step).collect()
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_definition(weights in prop::collection::vec(0u32..=9, 1..20)) {
            let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
            let weights: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
            prop_assert_eq!(period(&weights), model(&weights));
        }

        #[test]
        fn every_endpoint_occurs_as_often_as_its_weight_says(
            weights in prop::collection::vec(0u32..=32, 1..12)
        ) {
            let order = period(&weights);
            let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
            for (index, weight) in weights.iter().enumerate() {
                let count = order.iter().filter(|taken| **taken as usize == index).count();
                prop_assert_eq!(count, (weight / divisor) as usize);
            }
        }

        #[test]
        fn no_prefix_strays_further_than_one_turn_an_endpoint(
            weights in prop::collection::vec(1u32..=16, 2..8)
        ) {
            let order = period(&weights);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (index, weight) in weights.iter().enumerate() {
                let mut count = 0.0;
                for (step, taken) in order.iter().enumerate() {
                    if *taken as usize == index {
                        count += 1.0;
                    }
                    let ideal = (step + 1) as f64 * f64::from(*weight) / total;
                    let stray: f64 = count - ideal;
                    prop_assert!(stray.abs() <= weights.len() as f64 / 2.0 + 0.5, "strays by {}", stray);
                }
            }
        }
    }
}
