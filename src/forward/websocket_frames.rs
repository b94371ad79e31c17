//! Finds the ends of WebSocket frames (RFC 6455, section 5.2), so that a close frame can follow a whole one.

use crate::part::Part;

/// A server's close frame with status 1001, "going away" (section 7.4.1), and no reason.
pub const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// A client's, which must be masked (section 5.3); its mask is zero.
pub const GOING_AWAY_MASKED: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

const CLOSE: u8 = 0x8;

/// One direction of a WebSocket.
#[derive(Debug, Default)]
pub struct Frames {
    /// The current frame's header, as far as it has passed.
    header: Vec<u8>,
    /// Bytes of the current payload that have not passed yet.
    left: u64,
    /// A close frame has passed.
    closed: bool,
}

impl Frames {
    /// Passes on the next bytes.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= part as u64;
                bytes = bytes.part(part..);
                continue;
            }
            if let Some((first, rest)) = bytes.split_first() {
                self.header.push(*first);
                bytes = rest;
            }
            if let Some(payload) = payload(&self.header) {
                self.closed |= self.header.first().is_some_and(|first| first & 0x0f == CLOSE);
                self.left = payload;
                self.header.clear();
            }
        }
    }

    /// Whether a close frame has passed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether another frame may follow here.
    pub fn may_follow(&self) -> bool {
        self.header.is_empty() && self.left == 0 && !self.closed
    }
}

/// The length of a frame's payload, once its header is complete.
fn payload(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if header.len() < 2 + extended + mask {
        return None;
    }
    let length = header.get(2..2 + extended)?;
    Some(match extended {
        0 => u64::from(second & 0x7f),
        _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(mask | length as u8),
            length @ 126..65_536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(if masked { &[1, 2, 3, 4][..] } else { &[] });
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_frame_may_follow_where_one_has_ended() {
        for masked in [false, true] {
            let frames: Vec<_> = [0, 1, 125, 126, 127, 65_535, 65_536]
                .map(|length| frame(0x82, masked, &vec![0x88; length]))
                .into();
            for pieces in [1, 7, 1000, 1 << 20] {
                let mut passed = Frames::default();
                let mut ends: Vec<usize> = Vec::new();
                frames.iter().for_each(|frame| ends.push(ends.last().unwrap_or(&0) + frame.len()));
                let mut at = 0;
                for piece in frames.concat().chunks(pieces) {
                    passed.pass(piece);
                    at += piece.len();
                    assert_eq!(passed.may_follow(), ends.contains(&at), "{at} of {ends:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        for close in [&GOING_AWAY[..], &GOING_AWAY_MASKED] {
            let mut passed = Frames::default();
            passed.pass(&frame(0x81, false, b"text"));
            assert!(passed.may_follow());
            passed.pass(close);
            assert!(!passed.may_follow());
        }
        assert_eq!(u16::from_be_bytes([GOING_AWAY[2], GOING_AWAY[3]]), 1001);
    }
}
