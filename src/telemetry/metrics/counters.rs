//! Counters by a label from a fixed set, for rare events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::exposition::Exposition;

/// Counting takes a read lock and a short search.
#[derive(Default)]
pub(super) struct Counters(RwLock<Vec<(&'static str, AtomicU64)>>);

impl Counters {
    /// With a series for each of these labels from the start: a rate does not see the burst that makes a series appear.
    pub(super) fn of(labels: impl IntoIterator<Item = &'static str>) -> Self {
        let counters = Self::default();
        counters.begin(labels);
        counters
    }

    /// Adds a series for each of these labels.
    pub(super) fn begin(&self, labels: impl IntoIterator<Item = &'static str>) {
        let mut counts = self.0.write();
        for label in labels {
            if !counts.iter().any(|(known, _)| *known == label) {
                counts.push((label, AtomicU64::new(0)));
            }
        }
    }

    pub(super) fn add(&self, label: &'static str) {
        if let Some((_, count)) = self.0.read().iter().find(|(known, _)| *known == label) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut counts = self.0.write();
        match counts.iter().find(|(known, _)| *known == label) {
            Some((_, count)) => drop(count.fetch_add(1, Ordering::Relaxed)),
            None => counts.push((label, AtomicU64::new(1))),
        }
    }

    pub(super) fn encode(&self, out: &mut Exposition, labels: &[(&str, &str)], name: &str) {
        let counts = self.0.read();
        let ordered: BTreeMap<_, _> =
            counts.iter().map(|(label, count)| (*label, count.load(Ordering::Relaxed))).collect();
        for (label, count) in ordered {
            out.suffixed("", labels, Some((name, label)), count);
        }
    }
}
