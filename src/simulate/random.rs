//! Chance from a seed.

use std::time::Duration;

use crate::pool::chance;

/// The increment of splitmix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Each of what is random has a stream of its own, so that the clients of two simulations do the same whatever the
    /// pool makes of it.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(chance::mix(seed) ^ chance::mix(!stream))
    }

    /// Above 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        chance::unit(self.next())
    }

    pub fn below(&mut self, count: usize) -> usize {
        chance::below(count, self.next())
    }

    /// A time of the exponential distribution.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-self.unit().ln())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        chance::mix(self.0)
    }
}
