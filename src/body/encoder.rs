//! Compresses a body on its way: a source between the one that is read and the sink.

use std::io::{self, Write};
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::{Backlog, BodySource, ReadError};
use crate::config::Encoding;
use crate::part::Part;

/// The window of zstd and Brotli, in bits: memory for each response counts more than the last percent.
const WINDOW_BITS: u32 = 18;

/// Brotli takes ten times as long from here on.
const BROTLI_LEVEL_MAX: u8 = 6;

/// Brotli's buffer for what it has written.
const BROTLI_BUFFER: usize = 4096;

/// How many bytes are compressed before the worker's other requests get their turn.
const TURN: usize = 64 * 1024;

/// The state of a body that is compressed.
pub struct BodyEncoder {
    encoder: Encoder,
    /// How many bytes of the encoder's output have been sent.
    given: usize,
    /// Bytes that have been compressed.
    plain: u64,
    /// Bytes that have been compressed since the last wait.
    turn: usize,
    /// The encoder may hold bytes back.
    unflushed: bool,
}

enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    /// The body has ended.
    Ended(Vec<u8>),
}

/// A body, compressed.
pub struct EncodedBody<'a, S> {
    pub source: &'a mut S,
    pub encoder: &'a mut BodyEncoder,
}

// === impl BodyEncoder ===

impl BodyEncoder {
    /// `level` is from 1 to 9.
    pub fn new(encoding: Encoding, level: u8) -> io::Result<Self> {
        let encoder = match encoding {
            Encoding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), level.into())?;
                encoder.window_log(WINDOW_BITS)?;
                Encoder::Zstd(encoder)
            }
            Encoding::Br => {
                let quality = level.min(BROTLI_LEVEL_MAX).into();
                let encoder = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, quality, WINDOW_BITS);
                Encoder::Brotli(Box::new(encoder))
            }
            Encoding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(level.into()))),
        };
        Ok(Self { encoder, given: 0, plain: 0, turn: 0, unflushed: false })
    }

    /// Bytes that have been compressed.
    pub fn plain_bytes(&self) -> u64 {
        self.plain
    }

    fn out(&self) -> &[u8] {
        let out = match &self.encoder {
            Encoder::Zstd(encoder) => encoder.get_ref(),
            Encoder::Brotli(encoder) => encoder.get_ref(),
            Encoder::Gzip(encoder) => encoder.get_ref(),
            Encoder::Ended(out) => out,
        };
        out.part(self.given..)
    }

    fn consume(&mut self, count: usize) {
        self.given += count;
        if self.out().is_empty() {
            self.given = 0;
            self.out_mut().clear();
        }
    }

    fn out_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.encoder {
            Encoder::Zstd(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Ended(out) => out,
        }
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        (self.plain, self.turn, self.unflushed) =
            (self.plain + plain.len() as u64, self.turn + plain.len(), true);
        match &mut self.encoder {
            Encoder::Zstd(encoder) => encoder.write_all(plain),
            Encoder::Brotli(encoder) => encoder.write_all(plain),
            Encoder::Gzip(encoder) => encoder.write_all(plain),
            Encoder::Ended(_) => Ok(()),
        }
    }

    /// Lets go of all that has been written.
    fn flush(&mut self) -> io::Result<()> {
        self.unflushed = false;
        match &mut self.encoder {
            Encoder::Zstd(encoder) => encoder.flush(),
            Encoder::Brotli(encoder) => encoder.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Ended(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let out = match std::mem::replace(&mut self.encoder, Encoder::Ended(Vec::new())) {
            Encoder::Zstd(encoder) => encoder.finish()?,
            Encoder::Brotli(encoder) => encoder.into_inner(),
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Ended(out) => out,
        };
        self.encoder = Encoder::Ended(out);
        Ok(())
    }

    fn has_ended(&self) -> bool {
        matches!(self.encoder, Encoder::Ended(_))
    }
}

// === impl EncodedBody ===

impl<S: BodySource> EncodedBody<'_, S> {
    /// Compresses what has arrived; what is held back is let go of when nothing more comes at the moment.
    fn poll_encode(
        &mut self,
        context: &mut Context<'_>,
        room: usize,
    ) -> io::Result<Poll<Result<(), ReadError>>> {
        let Self { source, encoder } = self;
        if source.data().is_empty() && !source.is_last() {
            match source.poll_fill(context, room) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending if encoder.unflushed => {
                    encoder.flush()?;
                    if !encoder.out().is_empty() {
                        return Ok(Poll::Ready(Ok(())));
                    }
                    encoder.turn = 0;
                    return Ok(Poll::Pending);
                }
                Poll::Pending => {
                    encoder.turn = 0;
                    return Ok(Poll::Pending);
                }
                failed @ Poll::Ready(Err(_)) => return Ok(failed),
            }
        }
        let length = source.data().len();
        if length > 0 {
            encoder.write(source.data())?;
            source.consume(length);
        }
        if source.is_last() && source.data().is_empty() {
            encoder.finish()?;
        }
        Ok(Poll::Ready(Ok(())))
    }
}

impl<S: BodySource> BodySource for EncodedBody<'_, S> {
    const BACKLOG: Backlog = S::BACKLOG;

    fn data(&self) -> &[u8] {
        self.encoder.out()
    }

    fn consume(&mut self, count: usize) -> usize {
        self.encoder.consume(count);
        count
    }

    fn take(&mut self, count: usize) -> Bytes {
        let taken = Bytes::copy_from_slice(self.encoder.out().part(..count));
        self.encoder.consume(count);
        taken
    }

    fn is_last(&self) -> bool {
        self.encoder.has_ended()
    }

    fn release(&mut self) {
        if self.encoder.out().is_empty() {
            self.encoder.out_mut().shrink_to_fit();
        }
        self.source.release();
    }

    /// Ready also where there is no data yet: what was read may still be in the encoder.
    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        if self.encoder.turn >= TURN {
            self.encoder.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.poll_encode(context, room) {
            Ok(filled) => filled,
            Err(error) => Poll::Ready(Err(ReadError::Malformed(format!("cannot be compressed: {error}")))),
        }
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.source.trailers()
    }
}
