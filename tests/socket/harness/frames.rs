//! HTTP/2 as bytes: frames made by hand, and a client that sends them and tells what comes back (RFC 9113, section 4.1).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::wait::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 32;

/// Of a header block that is whole, without a body behind it.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// One setting of a SETTINGS frame.
pub fn setting(id: u8, value: u32) -> Vec<u8> {
    [&[0, id][..], &value.to_be_bytes()].concat()
}

/// A field as a literal that is not indexed, with nothing compressed (RFC 7541, section 6.2.2).
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], string(name.as_ref()), string(value.as_ref())].concat()
}

/// The same, put into the dynamic table: from then on it is number 62, until the next one is put there.
pub fn indexed_field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x40], string(name.as_ref()), string(value.as_ref())].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = Vec::new();
    // An integer with a prefix of seven bits (RFC 7541, section 5.1).
    if bytes.len() < 127 {
        string.push(bytes.len() as u8);
    } else {
        string.push(127);
        let mut rest = bytes.len() - 127;
        while rest >= 128 {
            string.push(rest as u8 | 128);
            rest /= 128;
        }
        string.push(rest as u8);
    }
    string.extend_from_slice(bytes);
    string
}

#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status of a response's head, if it is the first field, as servers have it, and the connection's first of its
    /// kind.
    pub fn status(&self) -> Option<u16> {
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match self.payload.as_slice() {
            _ if self.kind != HEADERS => None,
            [known @ 0x88..=0x8e, ..] => Some(KNOWN[usize::from(known - 0x88)]),
            [0x48 | 0x08, length, digits @ ..] if length & 0x80 != 0 => compressed_digits(digits),
            [0x48 | 0x08, 3, a, b, c, ..] => std::str::from_utf8(&[*a, *b, *c]).ok()?.parse().ok(),
            other => panic!("a head that begins with something else: {other:x?}"),
        }
    }

    /// What a RST_STREAM or GOAWAY frame says.
    pub fn error(&self) -> Option<u32> {
        let code = match self.kind {
            RST_STREAM => self.payload.get(..4)?,
            GOAWAY => self.payload.get(4..8)?,
            _ => return None,
        };
        Some(u32::from_be_bytes(code.try_into().unwrap()))
    }
}

/// Three digits (RFC 7541, appendix B).
fn compressed_digits(bytes: &[u8]) -> Option<u16> {
    let bit = |at: usize| u16::from(bytes.get(at / 8).copied().unwrap_or(0xff) >> (7 - at % 8) & 1);
    let bits = |from: usize, count: usize| (from..from + count).fold(0, |all, at| all << 1 | bit(at));
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let (digit, length) = match bits(at, 5) {
            digit @ 0..=2 => (digit, 5),
            _ => (bits(at, 6).checked_sub(0b01_1001)? + 3, 6),
        };
        number = number * 10 + digit;
        at += length;
    }
    Some(number)
}

/// A client that sends what it is told.
pub struct FrameClient {
    stream: TcpStream,
    /// Received and not looked at.
    bytes: Vec<u8>,
}

impl FrameClient {
    /// Has sent the preface and empty SETTINGS.
    #[track_caller]
    pub fn connect(address: &str) -> Self {
        let mut client = Self::silent(address);
        client.send([PREFACE, &frame(SETTINGS, 0, 0, [])].concat());
        client
    }

    /// Has sent nothing.
    #[track_caller]
    pub fn silent(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, bytes: Vec::new() }
    }

    /// The other side: a connection on which a client has begun, and been sent these SETTINGS.
    #[track_caller]
    pub fn accepted(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).unwrap();
        let mut accepted = Self { stream, bytes: Vec::new() };
        accepted.send([frame(SETTINGS, 0, 0, settings), frame(SETTINGS, ACK, 0, [])].concat());
        accepted
    }

    /// The next frame of this kind.
    #[track_caller]
    pub fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }

    /// Sends these bytes as they are; `false`: the other side has ended the connection.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The next frame; `None`: the connection is over.
    #[track_caller]
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => self.bytes.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("neither a frame nor an end: {error}"),
            }
        }
    }

    /// All frames until the other side ends the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn take(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.bytes.get(..9)?.try_into().unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.bytes.get(9..9 + length)?.to_vec();
        self.bytes.drain(..9 + length);
        Some(Frame { kind: head[3], stream, payload })
    }
}
