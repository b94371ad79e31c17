//! Watching the files that TLS is made of: they are replaced by somebody else, who tells nobody.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::snapshot::Snapshot;

/// How often they are read. A change is acted upon once two looks in a row have found the same.
const LOOK: Duration = Duration::from_secs(1);

/// How often those that are near their end are spoken of.
const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// What has happened to certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Changed,
    /// It is time to look at their dates.
    Reminder,
}

pub struct Certificates {
    snapshot: Arc<ArcSwap<Snapshot>>,
    looks: Interval,
    reminders: Interval,
    /// Of which generation, and what its files said when they were last tried.
    tried: Option<(u64, u64)>,
    /// What the last look has found, where that is something else.
    found: Option<u64>,
}

impl Certificates {
    /// Must run within the runtime that will wait.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { snapshot, looks, reminders: interval(REMINDER), tried: None, found: None }
    }

    /// May be dropped and called again.
    pub async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                _ = self.looks.tick() => {}
                _ = self.reminders.tick() => return News::Reminder,
            }
            let snapshot = self.snapshot.load_full();
            let files: Vec<PathBuf> = files(&snapshot);
            if files.is_empty() {
                continue;
            }
            // A file system that hangs must not hold up signals.
            let Ok(seen) = tokio::task::spawn_blocking(move || digest(&files)).await else { continue };
            if self.is_new(snapshot.generation(), seen) {
                return News::Changed;
            }
        }
    }

    fn is_new(&mut self, generation: u64, seen: u64) -> bool {
        match self.tried {
            Some((of, tried)) if of == generation => {
                let is_settled = tried != seen && self.found == Some(seen);
                self.found = (tried != seen).then_some(seen);
                if is_settled {
                    self.tried = Some((generation, seen));
                }
                is_settled
            }
            // They were read a moment ago, when that config was.
            _ => {
                (self.tried, self.found) = (Some((generation, seen)), None);
                false
            }
        }
    }
}

fn files(snapshot: &Snapshot) -> Vec<PathBuf> {
    let tls = snapshot.listeners().iter().filter_map(|listener| listener.tls.as_ref());
    tls.flat_map(|tls| tls.files().cloned()).collect()
}

/// One number for what all of them say; it is the process's own, and says nothing about keys.
fn digest(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).map_err(|error| error.kind()).hash(&mut hasher);
    }
    hasher.finish()
}
