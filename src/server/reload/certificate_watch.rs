//! Watching the files that TLS is made of: they are replaced by somebody else, who tells nobody.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::offload::FilePoll;
use crate::snapshot::Snapshot;
use crate::tls::WatchedFile;

/// How often they are read. A change is acted upon once two looks in a row have found the same.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How often those that are near their end are spoken of.
const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// What has happened to certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateEvent {
    Changed,
    /// It is time to look at their dates.
    Reminder,
}

pub struct CertificateWatch {
    snapshot: Arc<ArcSwap<Snapshot>>,
    looks: Interval,
    reminders: Interval,
    /// Of which generation, and what its files said when they were last tried.
    tried: Option<(u64, Vec<u64>)>,
    /// What the last look has found, where that is something else.
    found: Option<Vec<u64>>,
    look: FilePoll<Saying>,
}

/// Of which generation, what its files said when they were read for it, and what they say now.
type Saying = (u64, Vec<u64>, Vec<u64>);

impl CertificateWatch {
    /// Must run within the runtime that will wait.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        let mut looks = interval(CHECK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            snapshot,
            looks,
            reminders: interval(REMINDER),
            tried: None,
            found: None,
            look: FilePoll::default(),
        }
    }

    /// May be dropped and called again; must be, once another snapshot is in force: where there are no files, nobody
    /// looks.
    pub async fn next_event(&mut self) -> CertificateEvent {
        loop {
            let there_are = !watched_files(&self.snapshot.load()).is_empty();
            tokio::select! {
                _ = self.looks.tick(), if there_are => {}
                _ = self.reminders.tick() => return CertificateEvent::Reminder,
            }
            let snapshot = self.snapshot.load_full();
            let watched_files = watched_files(&snapshot);
            let generation = snapshot.generation();
            let look = move || {
                let said = watched_files.iter().map(WatchedFile::said).collect();
                (generation, said, watched_files.iter().map(WatchedFile::says).collect())
            };
            let Some((of, said, says)) = self.look.at("certificates", look).await else { continue };
            // One that was taken up again may be of a snapshot before.
            if of == generation && self.is_new(generation, said, says) {
                return CertificateEvent::Changed;
            }
        }
    }

    fn is_new(&mut self, generation: u64, said: Vec<u64>, says: Vec<u64>) -> bool {
        if self.tried.as_ref().is_none_or(|(of, _)| *of != generation) {
            (self.tried, self.found) = (Some((generation, said)), None);
        }
        let is_known = self.tried.as_ref().is_some_and(|(_, tried)| *tried == says);
        let is_settled = !is_known && self.found.as_ref() == Some(&says);
        if is_settled {
            self.tried = Some((generation, says.clone()));
        }
        self.found = (!is_known).then_some(says);
        is_settled
    }
}

fn watched_files(snapshot: &Snapshot) -> Vec<WatchedFile> {
    let of_listeners = snapshot.listeners().iter().filter_map(|listener| listener.tls.as_ref());
    let of_pools = snapshot.pools().iter().filter_map(|pool| pool.spec().tls.as_ref());
    let of_listeners = of_listeners.flat_map(|tls| &tls.watched_files);
    of_listeners.chain(of_pools.flat_map(|tls| &tls.watched_files)).cloned().collect()
}
