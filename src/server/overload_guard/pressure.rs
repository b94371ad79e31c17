//! Decides from successive readings whether memory is short: a state machine without clock or files.

use std::time::{Duration, Instant};

/// Percentages of the limit: requests are refused from `REFUSE` on, and served again below `SERVE`.
const REFUSE: u64 = 95;
const SERVE: u64 = 90;

/// Growth over `kept`, in percent of the limit, from which requests are refused again.
const MORE: u64 = 2;

/// How long requests are refused without effect. After that refusing does not free memory, so they are served again as
/// long as some memory is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state so far.
#[derive(Debug, Default)]
pub struct MemoryPressure {
    /// The current shortage, if there is one.
    begun: Option<Episode>,
    /// Bytes that were still in use when requests were served again. The allocator keeps them for new requests, or
    /// another process holds them: refusing requests would not free them.
    kept: u64,
}

#[derive(Debug)]
struct Episode {
    /// Open connections when the shortage began.
    connections: usize,
    at: Instant,
}

impl MemoryPressure {
    /// Takes in a reading and returns whether requests are to be refused. `connections`: the open connections, or
    /// during a shortage those of them that are left. A shortage ends when memory is free again; failing that, when
    /// half of its connections have been closed, or after `PATIENCE`.
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

    /// Connections that stay, such as tunnels, must not keep others out for ever, as long as some memory is left.
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
