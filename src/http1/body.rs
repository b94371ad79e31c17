//! A body as it arrives, whatever delimits it.

use std::ops::Range;

use super::chunked::{ChunkError, Decoder};
use crate::message::Framing;

/// What a piece of input was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// So many bytes of the input are done with; the rest has to be given again.
    pub consumed: usize,
    /// Where in the input the body's bytes are; within what was consumed.
    pub data: Range<usize>,
    /// The body is complete; what follows in the input is not part of it.
    pub done: bool,
}

/// The reading end of one body.
#[derive(Debug)]
pub enum Body {
    Empty,
    Length { left: u64 },
    Chunked(Decoder),
    UntilClose,
}

impl Body {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Empty,
            Framing::Length(left) => Self::Length { left },
            Framing::Chunked => Self::Chunked(Decoder::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes the next piece of input: at most one range of data. To be called again while there is input left and
    /// the body is not done.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        match self {
            Self::Empty => Ok(Step { consumed: 0, data: 0..0, done: true }),
            Self::Length { left } => {
                let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= taken as u64;
                Ok(Step { consumed: taken, data: 0..taken, done: *left == 0 })
            }
            Self::Chunked(decoder) => decoder.decode(input),
            Self::UntilClose => Ok(Step { consumed: input.len(), data: 0..input.len(), done: false }),
        }
    }

    /// Nothing of it is to come.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Length { left } => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Whether the end of the connection is a good end here.
    pub fn may_end(&self) -> bool {
        matches!(self, Self::UntilClose) || self.is_done()
    }

    /// The fields that followed a chunked body and may go on.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        match self {
            Self::Chunked(decoder) => Some(decoder.trailers()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }
}
