//! A config that is in force until further notice, as it is kept on the disk, and what a start makes of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::fnv1a;

/// What the first line begins with; what follows is a time, a limit, a hash and a number, and the text after it.
const HEAD: &str = "# not confirmed:";

/// So many processes may start with it while it waits: one that ends them soon must not be tried for ever.
const STARTS_MAX: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    pub text: Arc<str>,
    /// When the config before comes back, if nobody has confirmed this one.
    pub until: SystemTime,
    /// The whole time that there was: more is never left, whatever the clock of the machine has done since.
    pub limit: Duration,
    /// Processes that have started with it since, and served.
    pub starts: u32,
}

/// What a process that starts has to make of its config file.
#[derive(Debug, PartialEq, Eq)]
pub enum UnconfirmedStatus {
    /// It still waits for its confirmation, for so long.
    Waits(Duration),
    /// Nobody has confirmed it in time: the config before is to be in force.
    Expired,
}

impl Unconfirmed {
    /// The same, of which it is known that nobody has confirmed it.
    pub fn expired(self) -> Self {
        Self { until: UNIX_EPOCH, ..self }
    }

    /// The same after one more start.
    pub fn started(self) -> Self {
        Self { starts: self.starts + 1, ..self }
    }

    pub fn written(&self) -> String {
        let until = self.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let (limit, hash) = (self.limit.as_millis(), fnv1a(self.text.as_bytes()));
        format!("{HEAD} {until} {limit} {hash:016x} {}\n{}", self.starts, self.text)
    }

    /// `None`: this was not written by us, or not to its end.
    pub fn parse(written: &str) -> Option<Self> {
        let (head, text) = written.split_once('\n')?;
        let mut words = head.strip_prefix(HEAD)?.split_whitespace();
        let until = Duration::from_millis(words.next()?.parse().ok()?);
        let limit = Duration::from_millis(words.next()?.parse().ok()?);
        let hash = u64::from_str_radix(words.next()?, 16).ok()?;
        // Earlier versions did not count.
        let starts = words.next().map_or(Some(0), |word| word.parse().ok())?;
        let until = UNIX_EPOCH.checked_add(until)?;
        (fnv1a(text.as_bytes()) == hash).then(|| Self { text: text.into(), until, limit, starts })
    }

    /// What becomes of it where the config file still says the same.
    pub fn status(&self, now: SystemTime) -> UnconfirmedStatus {
        match self.until.duration_since(now) {
            Ok(left) if !left.is_zero() && self.starts < STARTS_MAX => {
                UnconfirmedStatus::Waits(left.min(self.limit))
            }
            _ => UnconfirmedStatus::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_until_its_time_is_over() {
        let seconds = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let limit = Duration::from_secs(60);
        let unconfirmed = Unconfirmed { text: "new".into(), until: seconds(1_000), limit, starts: 0 };
        let status = |now| unconfirmed.status(seconds(now));
        assert_eq!(status(970), UnconfirmedStatus::Waits(Duration::from_secs(30)));
        assert_eq!(status(1_000), UnconfirmedStatus::Expired);
        assert_eq!(status(5_000), UnconfirmedStatus::Expired);
        // The clock was put back, or is that of a machine that has none.
        assert_eq!(status(0), UnconfirmedStatus::Waits(Duration::from_secs(60)));
        assert_eq!(unconfirmed.expired().status(seconds(970)), UnconfirmedStatus::Expired);
    }

    #[test]
    fn a_third_start_does_not_try_it_again() {
        let (until, limit) = (UNIX_EPOCH + Duration::from_secs(60), Duration::from_secs(60));
        let mut unconfirmed = Unconfirmed { text: "new".into(), until, limit, starts: 0 };
        for _ in 0..2 {
            assert_eq!(unconfirmed.status(UNIX_EPOCH), UnconfirmedStatus::Waits(limit));
            unconfirmed = Unconfirmed::parse(&unconfirmed.started().written()).expect("whole");
        }
        assert_eq!(unconfirmed.status(UNIX_EPOCH), UnconfirmedStatus::Expired);
    }

    #[test]
    fn what_an_earlier_version_has_written_is_understood() {
        let written = format!("{HEAD} 60000 60000 {:016x}\nnew", fnv1a(b"new"));
        let parsed = Unconfirmed::parse(&written).expect("whole");
        assert_eq!((&*parsed.text, parsed.starts), ("new", 0));
    }
}
