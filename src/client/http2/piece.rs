//! A piece of a response, as h2 has it until the client's socket has it.

use bytes::{Buf, Bytes};

use crate::worker::http2_permits::PiecePermit;

pub struct Piece {
    bytes: Bytes,
    /// The response counts as long as some of it is here. `None`: it is made here, and small.
    _permit: Option<PiecePermit>,
}

impl Piece {
    pub fn new(bytes: Bytes, permit: Option<PiecePermit>) -> Self {
        Self { bytes, _permit: permit }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, None)
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
