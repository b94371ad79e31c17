//! Whether memory is short, by what each look at it has found: a state machine that knows no clock and no file.

use std::time::{Duration, Instant};

/// Of a hundred parts of the limit: from so many on requests are refused, and below so many all is well.
const REFUSE: u64 = 95;
const SERVE: u64 = 90;

/// So many more than what the allocator keeps is a lack again.
const MORE: u64 = 2;

/// How long refusing may bring nothing. Whatever holds the memory then does not go because requests are refused, and as
/// long as there is some room they are served.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the looks so far have found.
#[derive(Debug, Default)]
pub struct MemoryPressure {
    /// `None`: there is none.
    begun: Option<Episode>,
    /// What was still used when requests were served again. It is the allocator's, who gives it to the next ones, or
    /// somebody else's: refusing these would free nothing.
    kept: u64,
}

#[derive(Debug)]
struct Episode {
    /// The connections that there were.
    connections: usize,
    at: Instant,
}

impl MemoryPressure {
    /// Whether requests are to be refused. `connections`: those that there are, and once memory is short, those that
    /// are left of them. It ends as soon as memory is there again; where memory does not come, once half of those
    /// connections have gone, or after some time.
    pub fn observe(&mut self, limit: u64, used: u64, connections: usize, now: Instant) -> bool {
        let part = |hundredths: u64| limit / 100 * hundredths;
        if used < part(SERVE) {
            *self = Self::default();
            return false;
        }
        match &self.begun {
            Some(begun) => {
                let freed = connections <= begun.connections / 2;
                let in_vain = now.duration_since(begun.at) >= PATIENCE && used < part(REFUSE + MORE);
                if freed || in_vain {
                    *self = Self { begun: None, kept: used };
                }
            }
            None if used >= part(REFUSE).max(self.kept.saturating_add(part(MORE))) => {
                self.begun = Some(Episode { connections, at: now });
            }
            None => {}
        }
        self.begun.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_again_only_when_there_is_some_room() {
        let mut pressure = MemoryPressure::default();
        let now = Instant::now();
        let looks = [(949, false), (950, true), (949, true), (900, true), (899, false), (949, false)];
        for (used, is_short) in looks {
            assert_eq!(pressure.observe(1000, used, 100, now), is_short, "{used}");
        }
    }

    /// An allocator may keep what it had for as long as it likes.
    #[test]
    fn memory_that_nobody_uses_is_no_lack() {
        let mut pressure = MemoryPressure::default();
        let now = Instant::now();
        for (used, connections, is_short) in [
            (960, 100, true),
            (960, 51, true),
            (960, 50, false),
            (960, 100, false),
            (979, 100, false),
            (980, 100, true),
            (980, 0, false),
            (980, 0, false),
        ] {
            assert_eq!(pressure.observe(1000, used, connections, now), is_short, "{used}, {connections}");
        }
    }

    /// Connections that stay, such as tunnels, must not keep everybody out for ever; but the last of the memory is
    /// theirs.
    #[test]
    fn what_refusing_does_not_free_is_lived_with() {
        let mut pressure = MemoryPressure::default();
        let start = Instant::now();
        for (seconds, used, is_short) in [
            (0, 960, true),
            (9, 960, true),
            (10, 960, false),
            (11, 979, false),
            (12, 980, true),
            (60, 980, true),
            (61, 969, false),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(pressure.observe(1000, used, 100, now), is_short, "{used} after {seconds} s");
        }
    }
}
