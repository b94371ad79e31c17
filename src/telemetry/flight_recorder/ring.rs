//! Entries of the last time, in bounded memory.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::SPAN;

/// What an entry takes beside its text.
const OVERHEAD: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub at: SystemTime,
    /// A JSON object.
    pub json: Box<[u8]>,
}

/// The newest entries: those of [`SPAN`], and of them as many as there is room for.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    most: usize,
    /// When something was last lost for want of room, and how many there were since nothing of the span was.
    lost: Option<(SystemTime, u64)>,
}

impl Entry {
    pub fn new(at: SystemTime, json: &[u8]) -> Self {
        Self { at, json: json.into() }
    }

    fn bytes(&self) -> usize {
        self.json.len() + OVERHEAD
    }
}

impl Ring {
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, most, lost: None }
    }

    pub fn push(&mut self, entry: Entry) {
        let now = entry.at;
        if entry.bytes() > self.most {
            return self.lost(now);
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while let Some(oldest) = self.entries.front() {
            let is_old = now.duration_since(oldest.at).is_ok_and(|age| age > SPAN);
            if !is_old && self.bytes <= self.most {
                break;
            }
            self.bytes -= oldest.bytes();
            self.entries.pop_front();
            if !is_old {
                self.lost(now);
            }
        }
    }

    /// Counts an entry for which there is no room.
    pub fn lost(&mut self, now: SystemTime) {
        let is_recent = |last: SystemTime| now.duration_since(last).map_or(true, |age| age <= SPAN);
        let before = self.lost.filter(|(last, _)| is_recent(*last)).map_or(0, |(_, count)| count);
        self.lost = Some((now, before + 1));
    }

    /// The entries since then, and how many were lost.
    pub fn since(&self, from: SystemTime) -> (Vec<Entry>, u64) {
        let entries = self.entries.iter().filter(|entry| entry.at >= from).cloned().collect();
        (entries, self.lost.filter(|(last, _)| *last >= from).map_or(0, |(_, count)| count))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_oldest_go_for_want_of_room_and_with_time() {
        let mut ring = Ring::new(10 * (OVERHEAD + 1));
        (0..25).for_each(|second| ring.push(Entry::new(at(second), b"x")));
        let (entries, lost) = ring.since(at(0));
        assert_eq!((entries.len(), entries[0].at, lost), (10, at(15), 15));
        ring.push(Entry::new(at(79), b"y"));
        let (entries, _) = ring.since(at(0));
        assert_eq!((entries.len(), entries[0].at), (7, at(19)));
        assert_eq!(ring.bytes, 7 * (OVERHEAD + 1));
        ring.push(Entry::new(at(200), &[b'x'; 1000]));
        assert_eq!(
            ring.since(at(100)).1,
            1,
            "what is too large is lost, and what was long ago is not counted"
        );
    }
}
