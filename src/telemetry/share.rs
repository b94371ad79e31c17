//! A share of all requests.

use crate::pool::hash_of_key;

/// A share of all requests, chosen by the hash of their ids: so all processes that a request passes choose alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    part: f64,
    /// Hashes up to this one are within; `None`: no request is.
    last: Option<u64>,
}

impl Share {
    /// `part` is from 0 to 1.
    pub fn new(part: f64) -> Self {
        // Exact enough: a hash has 64 bits, a share a few digits. The cast saturates.
        let last = (part > 0.0).then_some((part * u64::MAX as f64) as u64);
        Self { part, last }
    }

    pub fn part(self) -> f64 {
        self.part
    }

    pub fn has(self, request_id: &[u8]) -> bool {
        self.has_hash(hash_of_key(request_id))
    }

    pub fn has_hash(self, hash: u64) -> bool {
        self.last.is_some_and(|last| hash <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_as_many_as_it_says() {
        let had = |part: f64| {
            let share = Share::new(part);
            (0..10_000).filter(|number| share.has(format!("request-{number}").as_bytes())).count()
        };
        assert_eq!((had(0.0), had(1.0)), (0, 10_000));
        assert!((900..1100).contains(&had(0.1)), "{}", had(0.1));
        assert!((60..140).contains(&had(0.01)), "{}", had(0.01));
    }
}
