//! The parts of WebSocket (RFC 6455) that an echo needs: messages of one frame, and `Sec-WebSocket-Accept`.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine};

/// Appended to the client's key (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longer than any payload sent here.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// The close code of a server that goes away (section 7.4.1).
pub(super) const GOING_AWAY: u16 = 1001;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Text(Vec<u8>),
    /// A close frame with its code, if it has one.
    Close(Option<u16>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Frame {
    /// Encodes the frame. Frames of clients have a mask.
    pub(super) fn bytes(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let (opcode, payload) = match self {
            Self::Text(text) => (1, text.clone()),
            Self::Close(code) => (8, code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default()),
            Self::Ping(payload) => (9, payload.clone()),
            Self::Pong(payload) => (10, payload.clone()),
        };
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..=125), _) => bytes.push(masked | length),
            (_, Ok(length)) => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        bytes.extend(apply(mask, &payload));
        bytes
    }

    /// Parses the frame at the beginning of `bytes`; returns it and its length, or `None` if it is incomplete.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let Some(([first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => return Err("a frame that is longer than anything sent here"),
            length => (usize::from(length), rest),
        };
        if length > PAYLOAD_BYTES_MAX {
            return Err("a frame that is longer than anything sent here");
        }
        let (mask, rest) = match (second & 0x80 != 0, rest.split_first_chunk()) {
            (false, _) => (None, rest),
            (true, Some((mask, rest))) => (Some(*mask), rest),
            (true, None) => return Ok(None),
        };
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let used = bytes.len() - rest.len() + length;
        Ok(Some((Self::of(*first, apply(mask, payload))?, used)))
    }

    fn of(first: u8, payload: Vec<u8>) -> Result<Self, &'static str> {
        match first {
            0x81 => Ok(Self::Text(payload)),
            0x88 => Ok(Self::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))),
            0x89 => Ok(Self::Ping(payload)),
            0x8a => Ok(Self::Pong(payload)),
            _ => Err("a frame of a kind that is not sent here"),
        }
    }
}

/// The `Sec-WebSocket-Accept` for a client's key (section 4.2.2).
pub(super) fn accept_key(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(hash)
}

fn apply(mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mask = mask.unwrap_or_default();
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6455, section 5.7.
    #[test]
    fn the_examples_of_the_standard() {
        let hello = Frame::Text(b"Hello".to_vec());
        let plain = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(hello.bytes(None), plain);
        assert_eq!(Frame::parse(&plain), Ok(Some((hello.clone(), 7))));
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(hello.bytes(Some([0x37, 0xfa, 0x21, 0x3d])), masked);
        assert_eq!(Frame::parse(&masked), Ok(Some((hello, 11))));
    }

    /// RFC 6455, section 1.3.
    #[test]
    fn the_handshake_of_the_standard() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_length_and_every_cut() {
        for length in [0, 1, 125, 126, 1000, 65_535] {
            let frame = Frame::Text(vec![b'x'; length]);
            for mask in [None, Some([1, 2, 3, 4])] {
                let bytes = frame.bytes(mask);
                assert_eq!(Frame::parse(&bytes), Ok(Some((frame.clone(), bytes.len()))));
                for cut in [0, 1, 2, 3, 5, bytes.len() - 1] {
                    assert_eq!(Frame::parse(&bytes[..cut.min(bytes.len() - 1)]), Ok(None), "{length} {cut}");
                }
            }
        }
    }

    #[test]
    fn a_close_has_a_code_or_none() {
        let close = Frame::Close(Some(GOING_AWAY));
        assert_eq!(close.bytes(None), [0x88, 2, 0x03, 0xe9]);
        assert_eq!(Frame::parse(&[0x88, 2, 0x03, 0xe9]), Ok(Some((close, 4))));
        assert_eq!(Frame::parse(&[0x88, 0]), Ok(Some((Frame::Close(None), 2))));
    }

    #[test]
    fn what_is_not_sent_here_is_refused() {
        assert!(Frame::parse(&[0x01, 0]).is_err(), "a fragment");
        assert!(Frame::parse(&[0xc1, 0]).is_err(), "an extension");
        assert!(Frame::parse(&[0x81, 127]).is_err(), "a giant");
    }
}
