//! Passwords that were right a moment ago, as keyed hashes: to check one anew costs a tenth of a second of computing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lc_rs::{hmac, rand};
use parking_lot::Mutex;

/// The most passwords of one gate; about 100 bytes each.
const ENTRIES_MAX: usize = 10_000;

/// A keyed hash of a user's name and password.
pub type Tag = [u8; 32];

/// The tags of right passwords, and until when they are remembered. The key is drawn for each gate, and is nowhere else.
pub struct Remembered {
    key: hmac::Key,
    limit: Duration,
    until: Mutex<HashMap<Tag, Instant>>,
}

impl Remembered {
    /// `None`: the system gives no random bytes.
    pub fn new(limit: Duration) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok()?;
        Some(Self { key, limit, until: Mutex::default() })
    }

    pub fn tag(&self, user: &str, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password);
        let mut tag = Tag::default();
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    pub fn knows(&self, tag: &Tag, now: Instant) -> bool {
        self.until.lock().get(tag).is_some_and(|until| now < *until)
    }

    pub fn add(&self, tag: Tag, now: Instant) {
        let Some(limit) = now.checked_add(self.limit) else { return };
        let mut until = self.until.lock();
        if until.len() >= ENTRIES_MAX {
            until.retain(|_, until| now < *until);
        }
        if until.len() >= ENTRIES_MAX {
            // As many real logins at a time are beyond any table: it begins anew.
            until.clear();
        }
        until.insert(tag, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_remembered_for_its_time() {
        let remembered = Remembered::new(Duration::from_secs(5)).expect("random bytes");
        let (tag, now) = (remembered.tag("bob", b"secret"), Instant::now());
        assert!(!remembered.knows(&tag, now));
        remembered.add(tag, now);
        assert!(remembered.knows(&tag, now + Duration::from_secs(4)));
        assert!(!remembered.knows(&tag, now + Duration::from_secs(5)));
        for (user, password) in [("bo", "bsecret"), ("bobs", "ecret"), ("bob", "Secret"), ("", "bobsecret")] {
            assert!(!remembered.knows(&remembered.tag(user, password.as_bytes()), now), "{user}");
        }
        let other = Remembered::new(Duration::from_secs(5)).expect("random bytes");
        assert_ne!(other.tag("bob", b"secret"), tag, "each has its own key");
    }

    #[test]
    fn the_table_is_bounded() {
        let remembered = Remembered::new(Duration::from_secs(5)).expect("random bytes");
        let now = Instant::now();
        for number in 0..ENTRIES_MAX + 10 {
            remembered.add(remembered.tag("bob", number.to_string().as_bytes()), now);
            assert!(remembered.until.lock().len() <= ENTRIES_MAX);
        }
        let last = remembered.tag("bob", (ENTRIES_MAX + 9).to_string().as_bytes());
        assert!(remembered.knows(&last, now));
    }
}
