//! Bodies that are compressed: equal after decoding, whatever pieces they come in, and sent on when the source pauses.

use std::io::Read;

use super::*;
use crate::body::{BodyEncoder, EncodedBody};
use crate::config::Encoding;

/// A body in pieces; `None` is a pause.
struct Pieces {
    pieces: VecDeque<Option<Vec<u8>>>,
    data: Bytes,
}

impl Pieces {
    fn new(pieces: impl IntoIterator<Item = Option<Vec<u8>>>) -> Self {
        Self { pieces: pieces.into_iter().collect(), data: Bytes::new() }
    }
}

impl BodySource for Pieces {
    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, count: usize) -> usize {
        self.take(count).len()
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.data.split_to(count)
    }

    fn is_last(&self) -> bool {
        self.pieces.is_empty()
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, _room: usize) -> Poll<Result<(), ReadError>> {
        assert!(self.data.is_empty() && !self.pieces.is_empty(), "asked for more too early");
        match self.pieces.pop_front().flatten() {
            Some(piece) => {
                self.data = piece.into();
                Poll::Ready(Ok(()))
            }
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What the source has to say until it pauses, or ends.
fn until_pause(encoded: &mut EncodedBody<'_, Pieces>) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        while !encoded.data().is_empty() {
            // In pieces that end anywhere, by both ways of taking them.
            let count = encoded.data().len().min(1000);
            match out.len() % 2 {
                0 => out.extend_from_slice(&encoded.take(count)),
                _ => {
                    out.extend_from_slice(&encoded.data()[..count]);
                    assert_eq!(encoded.consume(count), count);
                }
            }
        }
        if encoded.is_last() {
            return out;
        }
        match encoded.poll_fill(&mut context(), 16_384) {
            Poll::Ready(filled) => filled.expect("a body that can be compressed"),
            Poll::Pending => return out,
        }
    }
}

fn whole(encoding: Encoding, level: u8, pieces: Vec<Option<Vec<u8>>>) -> Vec<u8> {
    let (mut source, mut encoder) =
        (Pieces::new(pieces), BodyEncoder::new(encoding, level).expect("an encoder"));
    let mut encoded = EncodedBody { source: &mut source, encoder: &mut encoder };
    let mut out = Vec::new();
    while !encoded.has_ended() {
        out.extend(until_pause(&mut encoded));
        encoded.release();
    }
    out
}

/// What a client makes of it; of a part of a body, all that the part tells.
fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match encoding {
        Encoding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).expect("a decoder")),
        Encoding::Br => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Encoding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
    };
    let (mut out, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = reader.read(&mut piece) {
        out.extend_from_slice(&piece[..length]);
    }
    out
}

/// A generator of numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Text that repeats itself, noise, or zeros.
    fn piece(&mut self) -> Vec<u8> {
        let length = match self.below(10) {
            0 => 0,
            1..9 => self.below(1_000),
            _ => self.below(40_000),
        };
        let kind = self.below(3);
        let byte = |numbers: &mut Self| match kind {
            0 => b"<li class=\"x\">ABC"[numbers.below(17) as usize],
            1 => numbers.below(256) as u8,
            _ => 0,
        };
        (0..length).map(|_| byte(self)).collect()
    }
}

#[test]
fn a_thousand_bodies_are_equal_after_decoding() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..1000 {
        let count = numbers.below(6);
        let pieces: Vec<_> =
            (0..count).map(|_| if numbers.below(4) == 0 { None } else { Some(numbers.piece()) }).collect();
        let plain: Vec<u8> = pieces.iter().flatten().flatten().copied().collect();
        for encoding in Encoding::ALL {
            let level = 1 + (round % 9) as u8;
            let sent = whole(encoding, level, pieces.clone());
            assert!(decoded(encoding, &sent) == plain, "{encoding:?}, body {round}");
        }
    }
}

#[test]
fn all_that_has_come_goes_on_when_the_source_pauses() {
    for encoding in Encoding::ALL {
        // A pause is asked twice: before what was held back has gone, and after.
        let pieces = ["one ", "two ", "three"].map(|piece| [Some(piece.as_bytes().to_vec()), None, None]);
        let mut source = Pieces::new(pieces.into_iter().flatten());
        let mut encoder = BodyEncoder::new(encoding, 4).expect("an encoder");
        let mut encoded = EncodedBody { source: &mut source, encoder: &mut encoder };
        let mut sent = Vec::new();
        for expected in ["one ", "one two ", "one two three"] {
            sent.extend(until_pause(&mut encoded));
            assert_eq!(decoded(encoding, &sent), expected.as_bytes(), "{encoding:?}");
        }
        sent.extend(until_pause(&mut encoded));
        assert!(encoded.has_ended());
        assert_eq!(encoder.plain_bytes(), 13);
    }
}

/// A body that shrinks to nothing would hold up all others if only what is sent counted.
#[test]
fn a_body_of_zeros_lets_others_have_their_turn() {
    for encoding in Encoding::ALL {
        let mut source = Pieces::new((0..100).map(|_| Some(vec![0; 16_384])));
        let mut encoder = BodyEncoder::new(encoding, 4).expect("an encoder");
        let mut encoded = EncodedBody { source: &mut source, encoder: &mut encoder };
        until_pause(&mut encoded);
        assert!(!encoded.has_ended());
        let before = encoder.plain_bytes();
        assert!((60_000..100_000).contains(&before), "{encoding:?}: {before} bytes in one turn");
    }
}

#[test]
fn a_body_that_breaks_off_is_no_whole_one() {
    let mut source = Script::new([Data("a piece"), Cut]);
    let mut encoder = BodyEncoder::new(Encoding::Gzip, 4).expect("an encoder");
    let mut encoded = EncodedBody { source: &mut source, encoder: &mut encoder };
    let filled = loop {
        match encoded.poll_fill(&mut context(), 16_384) {
            Poll::Ready(Ok(())) => assert!(!encoded.is_last()),
            Poll::Ready(Err(error)) => break error,
            Poll::Pending => panic!("nothing is waited for"),
        }
    };
    assert!(matches!(filled, ReadError::Cut(None)));
}
