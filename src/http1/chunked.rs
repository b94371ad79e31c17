//! The chunked coding (RFC 9112, section 7.1), parsed strictly by the grammar, and written in one normal form.
//!
//! A size has 1 to 16 digits, extensions follow the grammar and take at most 8 KiB in each chunk, lines end with CRLF,
//! and trailers are parsed like a head's fields. Extensions are not forwarded.

mod line;
mod trailers;

#[cfg(test)]
mod tests;

use super::body::Step;
use crate::part::Part;
use line::SizeLine;
use trailers::Trailers;
pub use trailers::may_follow;

/// The most bytes of extensions in one chunk.
pub const EXTENSION_MAX: usize = 8 * 1024;
/// The most bytes of trailers of one body.
pub const TRAILERS_MAX: usize = 64 * 1024;
/// The most trailer fields of one body.
pub const TRAILER_FIELDS_MAX: usize = 100;

/// Why a chunked body is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("bad byte in a chunk's size")]
    Size,
    #[error("a chunk's size is too large")]
    SizeTooLarge,
    #[error("bad byte in a chunk's extension")]
    Extension,
    #[error("a chunk's extensions are too long")]
    ExtensionTooLong,
    #[error("a chunk's line does not end with CRLF")]
    LineEnd,
    #[error("a chunk's data does not end with CRLF")]
    DataEnd,
    #[error("bad trailers: {0}")]
    Trailers(&'static str),
}

/// What is read beside the grammar.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Leniency {
    #[default]
    None,
    /// Blanks at the end of a chunk's line, which some servers send: they can be read in one way only.
    Blanks,
}

/// Reads one chunked body.
#[derive(Debug, Default)]
pub struct Decoder {
    leniency: Leniency,
    state: State,
    trailers: Trailers,
}

#[derive(Debug)]
enum State {
    Size(SizeLine),
    Data {
        left: u64,
    },
    /// The CRLF after the data; `returned`: the CR has been read.
    DataEnd {
        returned: bool,
    },
    Trailers,
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size(SizeLine::default())
    }
}

impl Decoder {
    pub fn new(leniency: Leniency) -> Self {
        Self { leniency, ..Self::default() }
    }

    /// Decodes framing and at most one range of data. To be called again while there is input left and the body is not
    /// done.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        let mut at = 0;
        loop {
            let rest = input.part(at..);
            if rest.is_empty() || matches!(self.state, State::Done) {
                return Ok(Step { consumed: at, data: at..at, done: self.is_done() });
            }
            match &mut self.state {
                State::Size(line) => {
                    let (taken, size) = line.read(rest, self.leniency)?;
                    at += taken;
                    match size {
                        None => {}
                        Some(0) => self.state = State::Trailers,
                        Some(left) => self.state = State::Data { left },
                    }
                }
                State::Data { left } => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::DataEnd { returned: false };
                    }
                    return Ok(Step { consumed: at + taken, data: at..at + taken, done: false });
                }
                State::DataEnd { returned } => {
                    match (rest.first(), *returned) {
                        (Some(b'\r'), false) => *returned = true,
                        (Some(b'\n'), true) => self.state = State::default(),
                        _ => return Err(ChunkError::DataEnd),
                    }
                    at += 1;
                }
                State::Trailers => {
                    let (taken, complete) = self.trailers.read(rest).map_err(ChunkError::Trailers)?;
                    at += taken;
                    if complete {
                        self.state = State::Done;
                    }
                }
                State::Done => {}
            }
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The trailers that may be forwarded, once the body is done.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.trailers.allowed()
    }
}

/// Checks the beginning of a body that has arrived with its head.
pub fn check(beginning: &[u8]) -> Result<(), ChunkError> {
    let mut decoder = Decoder::default();
    let mut rest = beginning;
    while !rest.is_empty() && !decoder.is_done() {
        let step = decoder.decode(rest)?;
        rest = rest.part(step.consumed..);
    }
    Ok(())
}

/// The line before a chunk's data: its size and CRLF.
#[derive(Debug, Clone, Copy)]
pub struct ChunkHead {
    bytes: [u8; 18],
    begin: usize,
}

impl ChunkHead {
    /// `length` must not be 0, which would be the last chunk.
    pub fn new(length: usize) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = *b"0000000000000000\r\n";
        let (mut begin, mut rest) = (16, length);
        for (at, byte) in bytes.iter_mut().enumerate().take(16).rev() {
            *byte = DIGITS.get(rest & 15).copied().unwrap_or(b'0');
            (begin, rest) = (at, rest >> 4);
            if rest == 0 {
                break;
            }
        }
        Self { bytes, begin }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.part(self.begin..)
    }
}

/// The end of a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes a whole chunk; `data` must not be empty.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    for part in [ChunkHead::new(data.len()).as_bytes(), data, CHUNK_END] {
        out.extend_from_slice(part);
    }
}

/// Writes the end of a body with these trailers.
pub fn write_last<'a>(out: &mut Vec<u8>, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}
