//! Carries one body from one stream to another, as far as both sides go along.

use std::io;
use std::task::{Context, Poll, ready};

use super::{BodySink, BodySource, ReadError};
use crate::exchange::Failure;
use crate::net::buffer::{BODY, BODY_BEGINNING, BODY_FIRST, TURN};

/// The state of one body on its way.
#[derive(Debug)]
pub struct Transfer {
    /// What the last poll waited for.
    pub waits_for: WaitsFor,
    /// Something has moved since this was last cleared.
    pub moved: bool,
    /// Bytes of the body that the sink has taken.
    pub delivered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    Source,
    Sink,
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub enum TransferError {
    Source(ReadError),
    Sink(io::Error),
    /// Whoever counts the bytes does not want more.
    Refused(Failure),
}

impl Default for Transfer {
    fn default() -> Self {
        Self { waits_for: WaitsFor::Sink, moved: false, delivered: 0 }
    }
}

impl Transfer {
    /// Moves bytes until a side has no more to give or to take, or the turn of its task is over; ready when the body is
    /// through.
    ///
    /// `count` is told of each piece of the body that has been taken from the source.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
        sink: &mut impl BodySink,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), TransferError>> {
        let begun = self.delivered;
        loop {
            self.waits_for = WaitsFor::Sink;
            if self.delivered - begun > TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if sink.is_done() {
                return Poll::Ready(Ok(()));
            }
            if sink.has_pending() || !source.data().is_empty() || source.is_last() {
                let taken = ready!(sink.poll_send(context, source)).map_err(TransferError::Sink)?;
                self.moved = true;
                if taken > 0 {
                    self.delivered += taken as u64;
                    count(taken).map_err(TransferError::Refused)?;
                }
                continue;
            }
            self.waits_for = WaitsFor::Source;
            let room = if self.delivered < BODY_BEGINNING { BODY_FIRST } else { BODY };
            ready!(source.poll_fill(context, room)).map_err(TransferError::Source)?;
            self.moved = true;
        }
    }
}
