//! The workers as they see each other: who has how many connections, and how one is handed over.
//!
//! Whoever happens to be awake accepts; left at that, one worker could have all the connections and the others none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One in so many connections may be more than fair: moving one costs a wake of another thread.
const SLACK: usize = 8;

/// How many connections each worker has, by the era in which they were accepted.
#[derive(Clone)]
pub struct Loads {
    workers: Arc<[Load]>,
    era: Arc<AtomicUsize>,
}

/// Two are told apart: the one that runs, and the one before it.
const ERAS: usize = 2;

/// One worker's view of all of them. `T` is what is handed over; its number is bounded by the seats there are.
pub struct Member<T> {
    index: usize,
    loads: Loads,
    others: Vec<UnboundedSender<Burdened<T>>>,
}

/// Something that counts as a worker's load until it is dropped.
pub struct Burdened<T> {
    pub what: T,
    pub burden: Burden,
}

/// A cache line of its own, because each worker writes its own all the time.
#[derive(Default)]
#[repr(align(128))]
struct Load([AtomicUsize; ERAS]);

/// One connection of a worker.
#[must_use = "it counts only while this lives"]
pub struct Burden {
    index: usize,
    era: usize,
    loads: Loads,
}

/// Makes the members of a crew, one for each load, each with what arrives for it.
pub fn crew<T>(loads: &Loads) -> Vec<(Member<T>, UnboundedReceiver<Burdened<T>>)> {
    let (senders, receivers): (Vec<_>, Vec<_>) = loads.workers.iter().map(|_| unbounded_channel()).unzip();
    let member =
        |(index, receiver)| (Member { index, loads: loads.clone(), others: senders.clone() }, receiver);
    receivers.into_iter().enumerate().map(member).collect()
}

impl Loads {
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Load::default()).collect(), era: Arc::default() }
    }

    /// In the order of the workers.
    pub fn list(&self) -> Vec<usize> {
        self.workers.iter().map(Load::all).collect()
    }

    pub fn sum(&self) -> usize {
        self.workers.iter().map(Load::all).sum()
    }

    /// From now on, connections count as those of a new era. What is left of the era before the last joins the new one.
    pub fn begin_era(&self) {
        self.era.fetch_add(1, Relaxed);
    }

    /// Connections that are left of the era before this one.
    pub fn of_last_era(&self) -> usize {
        let last = (self.era.load(Relaxed) + 1) % ERAS;
        self.workers.iter().filter_map(|load| load.0.get(last)).map(|count| count.load(Relaxed)).sum()
    }

    fn of(&self, index: usize) -> usize {
        self.workers.get(index).map_or(usize::MAX, Load::all)
    }

    fn count(&self, index: usize, era: usize) -> Option<&AtomicUsize> {
        self.workers.get(index)?.0.get(era)
    }
}

impl Load {
    fn all(&self) -> usize {
        self.0.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl<T> Member<T> {
    /// Gives `what` to the worker that should have it; returns it if that is this one.
    pub fn place(&self, what: T) -> Option<Burdened<T>> {
        let index = self.least_loaded();
        let placed = Burdened { what, burden: Burden::new(&self.loads, index) };
        if index == self.index {
            return Some(placed);
        }
        match self.others.get(index).map(|other| other.send(placed)) {
            Some(Ok(())) => None,
            // That worker is gone.
            Some(Err(unsent)) => Some(self.own(unsent.0.what)),
            None => None,
        }
    }

    fn own(&self, what: T) -> Burdened<T> {
        Burdened { what, burden: Burden::new(&self.loads, self.index) }
    }

    /// This worker, unless another one has clearly less to do.
    fn least_loaded(&self) -> usize {
        let own = self.loads.of(self.index);
        let others = (0..self.others.len()).filter(|index| *index != self.index);
        let least = others.min_by_key(|index| self.loads.of(*index));
        match least {
            Some(least) if self.loads.of(least).saturating_add(own / SLACK) < own => least,
            _ => self.index,
        }
    }
}

impl Burden {
    fn new(loads: &Loads, index: usize) -> Self {
        let era = loads.era.load(Relaxed) % ERAS;
        if let Some(count) = loads.count(index, era) {
            count.fetch_add(1, Relaxed);
        }
        Self { index, era, loads: loads.clone() }
    }
}

impl Drop for Burden {
    fn drop(&mut self) {
        if let Some(count) = self.loads.count(self.index, self.era) {
            count.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One worker accepts everything, as may happen where the others are busy.
    #[test]
    fn what_one_accepts_is_shared_evenly() {
        let mut members = crew::<usize>(&Loads::new(4));
        let mut kept: Vec<_> = (0..400).filter_map(|n| members[0].0.place(n)).collect();
        let mut counts = vec![kept.len()];
        for (_, arrived) in &mut members[1..] {
            let before = kept.len();
            kept.extend(std::iter::from_fn(|| arrived.try_recv().ok()));
            counts.push(kept.len() - before);
        }
        assert_eq!(counts.iter().sum::<usize>(), 400);
        assert!(counts.iter().all(|count| (90..=115).contains(count)), "{counts:?}");
        drop(kept);
        assert_eq!(members[0].0.loads.list(), [0; 4]);
    }

    #[test]
    fn the_first_few_are_shared_too() {
        let members = crew::<()>(&Loads::new(2));
        let first = members[0].0.place(());
        assert!(first.is_some());
        assert!(members[0].0.place(()).is_none());
    }

    #[test]
    fn those_of_the_era_before_are_told_apart() {
        let loads = Loads::new(2);
        let members = crew::<usize>(&loads);
        let place = |n| members[0].0.own(n);
        let mut old = vec![place(1), place(2)];
        loads.begin_era();
        let new = place(3);
        assert_eq!((loads.sum(), loads.of_last_era()), (3, 2));
        old.pop();
        assert_eq!((loads.sum(), loads.of_last_era()), (2, 1));
        loads.begin_era();
        assert_eq!((loads.sum(), loads.of_last_era()), (2, 1), "the new one is old now");
        drop((old, new));
        assert_eq!((loads.sum(), loads.of_last_era()), (0, 0));
    }

    #[test]
    fn a_worker_that_is_gone_gets_nothing() {
        let mut members = crew::<()>(&Loads::new(2));
        drop(members.pop());
        let all: Vec<_> = (0..9).filter_map(|_| members[0].0.place(())).collect();
        assert_eq!(all.len(), 9);
    }
}
