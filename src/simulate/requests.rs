//! The requests under way: each is an exchange, and is taken through its attempts and waits as an engine does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::endpoint::Work;
use super::recorder::Ended;
use super::simulation::{Event, Simulation};
use crate::exchange::{Circumstances, Exchange, Failure, Next, ResponseAction};
use crate::pool::Wait;

/// The size of a response's body.
const BODY: usize = 1_000;

/// All requests under way, each at a slot.
#[derive(Default)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Slots whose wait may be over.
    woken: Arc<Woken>,
}

struct Slot {
    request: Option<Request>,
    waker: Waker,
    /// Attempts, waits and pauses of all requests at this slot, so that none is taken for another.
    count: u32,
}

#[derive(Default)]
struct Woken(Mutex<VecDeque<usize>>);

struct SlotWaker {
    slot: usize,
    woken: Arc<Woken>,
}

struct Request {
    exchange: Exchange,
    came: Duration,
    /// The client that waits for the response before it sends its next request.
    user: Option<usize>,
    attempt: Option<Attempt>,
    /// A second attempt beside it.
    hedge: Option<Attempt>,
    wait: Option<(u32, Wait)>,
}

/// The attempt under way.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    number: u32,
    endpoint: usize,
    began: Duration,
    /// Its connection had served other requests.
    reused: bool,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.woken.0.lock().push_back(self.slot);
    }
}

// === impl Requests ===

impl Requests {
    pub fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub fn begin(&mut self, exchange: Exchange, came: Duration, user: Option<usize>) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len();
            let waker = Waker::from(Arc::new(SlotWaker { slot, woken: self.woken.clone() }));
            self.slots.push(Slot { request: None, waker, count: 0 });
            slot
        });
        self.slots[slot].request =
            Some(Request { exchange, came, user, attempt: None, hedge: None, wait: None });
        slot
    }

    pub fn next_woken(&mut self) -> Option<usize> {
        self.woken.0.lock().pop_front()
    }

    fn request(&mut self, slot: usize) -> &mut Request {
        self.slots[slot].request.as_mut().expect("its events end with the request")
    }

    fn exchange(&mut self, slot: usize) -> &mut Exchange {
        &mut self.request(slot).exchange
    }

    fn number(&mut self, slot: usize) -> u32 {
        self.slots[slot].count += 1;
        self.slots[slot].count
    }

    /// The attempt of that number, if it is still under way.
    fn attempt(&mut self, slot: usize, number: u32) -> Option<Attempt> {
        self.slots[slot].request.as_ref()?.attempt.filter(|attempt| attempt.number == number)
    }

    /// The second attempt of that number, if it is still under way.
    fn hedge(&mut self, slot: usize, number: u32) -> Option<Attempt> {
        self.slots[slot].request.as_ref()?.hedge.filter(|hedge| hedge.number == number)
    }

    /// Whether the wait of a request is over; `None`: it does not wait.
    fn wait_is_over(&mut self, slot: usize) -> Option<bool> {
        let Slot { request, waker, .. } = &mut self.slots[slot];
        let (_, wait) = request.as_ref()?.wait.as_ref()?;
        Some(wait.poll_over(&mut Context::from_waker(waker)).is_ready())
    }
}

// === impl Simulation ===

impl Simulation {
    /// Takes a request that has no response yet to its next attempt, to a wait, or to its end.
    pub(super) fn proceed(&mut self, slot: usize) {
        loop {
            let now = self.instant();
            match self.requests.exchange(slot).next(now) {
                Next::Attempt => match self.begin_attempt(slot) {
                    Ok(()) => return,
                    Err(failure) => {
                        if !self.attempt_fails(slot, failure, "connection refused") {
                            return self.fail(slot, failure);
                        }
                    }
                },
                Next::Wait(wait, limit) => {
                    let number = self.requests.number(slot);
                    self.requests.request(slot).wait = Some((number, wait));
                    if self.requests.wait_is_over(slot) != Some(true) {
                        self.agenda.add(self.now + limit, Event::WaitLate { slot, wait: number });
                        // The schedule of probes depends on whether requests wait.
                        self.plan_probes();
                        return;
                    }
                    self.requests.request(slot).wait = None;
                }
                Next::Pause(pause) => {
                    let number = self.requests.number(slot);
                    return self.agenda.add(self.now + pause, Event::PauseOver { slot, pause: number });
                }
                Next::Fail(failure) => return self.fail(slot, failure),
            }
        }
    }

    /// Sends a request to the endpoint that it got.
    fn begin_attempt(&mut self, slot: usize) -> Result<(), Failure> {
        let sent = self.send(slot);
        let (Ok(attempt) | Err((attempt, _))) = sent;
        self.requests.request(slot).attempt = Some(attempt);
        sent.map_err(|(_, failure)| failure)?;
        let now = self.instant();
        if let Some(due) = self.requests.exchange(slot).hedge_due() {
            let due = self.now + due.saturating_duration_since(now);
            self.agenda.add(due, Event::HedgeDue { slot, attempt: attempt.number });
        }
        Ok(())
    }

    /// A second attempt is due beside the one of that number.
    pub(super) fn hedge_due(&mut self, slot: usize, number: u32) {
        let now = self.instant();
        if self.requests.attempt(slot, number).is_none() || !self.requests.exchange(slot).begin_hedge(now) {
            return;
        }
        self.requests.exchange(slot).switch_attempts();
        let sent = self.send(slot);
        let (Ok(hedge) | Err((hedge, _))) = sent;
        self.requests.request(slot).hedge = Some(hedge);
        self.requests.exchange(slot).switch_attempts();
        if let Err((_, failure)) = sent {
            self.hedge_fails(slot, failure, "connection refused");
        }
    }

    /// Sends a request to the endpoint of the attempt that its exchange speaks of.
    fn send(&mut self, slot: usize) -> Result<Attempt, (Attempt, Failure)> {
        let (now, number) = (self.instant(), self.requests.number(slot));
        let exchange = self.requests.exchange(slot);
        let label = exchange.endpoint().expect("it has one").label();
        let endpoint = self.indexes[label];
        let simulated = &mut self.endpoints[endpoint];
        let reused = simulated.idle > 0;
        self.recorder.attempt_begins(endpoint, exchange.is_first_attempt(), self.now);
        let attempt = Attempt { number, endpoint, began: self.now, reused };
        if simulated.is_killed() {
            return Err((attempt, Failure::ConnectFailed));
        }
        simulated.idle -= usize::from(reused);
        exchange.connected(reused, now);
        let response = self.pool.config().timeouts.response;
        let limit = now + exchange.attempt_timeout().map_or(response, |limit| limit.min(response));
        let limit = exchange.deadline().map_or(limit, |deadline| limit.min(deadline));
        let late = self.now + limit.saturating_duration_since(now);
        self.agenda.add(late, Event::AttemptLate { slot, attempt: number });
        self.give(endpoint, Work::Attempt { slot, attempt: number });
        Ok(attempt)
    }

    /// The endpoint has answered an attempt.
    pub(super) fn answered(&mut self, slot: usize, number: u32, endpoint: usize, status: u16) {
        // Nobody reads the answer to a request that was given up.
        let is_hedges = self.requests.hedge(slot, number).is_some();
        if !is_hedges && self.requests.attempt(slot, number).is_none() {
            return;
        }
        self.endpoints[endpoint].idle += 1;
        if !self.is_for_client(slot, is_hedges, status) {
            return;
        }
        let now = self.instant();
        let circumstances = Circumstances { replayable: true, reused: false, response_begun: false };
        let exchange = self.requests.exchange(slot);
        let action = exchange.response_head(status, None, circumstances, now);
        self.attempt_ends(slot, if status < 500 { Ended::Well } else { Ended::Status(status) });
        match action {
            ResponseAction::Forward => {
                let exchange = self.requests.exchange(slot);
                exchange.release_snapshot();
                exchange.response_body(BODY);
                self.end_request(slot, status);
            }
            ResponseAction::Retry => self.proceed(slot),
            ResponseAction::Refuse(failure) => self.fail(slot, failure),
        }
    }

    /// Whether an answer is the request's: not so if it is bad, and another attempt goes on. Ends the other attempt if
    /// it is.
    fn is_for_client(&mut self, slot: usize, is_hedges: bool, status: u16) -> bool {
        let now = self.instant();
        let exchange = self.requests.exchange(slot);
        if !exchange.is_hedged() {
            return true;
        }
        let is_bad = status >= 500;
        // The attempt that ends: the one that has answered badly, or the other one.
        if is_hedges == is_bad {
            exchange.switch_attempts();
        }
        let ended = match is_bad {
            true => {
                exchange.answers_badly_beside(status, now);
                Ended::Status(status)
            }
            false => {
                exchange.overtaken(now);
                Ended::Overtaken
            }
        };
        self.one_of_two_ends(slot, is_hedges == is_bad, ended);
        !is_bad
    }

    /// The second attempt has failed, and the first goes on.
    fn hedge_fails(&mut self, slot: usize, failure: Failure, detail: &str) {
        let now = self.instant();
        let exchange = self.requests.exchange(slot);
        exchange.switch_attempts();
        exchange.fails_beside(failure, Some(detail), false, now);
        self.one_of_two_ends(slot, true, Ended::Failed(failure.label()));
    }

    /// Of two attempts, the second or the first has ended.
    fn one_of_two_ends(&mut self, slot: usize, is_hedge: bool, ended: Ended) {
        let request = self.requests.request(slot);
        if !is_hedge {
            std::mem::swap(&mut request.attempt, &mut request.hedge);
        }
        let gone = request.hedge.take();
        self.recorder_ends(gone, ended);
    }

    /// The endpoint of an attempt has died.
    pub(super) fn attempt_reset(&mut self, slot: usize, number: u32) {
        if self.requests.hedge(slot, number).is_some() {
            return self.hedge_fails(slot, Failure::EndpointReset, "connection reset");
        }
        if self.requests.attempt(slot, number).is_some() {
            self.again_or_fail(slot, Failure::EndpointReset, "connection reset");
        }
    }

    pub(super) fn attempt_late(&mut self, slot: usize, number: u32) {
        if self.requests.hedge(slot, number).is_some() {
            return self.hedge_fails(slot, Failure::ResponseTimeout, "no response in time");
        }
        if self.requests.attempt(slot, number).is_none() {
            return;
        }
        let now = self.instant();
        let is_late = self.requests.exchange(slot).is_late(now);
        let failure = if is_late { Failure::RequestDeadline } else { Failure::ResponseTimeout };
        self.again_or_fail(slot, failure, "no response in time");
    }

    fn again_or_fail(&mut self, slot: usize, failure: Failure, detail: &str) {
        let now = self.instant();
        let exchange = self.requests.exchange(slot);
        if exchange.is_hedged() && failure != Failure::RequestDeadline {
            exchange.fails_beside(failure, Some(detail), false, now);
            return self.one_of_two_ends(slot, false, Ended::Failed(failure.label()));
        }
        match self.attempt_fails(slot, failure, detail) {
            true => self.proceed(slot),
            false => self.fail(slot, failure),
        }
    }

    /// Whether another attempt may follow the one that fails now.
    fn attempt_fails(&mut self, slot: usize, failure: Failure, detail: &str) -> bool {
        let now = self.instant();
        let request = self.requests.request(slot);
        let reused = request.attempt.is_some_and(|attempt| attempt.reused);
        let circumstances = Circumstances { replayable: true, reused, response_begun: false };
        let again = request.exchange.attempt_failed(failure, Some(detail), circumstances, now);
        self.attempt_ends(slot, Ended::Failed(failure.label()));
        again
    }

    fn attempt_ends(&mut self, slot: usize, ended: Ended) {
        let ended_attempt = self.requests.request(slot).attempt.take();
        self.recorder_ends(ended_attempt, ended);
    }

    fn recorder_ends(&mut self, attempt: Option<Attempt>, ended: Ended) {
        if let Some(attempt) = attempt {
            self.recorder.attempt_ends(attempt.endpoint, self.now.saturating_sub(attempt.began), ended);
        }
    }

    /// A request may have got what it waits for.
    pub(super) fn woken(&mut self, slot: usize) {
        if self.requests.wait_is_over(slot) == Some(true) {
            self.requests.request(slot).wait = None;
            self.proceed(slot);
        }
    }

    pub(super) fn wait_late(&mut self, slot: usize, number: u32) {
        let request = self.requests.slots[slot].request.as_mut();
        if let Some(request) =
            request.filter(|request| request.wait.as_ref().is_some_and(|(wait, _)| *wait == number))
        {
            request.wait = None;
            self.proceed(slot);
        }
    }

    pub(super) fn pause_over(&mut self, slot: usize, number: u32) {
        if self.requests.slots[slot].count == number {
            self.proceed(slot);
        }
    }

    pub(super) fn fail(&mut self, slot: usize, failure: Failure) {
        self.requests.exchange(slot).failed(failure, None);
        let status = failure.status().as_u16();
        self.end(slot, status, Ended::Failed(failure.label()));
    }

    /// The client has its response.
    pub(super) fn end_request(&mut self, slot: usize, status: u16) {
        self.end(slot, status, if status < 500 { Ended::Well } else { Ended::Status(status) });
    }

    fn end(&mut self, slot: usize, status: u16, ended: Ended) {
        let now = self.instant();
        let Some(mut request) = self.requests.slots[slot].request.take() else { return };
        self.recorder_ends(request.hedge.take(), Ended::Overtaken);
        request.exchange.finish(Some(status), BODY as u64, now);
        self.recorder.request_ends(request.came, self.now - request.came, ended);
        self.requests.free.push(slot);
        self.next_of_client(request.user);
    }
}
