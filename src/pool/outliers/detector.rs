//! Which endpoints of a pool are outliers, by their failures in a row, and by their last seconds beside those of the others.
//! Pure: counts and time are arguments.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Outliers;

/// How often the counts are looked at while something fails.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How much lower than the others' its rate of success must be, so that nobody is ejected for what all of them do.
const WORSE: f64 = 0.9;

/// Times to the first byte below this are never too long.
const LATENCY_MIN: f64 = 0.01;

/// What one endpoint has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::pool) struct Counts {
    pub requests: u64,
    /// Failures, and answers of 429.
    pub bad: u64,
    pub answered: u64,
    /// The times to the first byte of all answers, in microseconds.
    pub micros: u64,
}

/// One endpoint at a moment.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub label: Arc<str>,
    pub counts: Counts,
    pub failures_in_row: u32,
    /// The evidence for the failures in a row.
    pub evidence: String,
    /// It gets traffic.
    pub serves: bool,
    pub ejected: bool,
}

/// The counts of the last seconds.
#[derive(Debug, Default)]
pub(in crate::pool) struct Detector(HashMap<Arc<str>, VecDeque<(Instant, Counts)>>);

/// An endpoint that is to be ejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outlier {
    /// Its index among those observed.
    pub index: usize,
    pub reason: String,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts {
            requests: self.requests.wrapping_sub(before.requests),
            bad: self.bad.wrapping_sub(before.bad),
            answered: self.answered.wrapping_sub(before.answered),
            micros: self.micros.wrapping_sub(before.micros),
        }
    }

    fn add(self, other: Counts) -> Counts {
        Counts {
            requests: self.requests + other.requests,
            bad: self.bad + other.bad,
            answered: self.answered + other.answered,
            micros: self.micros + other.micros,
        }
    }

    fn success(self) -> f64 {
        1.0 - (self.bad as f64 / self.requests.max(1) as f64).min(1.0)
    }

    /// Seconds to the first byte on average.
    fn latency(self) -> f64 {
        self.micros as f64 / self.answered.max(1) as f64 / 1e6
    }
}

impl Detector {
    /// The outliers among those observed, of which as many may be ejected as the config says: the worst first.
    pub(super) fn judge(&mut self, config: &Outliers, observed: &[Observed], now: Instant) -> Vec<Outlier> {
        let recent = self.recent(config.window, observed, now);
        let mut outliers: Vec<(f64, Outlier)> = Vec::new();
        for (index, (one, counts)) in
            observed.iter().zip(&recent).enumerate().filter(|(_, (one, _))| one.serves)
        {
            let others = recent.iter().zip(observed).enumerate();
            let others = others.filter(|(other, (_, observed))| *other != index && !observed.ejected);
            let others = others.fold(Counts::default(), |sum, (_, (counts, _))| sum.add(*counts));
            if let Some(reason) = reason(config, one, *counts, others) {
                outliers.push((counts.success(), Outlier { index, reason }));
            }
        }
        outliers.sort_by(|one, other| one.0.total_cmp(&other.0));
        outliers.truncate(room(config, observed));
        let outliers: Vec<Outlier> = outliers.into_iter().map(|(_, outlier)| outlier).collect();
        for outlier in &outliers {
            self.0.remove(&observed[outlier.index].label);
        }
        outliers
    }

    /// Whether something has failed so recently that the counts must be looked at again.
    pub fn is_busy(&self) -> bool {
        let first_and_last =
            |samples: &VecDeque<(Instant, Counts)>| Some((samples.front()?.1, samples.back()?.1));
        self.0.values().filter_map(first_and_last).any(|(first, last)| first.bad != last.bad)
    }

    /// Forgets everything: what was counted says nothing about the endpoints.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What each has done in the last `window`.
    fn recent(&mut self, window: Duration, observed: &[Observed], now: Instant) -> Vec<Counts> {
        self.0.retain(|label, _| observed.iter().any(|one| one.label == *label));
        let counts = observed.iter().map(|one| {
            let samples = self.0.entry(one.label.clone()).or_default();
            if !one.serves {
                // What it did before it was away says nothing when it is back.
                samples.clear();
            }
            samples.push_back((now, one.counts));
            let is_old = |(at, _): &(Instant, Counts)| now.saturating_duration_since(*at) > window;
            while samples.len() > 1 && samples.front().is_some_and(is_old) {
                samples.pop_front();
            }
            samples.front().map_or(Counts::default(), |(_, first)| one.counts.since(*first))
        });
        counts.collect()
    }
}

/// How many more may be ejected: up to a part of the pool, though one may always go while two are left, and never the
/// last.
fn room(config: &Outliers, observed: &[Observed]) -> usize {
    let ejected = observed.iter().filter(|one| one.ejected).count();
    let serving = observed.iter().filter(|one| one.serves).count();
    let most = ((observed.len() as f64 * config.max_ejected) as usize).max(1);
    most.saturating_sub(ejected).min(serving.saturating_sub(1))
}

/// Why it is an outlier; `None`: it is none.
fn reason(config: &Outliers, one: &Observed, counts: Counts, others: Counts) -> Option<String> {
    if config.failures.is_some_and(|most| one.failures_in_row >= most) {
        return Some(one.evidence.clone());
    }
    let (success, of_others) = (counts.success(), others.success());
    let enough = counts.requests >= config.min_requests;
    if config.success_rate.is_some_and(|least| enough && success < least && success < WORSE * of_others) {
        return Some(format!(
            "{} of {} requests failed in {} s, {:.1} % (of the others {:.1} %)",
            counts.bad,
            counts.requests,
            config.window.as_secs(),
            100.0 * (1.0 - success),
            100.0 * (1.0 - of_others),
        ));
    }
    let (latency, of_others) = (counts.latency(), others.latency());
    let enough = counts.answered >= config.min_requests && others.answered >= config.min_requests;
    let is_slow = |times: u32| latency > LATENCY_MIN && latency > f64::from(times) * of_others;
    (enough && config.latency.is_some_and(is_slow)).then(|| {
        format!(
            "{:.1} ms to the first byte on average (of the others {:.1} ms)",
            latency * 1e3,
            of_others * 1e3
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config() -> Outliers {
        Outliers {
            failures: Some(5),
            success_rate: Some(0.8),
            min_requests: 50,
            latency: Some(3),
            window: Duration::from_secs(10),
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            max_ejected: 0.5,
        }
    }

    fn observed(index: usize, requests: u64, bad: u64) -> Observed {
        Observed {
            label: index.to_string().into(),
            counts: Counts { requests, bad, answered: requests - bad, micros: (requests - bad) * 10_000 },
            failures_in_row: 0,
            evidence: "5 failures in a row".into(),
            serves: true,
            ejected: false,
        }
    }

    /// The indexes of the outliers, when all had nothing before, and this a second later.
    fn outliers(now: &[Observed]) -> Vec<usize> {
        let (mut detector, begin) = (Detector::default(), Instant::now());
        let before: Vec<Observed> = (0..now.len()).map(|index| observed(index, 0, 0)).collect();
        assert_eq!(detector.judge(&config(), &before, begin), []);
        let outliers = detector.judge(&config(), now, begin + TICK);
        outliers.into_iter().map(|outlier| outlier.index).collect()
    }

    #[test]
    fn failures_in_a_row_need_no_window() {
        let mut all = [observed(0, 5, 5), observed(1, 5, 0)];
        all[0].failures_in_row = 5;
        assert_eq!(outliers(&all), [0]);
        all[0].failures_in_row = 4;
        assert!(outliers(&all).is_empty());
    }

    #[test]
    fn a_low_rate_counts_only_beside_better_ones_and_with_enough_requests() {
        assert_eq!(outliers(&[observed(0, 100, 30), observed(1, 100, 1), observed(2, 100, 0)]), [0]);
        assert!(outliers(&[observed(0, 100, 30), observed(1, 100, 25), observed(2, 100, 28)]).is_empty());
        assert!(outliers(&[observed(0, 49, 30), observed(1, 100, 0)]).is_empty());
        assert!(outliers(&[observed(0, 100, 19), observed(1, 100, 0)]).is_empty());
    }

    #[test]
    fn who_is_much_slower_than_the_others_is_one_if_asked() {
        let mut all = [observed(0, 100, 0), observed(1, 100, 0), observed(2, 100, 0)];
        all[1].counts.micros *= 4;
        assert_eq!(outliers(&all), [1]);
        all[1].counts.micros = 2 * all[0].counts.micros;
        assert!(outliers(&all).is_empty());
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (mut detector, begin) = (Detector::default(), Instant::now());
        let at = |detector: &mut Detector, second: u64, bad: u64| {
            let all = [observed(0, 1_000 + 10 * second, bad), observed(1, 1_000 + 10 * second, 0)];
            detector.judge(&config(), &all, begin + Duration::from_secs(second)).len()
        };
        assert_eq!(at(&mut detector, 0, 500), 0, "what was before is not known");
        assert!((1..=10).all(|second| at(&mut detector, second, 500) == 0));
        assert!(!detector.is_busy());
        assert!((11..=14).all(|second| at(&mut detector, second, 500 + second - 10) == 0));
        assert!(detector.is_busy());
    }

    #[test]
    fn the_worst_goes_first_and_never_the_last() {
        assert_eq!(outliers(&[observed(0, 100, 40), observed(1, 100, 90), observed(2, 100, 0)]), [1]);
        let mut alone = observed(0, 100, 100);
        alone.failures_in_row = 9;
        assert!(outliers(&[alone.clone()]).is_empty());
        let mut down = observed(1, 0, 0);
        down.serves = false;
        assert!(outliers(&[alone, down]).is_empty(), "the other one is down");
    }

    proptest! {
        #[test]
        fn never_more_than_may_be_and_one_always_serves(
            pool in prop::collection::vec((0u32..8, any::<bool>(), any::<bool>()), 1..20),
        ) {
            let all: Vec<Observed> = pool.iter().enumerate().map(|(index, (in_row, serves, ejected))| Observed {
                failures_in_row: *in_row,
                serves: *serves && !ejected,
                ejected: *ejected,
                ..observed(index, 10, 5)
            }).collect();
            let out = outliers(&all);
            let before = all.iter().filter(|one| one.ejected).count();
            let serving = all.iter().filter(|one| one.serves).count();
            prop_assert!(out.iter().all(|index| all[*index].serves && all[*index].failures_in_row >= 5));
            prop_assert!(out.is_empty() || before + out.len() <= (all.len() / 2).max(1));
            prop_assert!(out.is_empty() || serving - out.len() >= 1);
            let worst = all.iter().filter(|one| one.serves && one.failures_in_row >= 5).count();
            let may = before == 0 && serving >= 2 && worst > 0;
            prop_assert!(!may || !out.is_empty(), "one may always go while two are left");
        }
    }
}
