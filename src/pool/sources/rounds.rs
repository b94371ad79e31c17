//! When sources are asked, and what is done with their answers.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Answer, Asker, Sources};
use crate::config::{self, EndpointAddress};

/// Answers that arrive within this time are applied together, because each change of members rebuilds the rotation, at
/// a cost that grows with the pool.
const BATCH_WINDOW: Duration = Duration::from_millis(50);

/// Sources of a pool that are asked at the same time. A question may take two sockets.
const RUNNING_MAX: usize = 128;

/// Asks the sources of one pool. All at the same time, so that a slow one delays no other.
pub(in crate::pool) struct Rounds<'a> {
    pool: &'a config::Pool,
    sources: &'a Sources,
    asker: &'a Asker,
    /// What the pool's sources are now.
    wanted: Vec<EndpointAddress>,
    running: JoinSet<Answered>,
    being_asked: BTreeSet<EndpointAddress>,
}

type Answered = (EndpointAddress, Result<Answer, String>);

impl<'a> Rounds<'a> {
    pub fn new(pool: &'a config::Pool, sources: &'a Sources, asker: &'a Asker) -> Self {
        let (running, being_asked) = Default::default();
        Self { pool, sources, asker, wanted: sources.of(pool), running, being_asked }
    }

    /// Asks each source once, also those that others name. Calls `on_change` as soon as answers have changed.
    pub async fn once(mut self, mut on_change: impl FnMut()) {
        let mut left: BTreeSet<EndpointAddress> = self.wanted.iter().cloned().collect();
        let mut seen = left.clone();
        loop {
            while self.running.len() < RUNNING_MAX
                && let Some(source) = left.pop_first()
            {
                self.ask(source);
            }
            let Some(answered) = self.running.join_next().await else { return };
            if self.apply(answered.ok()).await {
                left.extend(self.wanted.iter().filter(|source| seen.insert((*source).clone())).cloned());
                on_change();
            }
        }
    }

    /// Asks each source whenever it is due, for ever.
    pub async fn for_ever(mut self, mut on_change: impl FnMut()) {
        loop {
            let next = self.ask_due();
            let answered = tokio::select! {
                Some(answered) = self.running.join_next() => answered,
                () = at(next) => continue,
            };
            if self.apply(answered.ok()).await {
                on_change();
            }
        }
    }

    /// Asks what is due, the longest overdue first; returns when more will be.
    fn ask_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let idle = self.wanted.iter().filter(|source| !self.being_asked.contains(source));
        let mut due: Vec<_> =
            idle.map(|source| (self.sources.due(source).unwrap_or(now), source.clone())).collect();
        due.sort();
        let is_due = due.partition_point(|(at, _)| *at <= now);
        let next = due.get(is_due).map(|(at, _)| *at);
        let room = RUNNING_MAX.saturating_sub(self.running.len());
        for (_, source) in due.into_iter().take(is_due.min(room)) {
            self.ask(source);
        }
        next
    }

    fn ask(&mut self, source: EndpointAddress) {
        let asking = self.asker.clone().ask(source.clone(), self.sources.found(&source));
        self.being_asked.insert(source.clone());
        self.running.spawn(async move { (source, asking.await) });
    }

    /// Remembers an answer, and those that come soon after it. `true` if what a source names has changed.
    async fn apply(&mut self, first: Option<Answered>) -> bool {
        let mut changed = self.remember(first);
        let mut batch_end = std::pin::pin!(sleep(BATCH_WINDOW));
        while !self.running.is_empty() {
            let next = tokio::select! {
                next = self.running.join_next() => next,
                () = &mut batch_end => break,
            };
            changed |= self.remember(next.and_then(Result::ok));
        }
        if changed {
            self.wanted = self.sources.of(self.pool);
        }
        changed
    }

    fn remember(&mut self, answered: Option<Answered>) -> bool {
        let Some((source, answer)) = answered else { return false };
        self.being_asked.remove(&source);
        let longest = self.asker.longest_hold(&source);
        self.sources.remember(&self.pool.name, &source, answer, longest, SystemTime::now())
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
