//! One request at a scripted endpoint, and everything that may be done to it.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::request::{Head, head_end};
use super::super::stream::Stream;
use super::super::wait::PATIENCE;
use super::{Inner, Seen};

/// How much of a request's body is kept to be looked at.
const KEPT: usize = 65_536;

pub struct Exchange<'a> {
    inner: &'a Inner,
    stream: &'a mut Stream,
    /// Received and not consumed.
    buffer: Vec<u8>,
    head: Head,
    /// The place of this request among all that the endpoint has seen.
    number: usize,
    body_read: bool,
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Continue,
    Close,
    Reset,
}

/// Serves a connection to its end.
pub(super) fn serve(inner: &Arc<Inner>, connection: usize, mut stream: Stream) {
    let _ = stream.set_read_timeout(Duration::from_secs(120));
    let mut buffer = Vec::new();
    let mut then = Then::Continue;
    let mut first = true;
    while then == Then::Continue {
        let Some(head) = read_head(&mut stream, &mut buffer) else {
            if first && buffer.is_empty() {
                inner.update(|state| state.silent += 1);
            }
            break;
        };
        first = false;
        let number = inner.update(|state| {
            state.requests.push(Seen {
                connection,
                at: Instant::now(),
                head: head.clone(),
                body: Vec::new(),
                body_length: 0,
                whole: false,
            });
            state.requests.len() - 1
        });
        let mut exchange = Exchange {
            inner,
            stream: &mut stream,
            buffer: std::mem::take(&mut buffer),
            head,
            number,
            body_read: false,
            then: Then::Continue,
        };
        (inner.handler)(&mut exchange);
        if exchange.then == Then::Continue {
            exchange.drain_body();
        }
        then = exchange.then;
        buffer = exchange.buffer;
    }
    // The copy kept for `Endpoint::stop` goes first: only the last copy's end closes the connection.
    let stop = inner.state.lock().unwrap().open.remove(&connection);
    drop(stop);
    match then {
        Then::Reset => stream.reset(),
        Then::Continue | Then::Close => drop(stream),
    }
    inner.changed.notify_all();
}

fn read_head(stream: &mut Stream, buffer: &mut Vec<u8>) -> Option<Head> {
    loop {
        if let Some(end) = head_end(buffer) {
            let bytes: Vec<u8> = buffer.drain(..end).collect();
            return Some(Head::parse(&bytes));
        }
        fill(stream, buffer)?;
    }
}

/// Receives some more; `None` at the connection's end.
fn fill(stream: &mut Stream, buffer: &mut Vec<u8>) -> Option<usize> {
    let mut piece = [0; 65_536];
    match stream.read(&mut piece) {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            buffer.extend_from_slice(&piece[..length]);
            Some(length)
        }
    }
}

impl Exchange<'_> {
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The head as it has come.
    pub fn raw_head(&self) -> &str {
        &self.head.raw
    }

    pub fn target(&self) -> &str {
        self.head.word(1)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.all(name).first().copied()
    }

    /// How many requests the endpoint had seen before this one.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads the request's body to its end, and answers 200 with this text and a length.
    pub fn answer(&mut self, text: &str) {
        self.answer_with("", text);
    }

    /// Like `answer`, with more header fields: whole lines, each with its CRLF.
    pub fn answer_with(&mut self, fields: &str, text: &str) {
        self.status("200 OK", fields, text);
    }

    pub fn status(&mut self, status: &str, fields: &str, text: &str) {
        self.drain_body();
        let length = text.len();
        let body = if self.method() == "HEAD" { "" } else { text };
        self.send(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{fields}\r\n{body}"));
    }

    /// Sends these bytes as they are; `false` when the connection has ended.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.stream.write_all(bytes.as_ref()).is_ok();
        if !sent {
            self.then = Then::Close;
        }
        sent
    }

    /// Sends this as one chunk.
    pub fn chunk(&mut self, text: &str) -> bool {
        self.send(format!("{:x}\r\n{text}\r\n", text.len()))
    }

    /// Closes the connection when the script has ended.
    pub fn close(&mut self) {
        self.then = Then::Close;
    }

    /// Says nothing more, and goes on listening.
    pub fn half_close(&mut self) {
        let _ = self.stream.half_close();
    }

    /// Resets the connection when the script has ended.
    pub fn reset(&mut self) {
        self.then = Then::Reset;
    }

    /// Says and hears nothing more until the proxy has ended the connection; how long that took.
    pub fn hang(&mut self) -> Duration {
        let start = Instant::now();
        let _ = self.stream.set_read_timeout(PATIENCE * 3);
        let mut piece = [0; 4096];
        while let Ok(length) = self.stream.read(&mut piece) {
            if length == 0 {
                break;
            }
        }
        self.then = Then::Close;
        start.elapsed()
    }

    /// Reads the request's body to its end; its length, however long, and the first part of it are kept.
    pub fn drain_body(&mut self) -> usize {
        if self.body_read {
            return 0;
        }
        self.body_read = true;
        let (length, whole) = match self.head.content_length() {
            _ if self.head.is_chunked() => self.drain_chunks(),
            Some(length) => {
                let read = self.take(length);
                (read, read == length)
            }
            None => (0, true),
        };
        if !whole {
            self.then = Then::Close;
        }
        let number = self.number;
        self.inner.update(|state| {
            let seen = &mut state.requests[number];
            seen.whole = whole;
        });
        length
    }

    /// More bytes of the connection as they are, for tunnels; empty at its end.
    pub fn receive(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            fill(self.stream, &mut self.buffer);
        }
        std::mem::take(&mut self.buffer)
    }

    fn drain_chunks(&mut self) -> (usize, bool) {
        let mut total = 0;
        loop {
            let Some(line) = self.line() else { return (total, false) };
            let digits = line.split(';').next().unwrap_or_default().trim();
            let Ok(length) = usize::from_str_radix(digits, 16) else { return (total, false) };
            if length == 0 {
                // The trailer section: nothing, or fields, and an empty line.
                while let Some(line) = self.line() {
                    if line.is_empty() {
                        return (total, true);
                    }
                }
                return (total, false);
            }
            let read = self.take(length);
            total += read;
            if read < length || self.line().is_none() {
                return (total, false);
            }
        }
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            fill(self.stream, &mut self.buffer)?;
        }
    }

    /// Consumes this many bytes of body, or as many as come.
    fn take(&mut self, length: usize) -> usize {
        let mut taken = 0;
        while taken < length {
            if self.buffer.is_empty() && fill(self.stream, &mut self.buffer).is_none() {
                break;
            }
            let now = self.buffer.len().min(length - taken);
            self.keep(now);
            taken += now;
        }
        taken
    }

    fn keep(&mut self, length: usize) {
        let number = self.number;
        let buffer = &mut self.buffer;
        self.inner.update(|state| {
            let seen = &mut state.requests[number];
            let room = KEPT.saturating_sub(seen.body.len()).min(length);
            seen.body.extend_from_slice(&buffer[..room]);
            seen.body_length += length;
        });
        buffer.drain(..length);
    }

    /// Whether the other side is still there: reads until `limit`, and says if it ended the connection before.
    pub fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut piece = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(left).is_err() {
                return false;
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }
}
