//! An endpoint as it is simulated: workers with one queue, and what ails it at the moment.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::random::Random;

/// How long a failing endpoint takes for an answer.
const FAILS_WITHIN: Duration = Duration::from_micros(500);

/// What an endpoint works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The attempt of that number of a request.
    Attempt { slot: usize, attempt: u32 },
    /// A probe of that number.
    Probe { number: u64 },
}

/// What ails an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ailments {
    pub killed: bool,
    pub stopped: bool,
    /// How many times longer than usual it takes.
    pub slow: f64,
    /// The status with which it answers a part of its requests.
    pub fails: Option<(u16, f64)>,
}

pub const HEALTHY: Ailments = Ailments { killed: false, stopped: false, slow: 1.0, fails: None };

#[derive(Debug)]
pub struct SimulatedEndpoint {
    workers: usize,
    service: Duration,
    constant: bool,
    ailments: Ailments,
    /// By the number of the job.
    running: BTreeMap<u64, Job>,
    queue: VecDeque<Work>,
    jobs: u64,
    /// Open connections that wait for a request.
    pub idle: usize,
    random: Random,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    work: Work,
    status: u16,
    /// When it is done; of a stopped endpoint, how much is left.
    ends: Duration,
}

/// A job that has begun: when it is done.
pub type Begun = (u64, Duration);

impl SimulatedEndpoint {
    pub fn new(workers: usize, service: Duration, constant: bool, random: Random) -> Self {
        Self {
            workers,
            service,
            constant,
            ailments: HEALTHY,
            running: BTreeMap::new(),
            queue: VecDeque::new(),
            jobs: 0,
            idle: 0,
            random,
        }
    }

    pub fn is_killed(&self) -> bool {
        self.ailments.killed
    }

    /// Requests a second that it can serve.
    pub fn capacity(&self) -> f64 {
        self.workers as f64 / self.service.as_secs_f64()
    }

    /// Takes work, which begins at once if a worker is free.
    pub fn take(&mut self, work: Work, now: Duration) -> Option<Begun> {
        if self.running.len() < self.workers && !self.ailments.stopped {
            return Some(self.begin(work, now));
        }
        self.queue.push_back(work);
        None
    }

    fn begin(&mut self, work: Work, now: Duration) -> Begun {
        let fails = self.ailments.fails.filter(|(_, part)| self.random.unit() < *part);
        let (status, took) = match fails {
            Some((status, _)) => (status, FAILS_WITHIN),
            None if self.constant => (200, self.service.mul_f64(self.ailments.slow)),
            None => (200, self.random.exponential(self.service.mul_f64(self.ailments.slow))),
        };
        self.run(Job { work, status, ends: now + took })
    }

    fn run(&mut self, job: Job) -> Begun {
        self.jobs += 1;
        self.running.insert(self.jobs, job);
        (self.jobs, job.ends)
    }

    /// A job is done: returns the work and the status of the answer, and the job that begins in its place. `None`: there
    /// is no such job any more.
    pub fn done(&mut self, job: u64, now: Duration) -> Option<(Work, u16, Option<Begun>)> {
        let Job { work, status, .. } = self.running.remove(&job)?;
        let next = self.queue.pop_front().map(|next| self.begin(next, now));
        Some((work, status, next))
    }

    /// Something else ails it. Returns the work that is lost by that, and the jobs that go on or begin.
    pub fn set(&mut self, ailments: Ailments, now: Duration) -> (Vec<Work>, Vec<Begun>) {
        let before = std::mem::replace(&mut self.ailments, ailments);
        if ailments.killed {
            self.idle = 0;
            let running = std::mem::take(&mut self.running);
            let lost = running.into_values().map(|job| job.work).chain(self.queue.drain(..));
            return (lost.collect(), Vec::new());
        }
        match (before.stopped, ailments.stopped) {
            (false, true) => {
                let running = std::mem::take(&mut self.running);
                for job in running.into_values() {
                    // Under another number, so that it is not done when it would have been.
                    self.run(Job { ends: job.ends.saturating_sub(now), ..job });
                }
                Default::default()
            }
            (true, false) => (Vec::new(), self.go_on(now)),
            _ => Default::default(),
        }
    }

    fn go_on(&mut self, now: Duration) -> Vec<Begun> {
        let running = std::mem::take(&mut self.running);
        let mut begun: Vec<Begun> =
            running.into_values().map(|job| self.run(Job { ends: now + job.ends, ..job })).collect();
        while self.running.len() < self.workers
            && let Some(work) = self.queue.pop_front()
        {
            begun.push(self.begin(work, now));
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn work(slot: usize) -> Work {
        Work::Attempt { slot, attempt: 1 }
    }

    fn endpoint(workers: usize) -> SimulatedEndpoint {
        SimulatedEndpoint::new(workers, MS(10), true, Random::new(1, 1))
    }

    #[test]
    fn who_finds_all_workers_busy_is_next() {
        let mut endpoint = endpoint(2);
        let begun: Vec<_> = (0..3).map(|slot| endpoint.take(work(slot), MS(slot as u64))).collect();
        assert_eq!(begun, [Some((1, MS(10))), Some((2, MS(11))), None]);
        assert_eq!(endpoint.done(1, MS(10)), Some((work(0), 200, Some((3, MS(20))))));
        assert_eq!(endpoint.done(1, MS(10)), None);
    }

    #[test]
    fn a_stopped_one_goes_on_where_it_was() {
        let mut endpoint = endpoint(1);
        assert_eq!(endpoint.take(work(0), MS(0)), Some((1, MS(10))));
        assert_eq!(endpoint.set(Ailments { stopped: true, ..HEALTHY }, MS(4)), (vec![], vec![]));
        assert_eq!(endpoint.take(work(1), MS(5)), None);
        assert_eq!(endpoint.done(1, MS(10)), None);
        assert_eq!(endpoint.set(HEALTHY, MS(100)), (vec![], vec![(3, MS(106))]));
        assert_eq!(endpoint.done(3, MS(106)), Some((work(0), 200, Some((4, MS(116))))));
    }

    #[test]
    fn a_killed_one_loses_everything() {
        let mut endpoint = endpoint(1);
        endpoint.idle = 3;
        (0..3).for_each(|slot| assert_eq!(endpoint.take(work(slot), MS(0)).is_some(), slot == 0));
        let lost = endpoint.set(Ailments { killed: true, ..HEALTHY }, MS(4));
        assert_eq!((lost, endpoint.idle), ((vec![work(0), work(1), work(2)], vec![]), 0));
        assert_eq!(endpoint.done(1, MS(10)), None);
    }

    #[test]
    fn a_failing_one_answers_at_once() {
        let mut endpoint = endpoint(1);
        endpoint.set(Ailments { fails: Some((503, 1.0)), ..HEALTHY }, MS(0));
        assert_eq!(endpoint.take(work(0), MS(0)), Some((1, FAILS_WITHIN)));
        assert_eq!(endpoint.done(1, FAILS_WITHIN), Some((work(0), 503, None)));
    }
}
