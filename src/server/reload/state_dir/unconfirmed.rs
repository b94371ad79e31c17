//! The file of an unconfirmed config in the state directory, and how a starting process treats it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::fnv1a;

/// The beginning of the first line. The deadline, the limit, a hash and the number of starts follow; then the text.
const HEAD: &str = "# not confirmed:";

/// How many processes may start with an unconfirmed config: one that makes them crash must not be tried for ever.
const STARTS_MAX: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    pub text: Arc<str>,
    /// The deadline of the confirmation.
    pub until: SystemTime,
    /// The whole time to confirm. Never more than this is left, even if the clock has been set back since.
    pub limit: Duration,
    /// How many processes have started with it since, and served.
    pub starts: u32,
}

/// Whether an unconfirmed config may still be put in force.
#[derive(Debug, PartialEq, Eq)]
pub enum UnconfirmedStatus {
    /// It can be confirmed within this time.
    Waits(Duration),
    /// It was not confirmed in time: the last permanent config is to be in force.
    Expired,
}

impl Unconfirmed {
    /// The same config, expired.
    pub fn expired(self) -> Self {
        Self { until: UNIX_EPOCH, ..self }
    }

    /// The same config after one more start.
    pub fn started(self) -> Self {
        Self { starts: self.starts + 1, ..self }
    }

    pub fn written(&self) -> String {
        let until = self.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let (limit, hash) = (self.limit.as_millis(), fnv1a(self.text.as_bytes()));
        format!("{HEAD} {until} {limit} {hash:016x} {}\n{}", self.starts, self.text)
    }

    /// `None`: the content is not ours, or incomplete.
    pub fn parse(written: &str) -> Option<Self> {
        let (head, text) = written.split_once('\n')?;
        let mut words = head.strip_prefix(HEAD)?.split_whitespace();
        let until = Duration::from_millis(words.next()?.parse().ok()?);
        let limit = Duration::from_millis(words.next()?.parse().ok()?);
        let hash = u64::from_str_radix(words.next()?, 16).ok()?;
        // Earlier versions did not write the number of starts.
        let starts = words.next().map_or(Some(0), |word| word.parse().ok())?;
        let until = UNIX_EPOCH.checked_add(until)?;
        (fnv1a(text.as_bytes()) == hash).then(|| Self { text: text.into(), until, limit, starts })
    }

    /// Whether it can still be confirmed, if the config file still has the same text.
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
