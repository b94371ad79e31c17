//! A config that is in force until further notice, as it is kept on the disk, and what a start makes of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::fnv1a;

/// What the first line begins with; what follows is a time, a limit and a hash, and the text after it.
const HEAD: &str = "# not confirmed:";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    pub text: Arc<str>,
    /// When the config before comes back, if nobody has confirmed this one.
    pub until: SystemTime,
    /// The whole time that there was: more is never left, whatever the clock of the machine has done since.
    pub limit: Duration,
}

/// What a process that starts has to make of its config file.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was confirmed in the last moment.
    Permanent,
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

    pub fn written(&self) -> String {
        let until = self.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let (limit, hash) = (self.limit.as_millis(), fnv1a(self.text.as_bytes()));
        format!("{HEAD} {until} {limit} {hash:016x}\n{}", self.text)
    }

    /// `None`: this was not written by us, or not to its end.
    pub fn parse(written: &str) -> Option<Self> {
        let (head, text) = written.split_once('\n')?;
        let mut words = head.strip_prefix(HEAD)?.split_whitespace();
        let until = Duration::from_millis(words.next()?.parse().ok()?);
        let limit = Duration::from_millis(words.next()?.parse().ok()?);
        let hash = u64::from_str_radix(words.next()?, 16).ok()?;
        let until = UNIX_EPOCH.checked_add(until)?;
        (fnv1a(text.as_bytes()) == hash).then(|| Self { text: text.into(), until, limit })
    }

    /// What becomes of it where the config file still says the same. `before` is the config that was in force before it.
    pub fn standing(&self, before: &str, now: SystemTime) -> Standing {
        if *self.text == *before {
            return Standing::Permanent;
        }
        match self.until.duration_since(now) {
            Ok(left) if !left.is_zero() => Standing::Waits(left.min(self.limit)),
            _ => Standing::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_until_its_time_is_over() {
        let seconds = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let unconfirmed =
            Unconfirmed { text: "new".into(), until: seconds(1_000), limit: Duration::from_secs(60) };
        let standing = |before, now| unconfirmed.standing(before, seconds(now));
        assert_eq!(standing("old", 970), Standing::Waits(Duration::from_secs(30)));
        assert_eq!(standing("old", 1_000), Standing::Expired);
        assert_eq!(standing("old", 5_000), Standing::Expired);
        // The clock was put back, or is that of a machine that has none.
        assert_eq!(standing("old", 0), Standing::Waits(Duration::from_secs(60)));
        assert_eq!(standing("new", 970), Standing::Permanent);
        assert_eq!(unconfirmed.clone().expired().standing("old", seconds(970)), Standing::Expired);
    }
}
