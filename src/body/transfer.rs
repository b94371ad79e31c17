//! Moves one body from a source to a sink, as fast as both sides allow.

use std::io;
use std::task::{Context, Poll, ready};

use super::{BodySink, BodySource, ReadError};
use crate::exchange::Failure;
use crate::net::buffer::{BODY, BODY_BEGINNING, BODY_FIRST, TURN};

/// The state of moving one body.
#[derive(Debug)]
pub struct Transfer {
    /// The side that the last poll waited for.
    pub waits_for: WaitsFor,
    /// Bytes have moved since the owner last cleared this flag.
    pub moved: bool,
    /// Bytes of the body that the sink has taken.
    pub delivered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    Source,
    Sink,
}

/// Why a body was not moved completely.
#[derive(Debug)]
pub enum TransferError {
    Source(ReadError),
    Sink(io::Error),
    /// `count` has refused the bytes.
    Refused(Failure),
}

impl Default for Transfer {
    fn default() -> Self {
        Self { waits_for: WaitsFor::Sink, moved: false, delivered: 0 }
    }
}

impl Transfer {
    /// Moves bytes until one side has to be waited for, or the task has used up its turn; ready when the whole body has
    /// been sent.
    ///
    /// `count` is called with the size of each piece of the body that the sink has taken.
    pub fn poll<S: BodySource>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut S,
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
            ready!(sink.poll_read_permit(context));
            self.waits_for = WaitsFor::Source;
            let room = if self.delivered < BODY_BEGINNING { BODY_FIRST } else { BODY };
            let Poll::Ready(filled) = source.poll_fill(context, room) else {
                if !source.is_paused() && sink.source_idle(S::BACKLOG) {
                    source.release();
                }
                return Poll::Pending;
            };
            filled.map_err(TransferError::Source)?;
            self.moved = true;
        }
    }
}
