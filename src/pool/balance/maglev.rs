//! The lookup table of Maglev (Eisenbud and others, NSDI 2016), for pools that are too large to rank for each key.

use super::chance::{below, mix};

/// Primes, so that each endpoint's steps lead to every place: the first that has a hundred places for each endpoint is
/// taken, or the last.
const SIZES: [usize; 3] = [65_537, 655_373, 6_553_607];

/// Which member each place belongs to.
#[derive(Debug)]
pub(in crate::pool) struct Maglev(Box<[u32]>);

/// An endpoint on its way through the table.
struct Walker {
    index: u32,
    next: usize,
    step: usize,
    weight: u16,
}

const FREE: u32 = u32::MAX;

impl Maglev {
    /// `members`: the index, the hash and the weight of each.
    pub fn new(members: impl Iterator<Item = (u32, u64, u16)>) -> Self {
        let members: Vec<_> = members.collect();
        let [.., largest] = SIZES;
        let size = SIZES.into_iter().find(|size| *size >= 100 * members.len()).unwrap_or(largest);
        let walker = |(index, hash, weight)| Walker {
            index,
            next: below(size, mix(hash)),
            step: 1 + below(size - 1, mix(hash ^ 1)),
            weight,
        };
        let mut walkers: Vec<Walker> = members.into_iter().map(walker).collect();
        // In an order that does not depend on that of the config.
        walkers.sort_by_key(|walker| (walker.next, walker.step));
        Self(fill(size, &mut walkers))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The member that a place belongs to.
    pub fn at(&self, place: usize) -> Option<u32> {
        self.0.get(place).copied()
    }
}

/// Endpoints take free places in turn, each as many as its weight says.
fn fill(size: usize, walkers: &mut [Walker]) -> Box<[u32]> {
    let mut table = vec![FREE; if walkers.is_empty() { 0 } else { size }];
    let mut left = table.len();
    while left > 0 {
        for walker in walkers.iter_mut() {
            for _ in 0..walker.weight {
                if left == 0 {
                    break;
                }
                walker.take(&mut table);
                left -= 1;
            }
        }
    }
    table.into()
}

impl Walker {
    /// Takes the next free place. There is one.
    fn take(&mut self, table: &mut [u32]) {
        loop {
            let place = self.next;
            self.next = (place + self.step) % table.len();
            if let Some(slot) = table.get_mut(place).filter(|slot| **slot == FREE) {
                *slot = self.index;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(indexes: impl Iterator<Item = u32>, weight: impl Fn(u32) -> u16) -> Maglev {
        Maglev::new(indexes.map(|index| (index, mix(u64::from(index)), weight(index))))
    }

    #[test]
    fn places_follow_the_weights() {
        let table = table(0..300, |index| if index < 100 { 2 } else { 1 });
        let mut counts = vec![0f64; 300];
        (0..table.len()).for_each(|place| counts[table.at(place).expect("a place") as usize] += 1.0);
        let unit = table.len() as f64 / 400.0;
        assert!(counts[..100].iter().all(|count| (1.9..2.1).contains(&(count / unit))));
        assert!(counts[100..].iter().all(|count| (0.9..1.1).contains(&(count / unit))));
    }

    #[test]
    fn the_order_of_the_members_does_not_matter_and_few_places_move() {
        let (all, reversed) = (table(0..400, |_| 1), table((0..400).rev(), |_| 1));
        assert!((0..all.len()).all(|place| all.at(place) == reversed.at(place)));
        let fewer = table((0..400).filter(|index| *index != 7), |_| 1);
        let moved = (0..all.len())
            .filter(|place| all.at(*place) != Some(7) && all.at(*place) != fewer.at(*place))
            .count();
        assert!(moved < all.len() / 50, "{moved} of {}", all.len());
    }

    #[test]
    fn nobody_is_an_empty_table() {
        assert_eq!(table(0..0, |_| 1).len(), 0);
    }
}
