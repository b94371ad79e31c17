//! The operation under way, by which clients say what a failure happened during, and what is no failure then.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Clients may notice the effects of an operation so much later.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Stage(Mutex<Now>);

#[derive(Debug, Default)]
struct Now {
    /// The name of the operation, and its number.
    operation: Option<(&'static str, u64)>,
    /// When WebSockets may be closed with the code 1001.
    going_away: Span,
    /// When connections may be refused.
    gap: Span,
}

/// A period that has not begun, has begun, or has ended.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    from: Option<Instant>,
    until: Option<Instant>,
}

// === impl Stage ===

impl Stage {
    pub(super) fn begin(&self, operation: &'static str, number: u64) {
        self.0.lock().operation = Some((operation, number));
    }

    pub(super) fn end(&self) {
        self.0.lock().operation = None;
    }

    pub(super) fn name(&self) -> String {
        match self.0.lock().operation {
            Some((operation, number)) => format!("{operation} {number}"),
            None => "no operation".to_owned(),
        }
    }

    /// From now on WebSockets may be closed with the code 1001.
    pub(super) fn going_away_begins(&self) {
        self.0.lock().going_away = Span::begun();
    }

    pub(super) fn going_away_ends(&self) {
        self.0.lock().going_away.end();
    }

    pub(super) fn permits_going_away(&self) -> bool {
        self.0.lock().going_away.touches(Instant::now() - GRACE)
    }

    /// From now on nothing may be listening.
    pub(super) fn gap_begins(&self) {
        self.0.lock().gap = Span::begun();
    }

    pub(super) fn gap_ends(&self) {
        self.0.lock().gap.end();
    }

    /// Whether connections may have been refused at some time since `since`.
    pub(super) fn had_a_gap_since(&self, since: Instant) -> bool {
        self.0.lock().gap.touches(since)
    }
}

// === impl Span ===

impl Span {
    fn begun() -> Self {
        Self { from: Some(Instant::now()), until: None }
    }

    fn end(&mut self) {
        self.until = Some(Instant::now());
    }

    fn touches(self, since: Instant) -> bool {
        self.from.is_some() && self.until.is_none_or(|until| until >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_for_those_who_met_it() {
        let stage = Stage::default();
        let before = Instant::now();
        assert!(!stage.had_a_gap_since(before));
        stage.gap_begins();
        assert!(stage.had_a_gap_since(Instant::now()));
        stage.gap_ends();
        assert!(stage.had_a_gap_since(before));
        assert!(!stage.had_a_gap_since(Instant::now() + GRACE));
    }

    #[test]
    fn operations_have_their_numbers() {
        let stage = Stage::default();
        stage.begin("reload", 17);
        assert_eq!(stage.name(), "reload 17");
        stage.end();
        assert_eq!(stage.name(), "no operation");
    }
}
