//! A client that sends exactly the bytes it is given and says exactly what came back.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::request::{Head, head_end};
use super::response::{End, Response};
use super::stream::Stream;
use super::wait::PATIENCE;

pub struct Client {
    stream: Stream,
    /// Received and not asked for yet.
    buffer: Vec<u8>,
    /// What one step may take.
    patience: Duration,
}

/// What reading more bytes came to.
enum More {
    Some,
    Closed,
    Reset,
}

impl Client {
    #[track_caller]
    pub fn connect(address: &str) -> Client {
        let stream =
            Stream::connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        Client::over(stream)
    }

    pub fn over(stream: Stream) -> Client {
        stream.set_write_timeout(PATIENCE).unwrap();
        Client { stream, buffer: Vec::new(), patience: PATIENCE }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).expect("sending to the proxy");
        self
    }

    /// Like `send`, where the proxy may have closed already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// A GET on this connection, and its response.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, "")
    }

    /// A request without body on this connection, and its response. `fields` are whole lines, each with its CRLF.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n"));
        self.response_to(method)
    }

    /// A request with a body of known length on this connection, and its response.
    #[track_caller]
    pub fn upload(&mut self, method: &str, target: &str, body: &[u8]) -> Response {
        let length = body.len();
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: test.example\r\nContent-Length: {length}\r\n\r\n"
        ));
        self.send(body);
        self.response_to(method)
    }

    pub fn half_close(&mut self) {
        if let Err(error) = self.stream.half_close() {
            // What the proxy has reset has no half to close.
            assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        }
    }

    /// Waits longer for what is known to take long.
    pub fn patient_for(self, patience: Duration) -> Self {
        Client { patience, ..self }
    }

    /// Goes away with a reset.
    pub fn reset(self) {
        self.stream.reset();
    }

    /// The next response, to a request that may have a body in its response.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        self.try_response_to(method).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// An error where the connection ended, or time was up, before a whole head.
    pub fn try_response_to(&mut self, method: &str) -> io::Result<Response> {
        let deadline = Instant::now() + self.patience;
        let mut interim = Vec::new();
        let (status, head) = loop {
            let head = self.head(deadline)?;
            let status: u16 = head
                .word(1)
                .parse()
                .map_err(|_| io::Error::other(format!("not a response: {}", head.raw)))?;
            if (200..1000).contains(&status) || status == 101 {
                break (status, head);
            }
            interim.push(status);
        };
        let (body, end) = if method == "HEAD" || status == 101 || status == 204 || status == 304 {
            (Vec::new(), End::Whole)
        } else {
            self.body(&head, deadline)?
        };
        Ok(Response { status, head, body, end, interim })
    }

    /// The next head: of an interim or a final response; the body is left to be read.
    pub fn head_only(&mut self) -> Head {
        self.head(Instant::now() + self.patience).expect("a response's head")
    }

    /// How many bytes came, which are forgotten; 0 at the end of the connection.
    pub fn some(&mut self) -> usize {
        match self.more(Instant::now() + self.patience).expect("more bytes, or the end") {
            More::Some => std::mem::take(&mut self.buffer).len(),
            More::Closed | More::Reset => 0,
        }
    }

    /// Exactly `length` bytes.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while self.buffer.len() < length {
            match self.more(deadline).expect("more bytes") {
                More::Some => {}
                More::Closed | More::Reset => panic!("closed after {} of {length} bytes", self.buffer.len()),
            }
        }
        self.buffer.drain(..length).collect()
    }

    /// All bytes up to and with `mark`.
    #[track_caller]
    pub fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return self.buffer.drain(..at + mark.len()).collect();
            }
            match self.more(deadline).expect("more bytes") {
                More::Some => {}
                More::Closed | More::Reset => panic!("closed before {}", String::from_utf8_lossy(mark)),
            }
        }
    }

    /// Whether exactly these bytes come; `false` if the connection ends first.
    #[track_caller]
    pub fn receives(&mut self, expected: &[u8]) -> bool {
        let deadline = Instant::now() + self.patience;
        while self.buffer.len() < expected.len() {
            match self.more(deadline).expect("more bytes, or the end") {
                More::Some => {}
                More::Closed | More::Reset => return false,
            }
        }
        let received: Vec<u8> = self.buffer.drain(..expected.len()).collect();
        assert!(received == expected, "other bytes: {}", String::from_utf8_lossy(&received));
        true
    }

    /// A response's chunks, until there is enough of them.
    #[track_caller]
    pub fn chunks_until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        let deadline = Instant::now() + self.patience;
        self.head(deadline).expect("a head");
        let mut body = Vec::new();
        while !enough(&body) {
            match next_chunk(&self.buffer).expect("a chunk") {
                Some((length, taken)) => {
                    let content = taken - length - 2;
                    body.extend_from_slice(&self.buffer[content..content + length]);
                    self.buffer.drain(..taken);
                }
                None => assert!(matches!(self.more(deadline), Ok(More::Some)), "the response is over"),
            }
        }
    }

    /// Everything up to the end of the connection, however it ends.
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while let More::Some = self.more(deadline).expect("the connection to end") {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the connection ends with a reset, and with nothing before.
    pub fn is_reset(&mut self) -> bool {
        let deadline = Instant::now() + self.patience;
        matches!(self.more(deadline), Ok(More::Reset))
    }

    /// How long it took until the proxy closed this connection; fails if it sends anything more or keeps it open.
    #[track_caller]
    pub fn closed_within(&mut self, limit: Duration) -> Duration {
        let start = Instant::now();
        match self.more(start + limit) {
            Ok(More::Closed | More::Reset) => start.elapsed(),
            Ok(More::Some) => panic!("unexpected bytes: {}", String::from_utf8_lossy(&self.buffer)),
            Err(error) => panic!("still open after {limit:?}: {error}"),
        }
    }

    /// Whether the connection is open now and nothing waits on it.
    pub fn is_open(&mut self) -> bool {
        let soon = Instant::now() + Duration::from_millis(20);
        matches!(self.more(soon), Err(error) if is_timeout(&error))
    }

    fn head(&mut self, deadline: Instant) -> io::Result<Head> {
        loop {
            if let Some(end) = head_end(&self.buffer) {
                let bytes: Vec<u8> = self.buffer.drain(..end).collect();
                return Ok(Head::parse(&bytes));
            }
            match self.more(deadline)? {
                More::Some => {}
                More::Closed => return Err(ErrorKind::UnexpectedEof.into()),
                More::Reset => return Err(ErrorKind::ConnectionReset.into()),
            }
        }
    }

    fn body(&mut self, head: &Head, deadline: Instant) -> io::Result<(Vec<u8>, End)> {
        if head.is_chunked() {
            return self.chunks(deadline);
        }
        let length = head.content_length();
        loop {
            if let Some(length) = length
                && self.buffer.len() >= length
            {
                return Ok((self.buffer.drain(..length).collect(), End::Whole));
            }
            let end = match self.more(deadline)? {
                More::Some => continue,
                More::Closed if length.is_none() => End::Whole,
                More::Closed => End::Closed,
                More::Reset => End::Reset,
            };
            return Ok((std::mem::take(&mut self.buffer), end));
        }
    }

    fn chunks(&mut self, deadline: Instant) -> io::Result<(Vec<u8>, End)> {
        let mut body = Vec::new();
        // Consumed bytes of the buffer; removed once at the end of each refill, or many small chunks cost a copy each.
        let mut at = 0;
        loop {
            match next_chunk(&self.buffer[at..])? {
                Some((0, taken)) => {
                    self.buffer.drain(..at + taken);
                    return Ok((body, End::Whole));
                }
                Some((length, taken)) => {
                    let content = at + taken - length - 2;
                    body.extend_from_slice(&self.buffer[content..content + length]);
                    at += taken;
                }
                None => {
                    self.buffer.drain(..at);
                    at = 0;
                    match self.more(deadline)? {
                        More::Some => {}
                        More::Closed => return Ok((body, End::Closed)),
                        More::Reset => return Ok((body, End::Reset)),
                    }
                }
            }
        }
    }

    fn more(&mut self, deadline: Instant) -> io::Result<More> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(left)?;
        let mut piece = [0; 65_536];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(More::Closed),
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(More::Some)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(More::Reset),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(More::Some),
            Err(error) => Err(error),
        }
    }
}

/// The length of the chunk at the start of `bytes`, and of all that belongs to it; for the last chunk, which has no
/// content, its trailer too. `None`: not whole yet.
fn next_chunk(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..line]);
    let digits = text.split(';').next().unwrap_or_default().trim();
    let length = usize::from_str_radix(digits, 16)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("not a chunk: {text}")))?;
    if length > 0 {
        let whole = line + 2 + length + 2;
        return Ok((bytes.len() >= whole).then_some((length, whole)));
    }
    if bytes[line..].starts_with(b"\r\n\r\n") {
        return Ok(Some((0, line + 4)));
    }
    Ok(head_end(&bytes[line..]).map(|end| (0, line + end)))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
