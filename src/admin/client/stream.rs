//! A response that goes on for as long as its reader likes, in chunks, such as that of a tap.

use std::io::{self, Read};
use std::time::Instant;

use socket2::Socket;

use super::{
    Address, ClientError, END, Response, VERSION, name_timeout, parse, read_piece, receive_all, status_of,
};

/// No head and no line before a chunk is longer.
const LINE_MAX: usize = 64 << 10;

/// Takes the pieces of a response; `false`: no more are wanted.
#[derive(Clone, Copy)]
pub struct Sink<'a>(pub &'a (dyn Fn(&[u8]) -> bool + Sync));

/// What is received, from where it has not been used.
struct Input<'a> {
    socket: &'a Socket,
    bytes: Vec<u8>,
    used: usize,
}

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Sink")
    }
}

/// Gives the body of a 200 to the sink, until one of both ends, and returns the rest of the response. Any other response
/// is returned whole.
pub(super) fn receive(
    address: &Address,
    socket: &Socket,
    deadline: Instant,
    sink: Sink<'_>,
) -> Result<Response, ClientError> {
    let broken = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => ClientError::Cut(address.clone()),
        io::ErrorKind::InvalidData => ClientError::NotHttp(address.clone()),
        _ => {
            let source = name_timeout(source, || "no answer in time".to_owned());
            ClientError::Broken { address: address.clone(), source }
        }
    };
    let mut input = Input { socket, bytes: Vec::new(), used: 0 };
    let head = input.until(END, Some(deadline)).map_err(broken)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.strip_prefix(&*String::from_utf8_lossy(VERSION)).and_then(status_of);
    if status != Some(200) || !is_chunked(&head) {
        let mut received = std::mem::take(&mut input.bytes);
        receive_all(socket, &mut received, deadline).map_err(broken)?;
        return parse(address, &received);
    }
    // As long as it takes until something happens.
    socket.set_read_timeout(None).map_err(broken)?;
    loop {
        let size = input.until(b"\r\n", None).map_err(broken)?;
        let size = str::from_utf8(&size).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| ClientError::NotHttp(address.clone()))?;
        if !input.chunk(size, sink).map_err(broken)? || size == 0 {
            return Ok(Response { status: 200, body: String::new() });
        }
    }
}

fn is_chunked(head: &str) -> bool {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked")
    })
}

impl Input<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Waits for more.
    fn read(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
        match deadline {
            Some(deadline) => read_piece(self.socket, &mut self.bytes, deadline)?,
            None => {
                let mut piece = [0; 16 << 10];
                let count = (&mut &*self.socket).read(&mut piece)?;
                self.bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
                count
            }
        }
        .checked_sub(1)
        .map(|_| ())
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// What comes before `end`, both of which are used then.
    fn until(&mut self, end: &[u8], deadline: Option<Instant>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.rest().windows(end.len()).position(|bytes| bytes == end) {
                let before = self.rest().get(..at).unwrap_or_default().to_vec();
                self.used += at + end.len();
                return Ok(before);
            }
            if self.rest().len() > LINE_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.read(deadline)?;
        }
    }

    /// Gives a chunk to the sink, piece by piece; `false`: it wants no more.
    fn chunk(&mut self, size: usize, sink: Sink<'_>) -> io::Result<bool> {
        let mut left = size;
        while left > 0 {
            if self.rest().is_empty() {
                self.read(None)?;
            }
            let taken = left.min(self.rest().len());
            if !(sink.0)(self.rest().get(..taken).unwrap_or_default()) {
                return Ok(false);
            }
            self.used += taken;
            left -= taken;
        }
        self.until(b"\r\n", None)?;
        Ok(true)
    }
}
