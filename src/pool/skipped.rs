//! The endpoints that a pick passed over, and why, for the access log.

use std::sync::Arc;

/// The endpoints that were passed over. Only the first are named: with half of ten thousand endpoints down, a log line
/// that lists them all would be too long.
#[derive(Debug, Clone)]
pub struct SkippedEndpoints {
    pub named: Box<[Skipped]>,
    /// Number of those not named.
    pub others: usize,
}

/// An endpoint that was passed over.
#[derive(Debug, Clone)]
pub struct Skipped {
    pub endpoint: Arc<str>,
    /// `draining`, `unhealthy`, `unreachable`, `ejected` or `checking`.
    pub reason: &'static str,
}

impl SkippedEndpoints {
    pub const NAMED_MAX: usize = 16;

    /// `None`: there are none.
    pub fn of(mut all: impl ExactSizeIterator<Item = Skipped>) -> Option<Arc<SkippedEndpoints>> {
        let named: Box<[Skipped]> = all.by_ref().take(Self::NAMED_MAX).collect();
        (!named.is_empty()).then(|| Arc::new(SkippedEndpoints { named, others: all.len() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_thousands_only_the_first_are_named() {
        let skipped = |number: usize| Skipped { endpoint: number.to_string().into(), reason: "unhealthy" };
        let told = |count: usize| {
            SkippedEndpoints::of((0..count).map(skipped)).map(|told| (told.named.len(), told.others))
        };
        assert_eq!(told(0), None);
        assert_eq!(told(16), Some((16, 0)));
        assert_eq!(told(10_000), Some((16, 9_984)));
    }
}
