//! A body that the client gets in the place of the endpoint's.

use std::task::{Context, Poll};

use http::HeaderMap;

use super::pace::{Pace, move_at};
use crate::body::{BodyEncoder, BodySink, BodySource, EncodedBody, Transfer, TransferError, WholeBody};
use crate::exchange::{Failed, Failure, NewBody};
use crate::message::{Framing, Onward};

/// Where the bytes come from.
pub(super) enum NewSource {
    Page(WholeBody),
    Encoded(BodyEncoder),
}

impl NewSource {
    pub fn new(body: NewBody) -> Result<Self, Failed> {
        match body {
            NewBody::Page(data) => Ok(Self::Page(WholeBody { data, trailers: HeaderMap::new() })),
            NewBody::Encoded { encoding, level } => match BodyEncoder::new(encoding, level) {
                Ok(encoder) => Ok(Self::Encoded(encoder)),
                Err(error) => Err(Failed::new(Failure::Internal, format!("{encoding:?}: {error}"))),
            },
        }
    }

    /// How it is sent, in the place of an endpoint's body that would have been sent so.
    pub fn onward(&self, instead_of: Onward, is_head: bool) -> Onward {
        let announced = match self {
            Self::Page(page) => Framing::Length(page.data.len() as u64),
            Self::Encoded(_) => Framing::Chunked,
        };
        let has_body = match self {
            Self::Page(_) => !is_head,
            Self::Encoded(_) => instead_of.body != Framing::None,
        };
        Onward { announced, body: if has_body { announced } else { Framing::None } }
    }

    /// Moves it on; see [`Transfer::poll`].
    pub fn poll(
        &mut self,
        pace: &mut Option<Box<Pace>>,
        context: &mut Context<'_>,
        transfer: &mut Transfer,
        endpoint: &mut impl BodySource,
        sink: &mut impl BodySink,
        count: &mut impl FnMut(usize) -> Result<(), Failure>,
    ) -> Poll<Result<(), TransferError>> {
        match self {
            Self::Page(page) => move_at(pace, transfer, context, page, sink, count),
            Self::Encoded(encoder) => {
                let mut encoded = EncodedBody { source: endpoint, encoder };
                move_at(pace, transfer, context, &mut encoded, sink, count)
            }
        }
    }

    /// Bytes that went into it.
    pub fn plain_bytes(&self) -> u64 {
        match self {
            Self::Page(_) => 0,
            Self::Encoded(encoder) => encoder.plain_bytes(),
        }
    }
}
