//! Deadlines that cost one store to set: a coarse clock of each worker checks all of them when the earliest may be due,
//! and at most ten times a second.
//!
//! A timer of the runtime costs a registration each time; a connection sets several deadlines for each request, and
//! hardly any of them passes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::listener_state::ListenerState;

/// How late a deadline may be noticed: the shortest time between two checks.
const TICK: Duration = Duration::from_millis(100);

/// If many deadlines pass at the same moment, this many connections are woken at once, and the others after a pause, in
/// which the worker serves connections that stay.
const WAKE_BATCH: usize = 16;
const WAKE_PAUSE: Duration = Duration::from_millis(1);

/// How long the time of day is derived from one reading of the system's clock.
const READING_MAX_AGE: Duration = Duration::from_secs(1);

/// The deadline passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// One worker's deadlines.
#[derive(Default)]
pub struct Clock {
    slots: RefCell<Vec<Rc<Slot>>>,
    /// When the clock checks next; `None`: only once it is notified.
    next: Cell<Option<Instant>>,
    /// Notified of a deadline that is earlier than `next`.
    wanted: Notify,
    /// The same moment on both of the system's clocks.
    moment: Cell<Option<(Instant, SystemTime)>>,
}

/// What a connection is doing, which decides whether it may be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Request,
    /// A new client that has not sent a request yet.
    First,
    /// The same, accepted during a drain: it has a deadline of its own.
    Newcomer,
    /// No request is under way.
    Idle,
    /// An upgraded connection.
    Tunnel,
}

struct Slot {
    deadline: Cell<Option<Instant>>,
    passed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    phase: Cell<Phase>,
    /// Since when an idle connection has been idle.
    idle_since: Cell<Option<Instant>>,
    /// The connection's listener: the connections of one listener may be ended together.
    listener: SlotListener,
    /// The index among the clock's slots.
    index: Cell<usize>,
}

/// Where a slot's listener is found.
enum SlotListener {
    Own(Arc<ListenerState>),
    /// Of a stream: at its connection. All workers write the reference count of the state itself.
    OfConnection(Rc<Slot>),
}

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    Done,
    /// More deadlines may have passed.
    Again,
}

impl Slot {
    fn listener_state(&self) -> &Arc<ListenerState> {
        match &self.listener {
            SlotListener::Own(listener_state) => listener_state,
            SlotListener::OfConnection(slot) => slot.listener_state(),
        }
    }

    /// Marks the deadline as passed, and returns the waker of the connection.
    fn pass(&self) -> Option<Waker> {
        self.deadline.set(None);
        self.passed.set(true);
        self.waker.borrow_mut().take()
    }
}

impl Clock {
    /// Runs as long as the worker does; sleeps while there is no deadline.
    pub async fn run(&self) {
        loop {
            while let Check::Again = self.check(Instant::now()) {
                tokio::time::sleep(WAKE_PAUSE).await;
            }
            match self.next.get() {
                // Notified or timed out, the deadlines are checked next.
                Some(next) => drop(tokio::time::timeout_at(next.into(), self.wanted.notified()).await),
                None => self.wanted.notified().await,
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Wakes at most `WAKE_BATCH` connections whose deadlines have passed; if these are all, finds the earliest of the
    /// other deadlines.
    fn check(&self, now: Instant) -> Check {
        let slots = self.slots.borrow();
        let is_over = |slot: &&Rc<Slot>| slot.deadline.get().is_some_and(|deadline| deadline <= now);
        let over: SmallVec<[_; WAKE_BATCH]> =
            slots.iter().filter(is_over).take(WAKE_BATCH).map(|slot| slot.pass()).collect();
        let check = match over.len() {
            WAKE_BATCH => Check::Again,
            _ => {
                self.next.set(slots.iter().filter_map(|slot| slot.deadline.get()).min());
                Check::Done
            }
        };
        // A woken connection may drop its timer at once, which borrows the slots.
        drop(slots);
        over.into_iter().flatten().for_each(Waker::wake);
        check
    }

    /// Lets the deadlines of connections in this phase pass now, of listeners that are concerned.
    pub fn end(&self, phase: Phase, concerned: impl Fn(&ListenerState) -> bool) {
        let is_meant = |slot: &&Rc<Slot>| slot.phase.get() == phase && concerned(slot.listener_state());
        let over: Vec<_> = self.slots.borrow().iter().filter(is_meant).map(|slot| slot.pass()).collect();
        over.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends up to `most` connections that have been idle for at least `idle_for`, of listeners that are concerned, the
    /// longest idle first; returns their listeners.
    pub fn end_idle(
        &self,
        most: usize,
        idle_for: Duration,
        now: Instant,
        concerned: impl Fn(&ListenerState) -> bool,
    ) -> Vec<Arc<ListenerState>> {
        let since = |slot: &Rc<Slot>| {
            let is_idle = slot.phase.get() == Phase::Idle && concerned(slot.listener_state());
            let since = slot.idle_since.get().filter(|_| is_idle)?;
            (now.saturating_duration_since(since) >= idle_for).then_some(since)
        };
        let mut idle: Vec<_> = {
            let slots = self.slots.borrow();
            slots.iter().filter_map(|slot| Some((since(slot)?, slot.clone()))).collect()
        };
        idle.sort_unstable_by_key(|(since, _)| *since);
        idle.truncate(most);
        let over: Vec<_> = idle.iter().map(|(_, slot)| slot.pass()).collect();
        over.into_iter().flatten().for_each(Waker::wake);
        idle.iter().map(|(_, slot)| slot.listener_state().clone()).collect()
    }

    /// The time of day at `now`, without a system call each time; a change of the system's clock is seen within a
    /// second.
    pub fn time_of_day(&self, now: Instant) -> SystemTime {
        let known = self.moment.get().and_then(|(instant, time)| {
            let since = now.checked_duration_since(instant).filter(|since| *since < READING_MAX_AGE)?;
            time.checked_add(since)
        });
        known.unwrap_or_else(|| {
            let time = SystemTime::now();
            self.moment.set(Some((Instant::now(), time)));
            time
        })
    }

    pub fn timer(self: &Rc<Self>, listener_state: Arc<ListenerState>) -> Timer {
        self.timer_of(SlotListener::Own(listener_state))
    }

    fn timer_of(self: &Rc<Self>, listener: SlotListener) -> Timer {
        let mut slots = self.slots.borrow_mut();
        let slot = Rc::new(Slot {
            deadline: Cell::default(),
            passed: Cell::default(),
            waker: RefCell::default(),
            phase: Cell::default(),
            idle_since: Cell::default(),
            listener,
            index: Cell::new(slots.len()),
        });
        slots.push(slot.clone());
        Timer { clock: self.clone(), slot, bound: Cell::default(), at_bound: Cell::default() }
    }

    /// Removes the slot at once: its waker keeps the memory of the connection's task.
    fn forget(&self, slot: &Slot) {
        let mut slots = self.slots.borrow_mut();
        let index = slot.index.get();
        slots.swap_remove(index);
        if let Some(moved) = slots.get(index) {
            moved.index.set(index);
        }
    }
}

/// The deadline of one connection, which has one at a time.
pub struct Timer {
    clock: Rc<Clock>,
    slot: Rc<Slot>,
    /// No deadline is later than this.
    bound: Cell<Option<Instant>>,
    /// The deadline that was set last is the bound.
    at_bound: Cell<bool>,
}

impl Timer {
    /// Another one, for a stream of the same connection.
    pub fn of_stream(&self) -> Timer {
        self.clock.timer_of(SlotListener::OfConnection(self.slot.clone()))
    }

    /// Sets the deadline to `limit` from now; replaces the previous one.
    pub fn set(&self, limit: Duration) {
        self.set_from(Instant::now(), limit);
    }

    /// Sets the deadline to `limit` from `start`, a moment ago; replaces the previous one.
    pub fn set_from(&self, start: Instant, limit: Duration) {
        let step = start.checked_add(limit);
        let bound = self.bound.get().filter(|bound| step.is_none_or(|step| *bound < step));
        self.at_bound.set(bound.is_some());
        // A transfer that moves all the time, and so sets deadlines all the time, must not outrun the bound.
        self.slot.passed.set(bound.is_some_and(|bound| bound <= start));
        let deadline = bound.or(step);
        self.slot.deadline.set(deadline);
        if self.clock.next.get().is_none_or(|next| deadline.is_some_and(|deadline| deadline < next)) {
            self.clock.next.set(deadline);
            self.clock.wanted.notify_one();
        }
    }

    /// Lets no deadline that is set from now on be later than this.
    pub fn bound(&self, bound: Option<Instant>) {
        self.bound.set(bound);
    }

    /// Whether the deadline that was set last is the bound, and not the limit of a step.
    pub fn is_at_bound(&self) -> bool {
        self.at_bound.get()
    }

    /// Sets what the connection is doing.
    pub fn enter(&self, phase: Phase) {
        self.slot.phase.set(phase);
    }

    /// The connection has been idle since then.
    pub fn idle(&self, since: Instant) {
        self.slot.idle_since.set(Some(since));
        self.slot.phase.set(Phase::Idle);
    }

    pub fn clear(&self) {
        self.slot.passed.set(false);
        self.slot.deadline.set(None);
    }

    /// Ready once the deadline has passed. The task is woken then.
    pub fn poll_passed(&self, context: &Context<'_>) -> Poll<()> {
        if self.slot.passed.get() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Does `work` within `limit`.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        self.set(limit);
        let done = self.before_deadline(work).await;
        self.clear();
        done
    }

    /// Does `work` before the deadline that is set.
    pub async fn before_deadline<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_passed(context).map(|()| Err(Elapsed)),
        })
        .await
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clock.forget(&self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn listener_state() -> Arc<ListenerState> {
        ListenerState::new("a".into(), Metrics::new(SystemTime::now()).listener(&"a".into()))
    }

    async fn with_clock<T>(work: impl Future<Output = T>, clock: Rc<Clock>) -> T {
        tokio::select! {
            done = work => done,
            () = clock.run() => unreachable!("the clock runs for ever"),
        }
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_and_the_timer_goes_on() {
        let clock = Rc::new(Clock::default());
        let timer = clock.timer(listener_state());
        let work = async {
            let late = timer.within(Duration::from_millis(50), std::future::pending::<()>()).await;
            assert_eq!(late, Err(Elapsed));
            assert_eq!(timer.within(Duration::from_secs(60), async { 7 }).await, Ok(7));
        };
        tokio::time::timeout(Duration::from_secs(5), with_clock(work, clock.clone())).await.expect("in time");
    }

    #[tokio::test]
    async fn no_step_goes_on_beyond_the_bound() {
        let clock = Rc::new(Clock::default());
        let timer = clock.timer(listener_state());
        let work = async {
            let long = Duration::from_secs(60);
            timer.bound(Some(Instant::now() + Duration::from_millis(50)));
            let short = timer.within(Duration::from_millis(1), std::future::pending::<()>()).await;
            assert_eq!((short, timer.is_at_bound()), (Err(Elapsed), false));
            let late = timer.within(long, std::future::pending::<()>()).await;
            assert_eq!((late, timer.is_at_bound()), (Err(Elapsed), true));
            // However often it is set now, it has passed.
            let busy = timer.within(
                long,
                poll_fn(|_| {
                    timer.set(long);
                    Poll::<()>::Pending
                }),
            );
            assert_eq!(busy.await, Err(Elapsed));
            timer.bound(None);
            assert_eq!(timer.within(long, async { 7 }).await, Ok(7));
            assert!(!timer.is_at_bound());
        };
        tokio::time::timeout(Duration::from_secs(5), with_clock(work, clock.clone())).await.expect("in time");
    }

    #[test]
    fn the_clock_rests_when_nobody_has_a_deadline() {
        let clock = Rc::new(Clock::default());
        let timer = clock.timer(listener_state());
        let next = || {
            assert_eq!(clock.check(Instant::now()), Check::Done);
            clock.next.get()
        };
        assert_eq!(next(), None);
        timer.set(Duration::from_secs(60));
        assert!(next().is_some());
        timer.clear();
        assert_eq!(next(), None);
    }

    /// A dropped timer is forgotten at once, in whatever order timers are dropped, and no other one.
    #[test]
    fn the_clock_keeps_nothing_of_those_who_are_gone() {
        let clock = Rc::new(Clock::default());
        let mut timers: Vec<_> = (0..5).map(|_| clock.timer(listener_state())).collect();
        for gone in [1, 3, 0, 1, 0] {
            drop(timers.remove(gone));
            let kept = clock.slots.borrow();
            assert_eq!(kept.len(), timers.len());
            assert!(timers.iter().all(|timer| Rc::ptr_eq(&timer.slot, &kept[timer.slot.index.get()])));
        }
    }

    #[test]
    fn who_has_been_idle_for_the_longest_goes_first() {
        let clock = Rc::new(Clock::default());
        let timers: Vec<_> = (0..5).map(|_| clock.timer(listener_state())).collect();
        let start = Instant::now();
        for (timer, seconds) in timers.iter().zip([3, 1, 2, 9]) {
            timer.idle(start + Duration::from_secs(seconds));
        }
        // Something is under way there again.
        timers[1].enter(Phase::Request);
        let passed = || timers.iter().map(|timer| timer.slot.passed.get()).collect::<Vec<_>>();
        let (second, now) = (Duration::from_secs(1), start + Duration::from_secs(4));
        assert_eq!(clock.end_idle(1, second, now, |_| true).len(), 1);
        assert_eq!(passed(), [false, false, true, false, false]);
        timers[2].enter(Phase::Request);
        assert_eq!(clock.end_idle(9, second, now, |_| false).len(), 0);
        assert_eq!(clock.end_idle(9, second, now, |_| true).len(), 1);
        assert_eq!(passed(), [true, false, true, false, false]);
    }

    #[test]
    fn not_all_are_woken_at_once() {
        let clock = Rc::new(Clock::default());
        let timers: Vec<_> = (0..WAKE_BATCH + 1).map(|_| clock.timer(listener_state())).collect();
        timers.iter().for_each(|timer| timer.set(Duration::ZERO));
        let passed = || timers.iter().filter(|timer| timer.slot.passed.get()).count();
        assert_eq!((clock.check(Instant::now()), passed()), (Check::Again, WAKE_BATCH));
        assert_eq!((clock.check(Instant::now()), passed()), (Check::Done, WAKE_BATCH + 1));
    }
}
