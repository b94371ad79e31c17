//! Watches the files of certificates, keys and the like: ACME clients and others replace them without a signal.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::offload::FilePoll;
use crate::snapshot::Snapshot;
use crate::tls::WatchedFile;

/// How often the files are read. A change counts once two reads in a row agree.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How often certificates that expire soon are logged.
const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// Something to do about certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateEvent {
    Changed,
    /// The expiry dates are to be checked.
    Reminder,
}

pub struct CertificateWatch {
    snapshot: Arc<ArcSwap<Snapshot>>,
    looks: Interval,
    reminders: Interval,
    /// The generation, and the contents (as hashes) of its files at the last reload that used them.
    tried: Option<(u64, Vec<u64>)>,
    /// What the last read found, if it differs from `tried`.
    found: Option<Vec<u64>>,
    look: FilePoll<Saying>,
}

/// A generation, the contents of its files when they were loaded, and their contents now.
type Saying = (u64, Vec<u64>, Vec<u64>);

impl CertificateWatch {
    /// Call this within the runtime that will wait for timers.
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

    /// Cancel safe. Call this anew once another snapshot is in force: without files it does not read.
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
                let loaded = watched_files.iter().map(WatchedFile::loaded_hash).collect();
                (generation, loaded, watched_files.iter().map(WatchedFile::current_hash).collect())
            };
            let Some((of, loaded, current)) = self.look.at("certificates", look).await else { continue };
            // A read that began before a reload may be of the previous snapshot.
            if of == generation && self.is_new(generation, loaded, current) {
                return CertificateEvent::Changed;
            }
        }
    }

    fn is_new(&mut self, generation: u64, loaded: Vec<u64>, current: Vec<u64>) -> bool {
        if self.tried.as_ref().is_none_or(|(of, _)| *of != generation) {
            (self.tried, self.found) = (Some((generation, loaded)), None);
        }
        let is_known = self.tried.as_ref().is_some_and(|(_, tried)| *tried == current);
        let is_settled = !is_known && self.found.as_ref() == Some(&current);
        if is_settled {
            self.tried = Some((generation, current.clone()));
        }
        self.found = (!is_known).then_some(current);
        is_settled
    }
}

fn watched_files(snapshot: &Snapshot) -> Vec<WatchedFile> {
    let of_listeners = snapshot.listeners().iter().filter_map(|listener| listener.tls.as_ref());
    let of_pools = snapshot.pools().iter().filter_map(|pool| pool.config().tls.as_ref());
    let of_listeners = of_listeners.flat_map(|tls| &tls.watched_files);
    let of_routes = snapshot.routes().iter().filter_map(|route| route.auth.as_ref());
    let of_routes = of_routes.flat_map(|gate| gate.config().watched_files());
    let of_pools = of_pools.flat_map(|tls| &tls.watched_files);
    of_listeners.chain(of_pools).chain(of_routes).cloned().collect()
}
