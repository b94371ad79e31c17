//! A queue of tasks that want the same thing: the first one tries for it, and the others wait behind.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{Mutex, MutexGuard};

use crate::permits::Counted;

#[derive(Debug, Default)]
pub struct FairQueue {
    turn: Mutex<()>,
    /// Tasks that have, or wait for, their turn.
    queued: AtomicUsize,
}

/// The turn of the first in the queue, until this is dropped.
#[must_use = "the next one has its turn when this is dropped"]
pub struct Turn<'a> {
    _first: MutexGuard<'a, ()>,
    _queued: Counted<'a>,
}

impl FairQueue {
    /// Whether nobody has, or waits for, a turn: a newcomer may try at once.
    pub fn is_empty(&self) -> bool {
        self.queued.load(Relaxed) == 0
    }

    /// Waits behind all that came before. Whoever drops this future leaves the queue.
    pub async fn turn(&self) -> Turn<'_> {
        let queued = Counted::new(&self.queued);
        Turn { _first: self.turn.lock().await, _queued: queued }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn turns_are_in_the_order_of_arrival_and_who_leaves_holds_up_nobody() {
        let queue = FairQueue::default();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(queue.turn()).poll(&mut context) else { panic!("it is the first") };
        let mut leaves = Box::pin(queue.turn());
        let (mut second, mut third) = (pin!(queue.turn()), pin!(queue.turn()));
        assert!(leaves.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(first);
        // It has the turn, and does not know it yet.
        drop(leaves);
        assert!(third.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(turn) = second.as_mut().poll(&mut context) else { panic!("it is next") };
        assert!(!queue.is_empty());
        drop(turn);
        assert!(third.as_mut().poll(&mut context).map(drop).is_ready());
        assert!(queue.is_empty());
    }
}
