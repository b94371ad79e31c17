//! The content of bodies: bytes that belong to one id, so that gaps, repeats and swapped answers are noticed.

use std::sync::LazyLock;

/// A prime, so that no buffer size is a multiple of it.
const PERIOD: usize = 65_521;

/// Every content is this pattern, repeated, from a start that depends on the id.
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..).flat_map(|word: u64| splitmix64(word).to_le_bytes()).take(PERIOD).collect());

/// A position in the content of one id.
#[derive(Debug)]
pub(super) struct Content {
    at: usize,
}

impl Content {
    pub(super) fn of(id: u64) -> Self {
        let place = splitmix64(!id) % PERIOD as u64;
        Self { at: usize::try_from(place).unwrap_or_default() }
    }

    /// The next `length` bytes.
    pub(super) fn next(&mut self, length: usize) -> Vec<u8> {
        let mut piece = Vec::with_capacity(length);
        while piece.len() < length {
            piece.extend_from_slice(self.run(length - piece.len()));
        }
        piece
    }

    /// Whether these are the next bytes.
    pub(super) fn matches_next(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let run = self.run(bytes.len());
            let Some(rest) = bytes.strip_prefix(run) else { return false };
            bytes = rest;
        }
        true
    }

    /// The next bytes, at most `length`, up to the end of the pattern.
    fn run(&mut self, length: usize) -> &'static [u8] {
        let rest = PATTERN.get(self.at..).unwrap_or_default();
        let run = rest.get(..length).unwrap_or(rest);
        self.at = (self.at + run.len()) % PERIOD;
        run
    }
}

/// A hash of a number (splitmix64).
pub(super) fn splitmix64(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_in_any_pieces() {
        let whole = Content::of(7).next(200_000);
        let mut pieces = Content::of(7);
        let cut: Vec<u8> = [1, 99_999, 100_000].into_iter().flat_map(|length| pieces.next(length)).collect();
        assert_eq!(whole, cut);
        let mut judge = Content::of(7);
        assert!(whole.chunks(777).all(|piece| judge.matches_next(piece)));
    }

    #[test]
    fn another_id_a_hole_and_a_repeat_are_seen() {
        let whole = Content::of(7).next(1000);
        assert!(!Content::of(8).matches_next(&whole));
        assert!(!Content::of(7).matches_next(&[&whole[..500], &whole[501..]].concat()));
        assert!(!Content::of(7).matches_next(&[&whole[..500], &whole[499..]].concat()));
    }
}
