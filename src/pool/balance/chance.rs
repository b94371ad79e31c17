//! Chance drawn from a number that occurs once, so that a pick can be repeated, and a simulation gives the same twice.

/// Spreads the bits of a number over all of 64: the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
pub fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `count`, by the high half of 64 random bits (Lemire, TOMACS 2019); 0 if `count` is.
pub fn below(count: usize, bits: u64) -> usize {
    ((u128::from(bits) * count as u128) >> 64) as usize
}

/// Above 0 and below 1.
pub fn unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_spread_evenly() {
        let mut counts = [0u32; 7];
        (0..70_000u64).for_each(|number| counts[below(7, mix(number))] += 1);
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        assert_eq!(below(0, u64::MAX), 0);
        assert_eq!(below(7, u64::MAX), 6);
    }

    #[test]
    fn a_unit_is_never_0_or_1() {
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
    }
}
