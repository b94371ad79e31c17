//! The arrival times by key: a bounded table in shards, each of which forgets the key that has not been seen for longest.

use parking_lot::Mutex;

/// Shards at most: few threads ever want the same one.
const SHARDS_MAX: usize = 64;

/// A table this small needs no shards.
const KEYS_OF_SHARD_MIN: usize = 1024;

/// The end of a list.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Table {
    most: usize,
    shards: Box<[Mutex<Shard>]>,
}

/// Keys are found by chains of those with the same remainder, and are in order of when they were last seen.
#[derive(Debug)]
struct Shard {
    most: usize,
    /// The first entry of each chain; as many as a power of two.
    chains: Vec<u32>,
    entries: Vec<Entry>,
    oldest: u32,
    newest: u32,
    /// Keys forgotten whose time had not passed.
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    arrival: u64,
    next_of_chain: u32,
    older: u32,
    newer: u32,
}

// === impl Table ===

impl Table {
    /// With room for at least `most` keys: shards have a little more than their part, because keys are not spread evenly.
    pub(super) fn new(most: usize) -> Self {
        let shards = (most / KEYS_OF_SHARD_MIN).clamp(1, SHARDS_MAX).next_power_of_two().min(SHARDS_MAX);
        let part = most.div_ceil(shards);
        let spread = if shards == 1 { 0 } else { 6 * part.isqrt() };
        let shard = || Mutex::new(Shard::new(part + spread));
        Self { most, shards: (0..shards).map(|_| shard()).collect() }
    }

    /// Calls `change` with the arrival time of the key, 0 if it is new.
    pub(super) fn with<T>(&self, key: u64, now: u64, change: impl FnOnce(&mut u64) -> T) -> T {
        // The upper bits, because the lower ones choose the chain.
        let shard = self.shards.get((key >> 32) as usize & (self.shards.len() - 1));
        let mut shard = shard.map(Mutex::lock);
        match shard.as_mut().and_then(|shard| shard.arrival(key, now)) {
            Some(arrival) => change(arrival),
            // There is a shard for each key, and an entry.
            None => change(&mut 0),
        }
    }

    /// The arrival time of the key, 0 if it is new. Does not count as seeing it.
    pub(super) fn peek(&self, key: u64) -> u64 {
        let shard = self.shards.get((key >> 32) as usize & (self.shards.len() - 1));
        shard.map_or(0, |shard| shard.lock().peek(key))
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().forgotten).sum()
    }
}

// === impl Shard ===

impl Shard {
    fn new(most: usize) -> Self {
        let most = most.clamp(1, NONE as usize - 1);
        Self { most, chains: vec![NONE; 8], entries: Vec::new(), oldest: NONE, newest: NONE, forgotten: 0 }
    }

    fn arrival(&mut self, key: u64, now: u64) -> Option<&mut u64> {
        let at = match self.find(key) {
            Some(at) => {
                self.unlink_by_age(at)?;
                at
            }
            None => self.add(key, now)?,
        };
        self.link_as_newest(at)?;
        self.entry(at).map(|entry| &mut entry.arrival)
    }

    fn peek(&self, key: u64) -> u64 {
        let entry = self.find(key).and_then(|at| self.entries.get(at as usize));
        entry.map_or(0, |entry| entry.arrival)
    }

    fn find(&self, key: u64) -> Option<u32> {
        let mut at = *self.chains.get(self.chain(key))?;
        loop {
            let entry = self.entries.get(at as usize)?;
            if entry.key == key {
                return Some(at);
            }
            at = entry.next_of_chain;
        }
    }

    /// Makes an entry for a new key, or takes that of the oldest one: where that counts no more, or no more may be added.
    fn add(&mut self, key: u64, now: u64) -> Option<u32> {
        let oldest = self.entries.get(self.oldest as usize);
        let is_over = oldest.is_some_and(|oldest| oldest.arrival <= now);
        let at = if is_over || self.entries.len() >= self.most {
            self.forgotten += u64::from(!is_over);
            let at = self.oldest;
            self.unlink_by_age(at)?;
            self.unlink_of_chain(at)?;
            at
        } else {
            self.grow();
            let at = u32::try_from(self.entries.len()).ok()?;
            self.entries.push(Entry { key, arrival: 0, next_of_chain: NONE, older: NONE, newer: NONE });
            at
        };
        let first = self.chains.get(self.chain(key)).copied()?;
        *self.entry(at)? = Entry { key, arrival: 0, next_of_chain: first, older: NONE, newer: NONE };
        self.set_chain(key, at)?;
        Some(at)
    }

    /// Makes room for one more entry: never for more than may be added, and with chains of one entry on average.
    fn grow(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            let more = self.entries.len().max(8).min(self.most - self.entries.len());
            self.entries.reserve_exact(more);
        }
        if self.entries.len() < self.chains.len() {
            return;
        }
        let count = self.chains.len() * 2;
        self.chains = vec![NONE; count];
        for at in 0..self.entries.len() {
            let Some(key) = self.entries.get(at).map(|entry| entry.key) else { continue };
            let chain = self.chain(key);
            if let (Some(entry), Some(first)) = (self.entries.get_mut(at), self.chains.get_mut(chain)) {
                entry.next_of_chain = *first;
                *first = u32::try_from(at).unwrap_or(NONE);
            }
        }
    }

    fn chain(&self, key: u64) -> usize {
        key as usize & (self.chains.len() - 1)
    }

    fn set_chain(&mut self, key: u64, at: u32) -> Option<()> {
        let chain = self.chain(key);
        *self.chains.get_mut(chain)? = at;
        Some(())
    }

    fn entry(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)
    }

    fn unlink_of_chain(&mut self, at: u32) -> Option<()> {
        let (key, next) = self.entry(at).map(|entry| (entry.key, entry.next_of_chain))?;
        let mut before = *self.chains.get(self.chain(key))?;
        if before == at {
            return self.set_chain(key, next);
        }
        loop {
            let entry = self.entry(before)?;
            if entry.next_of_chain == at {
                entry.next_of_chain = next;
                return Some(());
            }
            before = entry.next_of_chain;
        }
    }

    fn unlink_by_age(&mut self, at: u32) -> Option<()> {
        let (older, newer) = self.entry(at).map(|entry| (entry.older, entry.newer))?;
        match self.entry(older) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry(newer) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        Some(())
    }

    fn link_as_newest(&mut self, at: u32) -> Option<()> {
        let before = self.newest;
        let entry = self.entry(at)?;
        (entry.older, entry.newer) = (before, NONE);
        match self.entry(before) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        Some(())
    }
}
