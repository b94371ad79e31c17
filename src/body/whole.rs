//! A body that is complete in memory, and the sink that gathers one.

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{BodySink, BodySource, ReadError};

/// The least room that is made for further bytes.
const ROOM: usize = 8 * 1024;

/// A body that is complete in memory. A clone shares its bytes.
#[derive(Debug, Clone, Default)]
pub struct WholeBody {
    pub data: Bytes,
    pub trailers: HeaderMap,
}

/// Gathers a body.
#[derive(Debug, Default)]
pub struct BodyCollector {
    data: Vec<u8>,
    /// The length that is announced; `None`: unknown.
    announced: Option<usize>,
    trailers: HeaderMap,
    done: bool,
}

impl BodySource for WholeBody {
    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, count: usize) -> usize {
        self.data.advance(count);
        count
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.data.split_to(count)
    }

    fn is_last(&self) -> bool {
        true
    }

    fn poll_fill(&mut self, _context: &mut Context<'_>, _room: usize) -> Poll<Result<(), ReadError>> {
        Poll::Ready(Ok(()))
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.trailers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }
}

impl BodyCollector {
    /// For a body that announces this length, which no more memory is taken for.
    pub fn new(announced: Option<u64>) -> Self {
        let announced = announced.and_then(|length| usize::try_from(length).ok());
        Self { announced, ..Self::default() }
    }

    /// What has been gathered.
    pub fn into_body(self) -> WholeBody {
        WholeBody { data: self.data.into(), trailers: self.trailers }
    }

    /// How many bytes have been gathered.
    pub fn length(&self) -> usize {
        self.data.len()
    }

    /// Forgets what has been gathered.
    pub fn clear(&mut self) {
        self.data.clear();
    }

    /// The body has ended, with these trailers.
    pub fn end<'a>(&mut self, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.trailers = fields(trailers);
        self.done = true;
    }

    /// Takes bytes of the body. Memory grows with what arrives, not with what is announced.
    pub fn add(&mut self, bytes: &[u8]) {
        let length = self.data.len();
        if self.data.capacity() - length < bytes.len() {
            let doubled = bytes.len().max(length).max(ROOM);
            let left = self.announced.and_then(|announced| announced.checked_sub(length));
            self.data.reserve_exact(left.map_or(doubled, |left| left.min(doubled)).max(bytes.len()));
        }
        self.data.extend_from_slice(bytes);
    }
}

/// Trailers as the fields that they are over HTTP/2.
pub(super) fn fields<'a>(trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let field =
        |(name, value)| Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?));
    trailers.filter_map(field).collect()
}

/// It is never waited for.
impl BodySink for BodyCollector {
    fn has_pending(&self) -> bool {
        false
    }

    fn poll_send(
        &mut self,
        _context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        let count = source.data().len();
        self.add(source.data());
        source.consume(count);
        if source.has_ended() {
            self.end(source.trailers());
        }
        Poll::Ready(Ok(count))
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
