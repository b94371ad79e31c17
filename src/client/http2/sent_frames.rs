//! Watches the headers of the frames that are sent to an HTTP/2 client, for streams that are answered or reset, by us
//! or by h2.
//!
//! It uses no socket and no clock.

use crate::part::Part;

/// The length of a frame's header.
const HEADER: usize = 9;

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;

/// A frame that answers or ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentFrame {
    /// A response has begun.
    Response {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
}

#[derive(Debug, Default)]
pub struct SentFrames {
    header: [u8; HEADER],
    /// How many bytes of `header` have been sent.
    have: usize,
    /// Bytes until the next header begins.
    skip: usize,
}

impl SentFrames {
    /// Passes on the next bytes that have been sent; `each` is called for each frame among them that counts.
    pub fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(SentFrame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.part(skipped..);
            let missing = self.header.iter_mut().skip(self.have);
            let taken = missing.zip(bytes).map(|(place, byte)| *place = *byte).count();
            self.have += taken;
            bytes = bytes.part(taken..);
            if self.have < HEADER {
                return;
            }
            self.have = 0;
            let [high, middle, low, kind, _, stream @ ..] = self.header;
            self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
            let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
            match kind {
                HEADERS => each(SentFrame::Response { stream }),
                RST_STREAM => each(SentFrame::Reset { stream }),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_however_it_is_cut() {
        let frame = |kind: u8, stream: u8, payload: usize| {
            let mut frame = vec![0, 0, payload as u8, kind, 0, 0, 0, 0, stream];
            frame.resize(HEADER + payload, 0xff);
            frame
        };
        let all = [frame(0x4, 0, 6), frame(0x1, 3, 20), frame(0x0, 3, 9), frame(0x3, 5, 4), frame(0x1, 7, 0)];
        let expected = [
            SentFrame::Response { stream: 3 },
            SentFrame::Reset { stream: 5 },
            SentFrame::Response { stream: 7 },
        ];
        for piece in [1, 2, 8, 9, 10, 1000] {
            let (mut sent, mut seen) = (SentFrames::default(), Vec::new());
            all.concat().chunks(piece).for_each(|bytes| sent.pass(bytes, |one| seen.push(one)));
            assert_eq!(seen, expected, "{piece}");
        }
    }
}
