//! Paces a response's body (`limits.response_rate`): a source that has no more bytes than the rate allows.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};

use crate::body::{Backlog, BodySink, BodySource, ReadError, Transfer, TransferError};
use crate::config::ResponseRate;
use crate::exchange::Failure;

/// What a response may be ahead of its rate, so that a timer is set ten times a second, not for each packet.
const BURST: Duration = Duration::from_millis(100);

const SECOND: Duration = Duration::from_secs(1);

/// How far a response is ahead of its rate.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second.
    rate: u64,
    /// Bytes that may be sent at any rate, at the beginning.
    free: u64,
    /// When all that has been sent, beyond those, would have been sent at the rate.
    paid: Instant,
    /// How many bytes may be sent now.
    room: u64,
    /// Until more may be sent.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub fn new(rate: ResponseRate, now: Instant) -> Self {
        let mut pace = Self { rate: rate.rate, free: rate.after, paid: now, room: 0, pause: None };
        pace.allow(now);
        pace
    }

    /// Whether bytes are there that have to wait.
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Makes room for what may have been sent by now. A late timer is made up for, and a longer time in which nothing
    /// could be sent is not.
    fn allow(&mut self, now: Instant) {
        self.paid = now.checked_sub(BURST).map_or(self.paid, |earliest| self.paid.max(earliest));
        let ahead = (now + BURST).saturating_duration_since(self.paid);
        let due = u128::from(self.rate) * ahead.as_nanos() / SECOND.as_nanos();
        self.room = self.free.saturating_add(u64::try_from(due).unwrap_or(u64::MAX));
        if self.paid <= now {
            // However slow the rate is, something is sent after each pause.
            self.room = self.room.max(1);
        }
    }

    fn sent(&mut self, bytes: u64) {
        self.room = self.room.saturating_sub(bytes);
        let of_free = bytes.min(self.free);
        self.free -= of_free;
        let nanos = u128::from(bytes - of_free) * SECOND.as_nanos() / u128::from(self.rate.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid = self.paid.checked_add(time).unwrap_or(self.paid);
    }

    /// Ready when there is room again, once all that has been sent is paid for.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.room == 0 {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(self.paid.into())));
            ready!(pause.as_mut().poll(context));
            self.pause = None;
            self.allow(Instant::now());
        }
        Poll::Ready(())
    }
}

/// Moves a body on as [`Transfer::poll`] does, at the pace of the response if it has one.
pub(super) fn move_at<S: BodySource>(
    pace: &mut Option<Box<Pace>>,
    transfer: &mut Transfer,
    context: &mut Context<'_>,
    source: &mut S,
    sink: &mut impl BodySink,
    count: &mut impl FnMut(usize) -> Result<(), Failure>,
) -> Poll<Result<(), TransferError>> {
    match pace {
        None => transfer.poll(context, source, sink, count),
        Some(pace) => transfer.poll(context, &mut Paced { source, pace }, sink, count),
    }
}

/// A source of which only what there is room for is seen.
struct Paced<'a, S> {
    source: &'a mut S,
    pace: &'a mut Pace,
}

impl<S: BodySource> Paced<'_, S> {
    fn room(&self) -> usize {
        usize::try_from(self.pace.room).unwrap_or(usize::MAX)
    }
}

impl<S: BodySource> BodySource for Paced<'_, S> {
    const BACKLOG: Backlog = S::BACKLOG;

    fn data(&self) -> &[u8] {
        let data = self.source.data();
        data.get(..self.room()).unwrap_or(data)
    }

    fn consume(&mut self, count: usize) -> usize {
        self.pace.sent(count as u64);
        self.source.consume(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.pace.sent(count as u64);
        self.source.take(count)
    }

    fn is_last(&self) -> bool {
        self.source.is_last() && self.source.data().len() <= self.room()
    }

    fn is_paused(&self) -> bool {
        self.pace.is_paused()
    }

    fn release(&mut self) {
        self.source.release();
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        if self.source.data().is_empty() {
            ready!(self.source.poll_fill(context, room))?;
        }
        if self.source.data().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.pace.poll_room(context).map(Ok)
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.source.trailers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn no_second_has_more_than_the_rate_and_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(ResponseRate { rate: 100 * KIB, after: 0 }, start);
        let mut sent = 0;
        for step in 0..30 {
            assert_eq!(pace.room, 10 * KIB, "step {step}");
            pace.sent(pace.room);
            sent += 10 * KIB;
            // Nothing before all is paid for.
            assert_eq!(pace.paid, at(start, (step + 1) * 100));
            pace.allow(pace.paid);
        }
        assert_eq!(sent, 300 * KIB);
    }

    #[test]
    fn who_takes_less_does_not_save_up() {
        let start = Instant::now();
        let mut pace = Pace::new(ResponseRate { rate: 100 * KIB, after: 0 }, start);
        pace.sent(KIB);
        pace.allow(at(start, 60_000));
        assert_eq!(pace.room, 20 * KIB);
    }

    #[test]
    fn a_late_timer_costs_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(ResponseRate { rate: 100 * KIB, after: 0 }, start);
        pace.sent(10 * KIB);
        pace.allow(at(start, 150));
        assert_eq!(pace.room, 15 * KIB);
    }

    #[test]
    fn the_beginning_may_come_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(ResponseRate { rate: KIB, after: KIB * KIB }, start);
        assert_eq!(pace.room, KIB * KIB + 102);
        pace.sent(KIB * KIB);
        assert_eq!((pace.room, pace.paid), (102, start));
        pace.sent(102);
        assert_eq!((pace.room, pace.free), (0, 0));
        assert!(pace.paid > at(start, 99) && pace.paid < at(start, 101));
    }

    #[test]
    fn the_slowest_rate_goes_on() {
        let start = Instant::now();
        let mut pace = Pace::new(ResponseRate { rate: 1, after: 0 }, start);
        assert_eq!(pace.room, 1);
        pace.sent(1);
        assert_eq!(pace.paid, at(start, 1000));
        pace.allow(at(start, 500));
        assert_eq!(pace.room, 0);
    }
}
