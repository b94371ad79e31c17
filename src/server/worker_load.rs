//! How many connections each worker has, and the assignment of a new connection to the worker with the fewest.
//!
//! All workers accept from the same sockets. Without the assignment, a worker that happens to be awake could end up
//! with all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A worker keeps a connection while it has at most this fraction (1/8) more than the least loaded one: an assignment
/// wakes another thread.
const SLACK: usize = 8;

/// The number of connections of each worker, by the epoch in which they were accepted.
#[derive(Clone)]
pub struct WorkerLoads {
    workers: Arc<[Arc<Load>]>,
    epoch: Arc<AtomicUsize>,
}

/// The current epoch and the previous one are counted apart.
const EPOCHS: usize = 2;

/// Assigns the connections that one worker accepts. The queues are bounded by the number of connection permits.
pub struct Dispatcher<T> {
    index: usize,
    loads: WorkerLoads,
    others: Vec<UnboundedSender<Assigned<T>>>,
}

/// A connection and the guard that counts it as its worker's load.
pub struct Assigned<T> {
    pub value: T,
    pub load_guard: LoadGuard,
}

/// Aligned to cache lines of its own: each worker writes its own all the time.
#[derive(Default)]
#[repr(align(128))]
struct Load([AtomicUsize; EPOCHS]);

/// Counts one connection of a worker until it is dropped. It refers to that worker's load only: all workers would write
/// the reference count of a table that they share.
#[must_use = "it counts only while this lives"]
pub struct LoadGuard {
    epoch: usize,
    /// `None`: there is no such worker.
    load: Option<Arc<Load>>,
}

/// One dispatcher for each worker, each with the queue of what others assign to it.
pub fn dispatchers<T>(loads: &WorkerLoads) -> Vec<(Dispatcher<T>, UnboundedReceiver<Assigned<T>>)> {
    let (senders, receivers): (Vec<_>, Vec<_>) = loads.workers.iter().map(|_| unbounded_channel()).unzip();
    let dispatcher =
        |(index, receiver)| (Dispatcher { index, loads: loads.clone(), others: senders.clone() }, receiver);
    receivers.into_iter().enumerate().map(dispatcher).collect()
}

impl WorkerLoads {
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Arc::default()).collect(), epoch: Arc::default() }
    }

    /// The connections of each worker, in the order of the workers.
    pub fn list(&self) -> Vec<usize> {
        self.workers.iter().map(|load| load.all()).collect()
    }

    pub fn sum(&self) -> usize {
        self.workers.iter().map(|load| load.all()).sum()
    }

    /// Starts a new epoch: connections accepted from now on are counted apart. Those of the epoch before the previous
    /// one count as part of the new one.
    pub fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Relaxed);
    }

    /// The connections of the previous epoch that are still open.
    pub fn of_last_epoch(&self) -> usize {
        let last = (self.epoch.load(Relaxed) + 1) % EPOCHS;
        self.workers.iter().filter_map(|load| load.0.get(last)).map(|count| count.load(Relaxed)).sum()
    }

    fn of(&self, index: usize) -> usize {
        self.workers.get(index).map_or(usize::MAX, |load| load.all())
    }
}

impl Load {
    fn all(&self) -> usize {
        self.0.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl<T> Dispatcher<T> {
    /// Sends `value` to the least loaded worker, or returns it if that is this worker.
    pub fn assign(&self, value: T) -> Option<Assigned<T>> {
        let index = self.least_loaded();
        let placed = Assigned { value, load_guard: LoadGuard::new(&self.loads, index) };
        if index == self.index {
            return Some(placed);
        }
        match self.others.get(index).map(|other| other.send(placed)) {
            Some(Ok(())) => None,
            // That worker is gone.
            Some(Err(unsent)) => Some(self.own(unsent.0.value)),
            None => None,
        }
    }

    fn own(&self, value: T) -> Assigned<T> {
        Assigned { value, load_guard: LoadGuard::new(&self.loads, self.index) }
    }

    /// The index of the least loaded worker; this worker's own unless another one has clearly fewer connections.
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

impl LoadGuard {
    fn new(loads: &WorkerLoads, index: usize) -> Self {
        let epoch = loads.epoch.load(Relaxed) % EPOCHS;
        let guard = Self { epoch, load: loads.workers.get(index).cloned() };
        if let Some(count) = guard.count() {
            count.fetch_add(1, Relaxed);
        }
        guard
    }

    fn count(&self) -> Option<&AtomicUsize> {
        self.load.as_ref()?.0.get(self.epoch)
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        if let Some(count) = self.count() {
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
        let mut members = dispatchers::<usize>(&WorkerLoads::new(4));
        let mut kept: Vec<_> = (0..400).filter_map(|n| members[0].0.assign(n)).collect();
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
        let members = dispatchers::<()>(&WorkerLoads::new(2));
        let first = members[0].0.assign(());
        assert!(first.is_some());
        assert!(members[0].0.assign(()).is_none());
    }

    #[test]
    fn those_of_the_epoch_before_are_told_apart() {
        let loads = WorkerLoads::new(2);
        let members = dispatchers::<usize>(&loads);
        let place = |n| members[0].0.own(n);
        let mut old = vec![place(1), place(2)];
        loads.begin_epoch();
        let new = place(3);
        assert_eq!((loads.sum(), loads.of_last_epoch()), (3, 2));
        old.pop();
        assert_eq!((loads.sum(), loads.of_last_epoch()), (2, 1));
        loads.begin_epoch();
        assert_eq!((loads.sum(), loads.of_last_epoch()), (2, 1), "the new one is old now");
        drop((old, new));
        assert_eq!((loads.sum(), loads.of_last_epoch()), (0, 0));
    }

    #[test]
    fn a_worker_that_is_gone_gets_nothing() {
        let mut members = dispatchers::<()>(&WorkerLoads::new(2));
        drop(members.pop());
        let all: Vec<_> = (0..9).filter_map(|_| members[0].0.assign(())).collect();
        assert_eq!(all.len(), 9);
    }
}
