//! A small HTTP/1.1 codec for the clients, the endpoints and the operator. It shares no code with the proxy's, so that
//! it can judge it.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The limit for a head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The limit for a chunk's size line.
const LINE_BYTES_MAX: usize = 256;
/// The room for one read.
const PIECE: usize = 16 * 1024;

/// A connection with its read buffer.
#[derive(Debug)]
pub(super) struct Wire<S = TcpStream> {
    stream: S,
    input: BytesMut,
}

/// The first line of a message, and its fields.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) line: String,
    fields: Vec<(String, String)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Small messages must be sent at once.
        let _ = stream.set_nodelay(true);
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn over(stream: S) -> Self {
        Self { stream, input: BytesMut::new() }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// One chunk; an empty one ends the body.
    pub(super) async fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk).await
    }

    /// Reads more bytes; 0: the other side has closed. Cancel-safe.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.input.reserve(PIECE);
        self.stream.read_buf(&mut self.input).await
    }

    /// Bytes that have been read and not consumed.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(super) fn used(&mut self, count: usize) {
        self.input.advance(count.min(self.input.len()));
    }

    /// The next head; `None` if the other side closed before it sent anything of it.
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.input, b"\r\n\r\n") {
                let head = self.input.split_to(end + 4);
                return Head::parse(&head).map(Some);
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(wrong("a head without an end"));
            }
            if self.fill().await? == 0 {
                return match self.input.is_empty() {
                    true => Ok(None),
                    false => Err(wrong("the connection was closed within a head")),
                };
            }
        }
    }

    /// Reads a whole body and passes it to `take` in pieces; returns its length.
    pub(super) async fn body(&mut self, length: Length, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
        match length {
            Length::Known(length) => self.exactly(length, &mut take).await,
            Length::Chunked => {
                let mut all = 0;
                loop {
                    let line = self.line().await?;
                    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let size =
                        std::str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
                    match size {
                        None => return Err(wrong("a chunk without a size")),
                        Some(0) => return self.trailers().await.map(|()| all),
                        Some(size) => all += self.exactly(size, &mut take).await?,
                    }
                    if !self.line().await?.is_empty() {
                        return Err(wrong("a chunk that is longer than its size"));
                    }
                }
            }
        }
    }

    async fn exactly(&mut self, length: u64, take: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let mut left = length;
        while left > 0 {
            if self.input.is_empty() && self.fill().await? == 0 {
                return Err(wrong(format!("the body was cut after {} of {length} bytes", length - left)));
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
            take(&self.input.split_to(count));
            left -= count as u64;
        }
        Ok(length)
    }

    async fn trailers(&mut self) -> io::Result<()> {
        while !self.line().await?.is_empty() {}
        Ok(())
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.input, b"\r\n") {
                let line = self.input.split_to(end).freeze();
                self.used(2);
                return Ok(line);
            }
            if self.input.len() > LINE_BYTES_MAX {
                return Err(wrong("a line without an end"));
            }
            if self.fill().await? == 0 {
                return Err(wrong("the body was cut between two chunks"));
            }
        }
    }
}

// === impl Head ===

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("a head that is no text"))?;
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let fields: Option<Vec<_>> = lines.map(field).collect();
        fields.map(|fields| Self { line, fields }).ok_or_else(|| wrong("a field without a colon"))
    }

    /// The value of a field. `name` is in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether the head announces that the connection is closed after this message.
    pub(super) fn announces_close(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        self.line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    pub(super) fn length(&self) -> Option<Length> {
        match self.field("transfer-encoding") {
            Some(coding) => coding.eq_ignore_ascii_case("chunked").then_some(Length::Chunked),
            None => self.field("content-length")?.parse().ok().map(Length::Known),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

pub(super) fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
