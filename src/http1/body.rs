//! Decodes a body, however it is delimited.

use std::ops::Range;

use super::chunked::{ChunkError, Decoder, Leniency};
use crate::message::Framing;

/// The result of decoding a piece of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that have been used; the rest has to be passed again.
    pub consumed: usize,
    /// Where in the consumed input the body's bytes are.
    pub data: Range<usize>,
    /// The body is complete; the rest of the input is not part of it.
    pub done: bool,
}

/// The state of decoding one body.
#[derive(Debug)]
pub enum Body {
    Empty,
    Length { left: u64 },
    Chunked(Decoder),
    UntilClose,
}

impl Body {
    pub fn new(framing: Framing, leniency: Leniency) -> Self {
        match framing {
            Framing::None => Self::Empty,
            Framing::Length(left) => Self::Length { left },
            Framing::Chunked => Self::Chunked(Decoder::new(leniency)),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Decodes at most one range of data. To be called again while there is input left and the body is not done.
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

    /// The whole body has been decoded.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Length { left } => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Whether the connection may end here without cutting the body short.
    pub fn may_end(&self) -> bool {
        matches!(self, Self::UntilClose) || self.is_done()
    }

    /// The trailers of a chunked body that may be forwarded.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        match self {
            Self::Chunked(decoder) => Some(decoder.trailers()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }
}
