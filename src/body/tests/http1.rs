//! Bodies over HTTP/1.1, on connected sockets.

use std::os::unix::net::UnixStream as StdStream;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::message::Framing;
use crate::net::buffer::{BODY, Buffer};
use crate::net::stream::Stream;

/// A stream, and its other side.
fn pair() -> (Stream, UnixStream) {
    let (ours, theirs) = StdStream::pair().expect("a pair of sockets");
    for side in [&ours, &theirs] {
        side.set_nonblocking(true).expect("a socket");
    }
    let stream = Stream::accepted(ours.into(), true).expect("a stream");
    (stream, UnixStream::from_std(theirs).expect("a stream"))
}

/// A reader with its connection, as a client has it.
struct Incoming {
    reader: Http1Reader,
    buffer: Buffer,
    stream: Stream,
}

impl Incoming {
    fn new(framing: Framing, stream: Stream) -> Self {
        let mut buffer = Buffer::default();
        buffer.leave_gap(16);
        Self { reader: Http1Reader::new(framing), buffer, stream }
    }
}

impl BodySource for Incoming {
    fn data(&self) -> &[u8] {
        self.reader.data(&self.buffer)
    }

    fn consume(&mut self, count: usize) -> usize {
        self.reader.consume(count, &mut self.buffer)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.reader.take(count, &mut self.buffer)
    }

    fn put_before(&mut self, own: &[u8]) -> bool {
        self.reader.put_before(own, &mut self.buffer)
    }

    fn is_last(&self) -> bool {
        self.reader.is_last(&self.buffer)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        self.reader.poll_fill(context, room, &mut self.buffer, &mut self.stream)
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.reader.trailers()
    }
}

/// A writer with its connection.
struct Outgoing {
    writer: Http1Writer,
    stream: Stream,
}

impl BodySink for Outgoing {
    fn has_pending(&self) -> bool {
        self.writer.has_pending()
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        self.writer.poll_send(context, &mut self.stream, source)
    }

    fn is_done(&self) -> bool {
        self.writer.is_done()
    }
}

/// Reads a body to its end, and returns it with its trailers.
async fn read(incoming: &mut Incoming) -> Result<(String, String), ReadError> {
    let mut body = Vec::new();
    loop {
        while !incoming.data().is_empty() {
            body.extend_from_slice(incoming.data());
            incoming.consume(incoming.data().len());
        }
        if incoming.has_ended() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let trailers: Vec<_> =
                incoming.trailers().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
            return Ok((text(&body), trailers.join(" ")));
        }
        poll_fn(|context| incoming.poll_fill(context, 64)).await?;
    }
}

const CHUNKED: &str = "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Sum: 7\r\nContent-Length: 5\r\n\r\n";

/// Each framing, a body in it, and its trailers that may go on.
const FRAMED: [(Framing, &str, &str); 2] =
    [(Framing::Length(5), "hello", ""), (Framing::Chunked, CHUNKED, "X-Sum=7")];

/// The body is the same wherever its bytes are torn apart, and what follows it is left alone.
#[tokio::test]
async fn a_reader_takes_its_body_and_no_more() {
    for (framing, wire, trailers) in FRAMED {
        let all = format!("{wire}GET");
        for torn in 0..=all.len() {
            let (stream, mut other) = pair();
            let mut incoming = Incoming::new(framing, stream);
            let (first, second) = all.as_bytes().split_at(torn);
            other.write_all(first).await.expect("room");
            let late = async {
                tokio::task::yield_now().await;
                other.write_all(second).await.expect("room");
            };
            let (body, ()) = tokio::join!(read(&mut incoming), late);
            let (body, found) = body.expect("a whole body");
            assert_eq!((body.as_str(), found.as_str()), ("hello", trailers), "{framing:?} torn at {torn}");
            while incoming.buffer.len() < 3 {
                incoming.buffer.grow(64);
                let Incoming { buffer, stream, .. } = &mut incoming;
                poll_fn(|context| buffer.poll_read(context, std::pin::Pin::new(&mut *stream)))
                    .await
                    .expect("more");
            }
            assert_eq!(incoming.buffer.bytes(), b"GET", "{framing:?} torn at {torn}");
        }
    }
}

/// A connection that ends before the body does has cut it; only without any framing the end is its end.
#[tokio::test]
async fn a_reader_knows_what_is_cut() {
    for (framing, wire, _) in FRAMED {
        for end in 0..wire.len() {
            let (stream, mut other) = pair();
            other.write_all(&wire.as_bytes()[..end]).await.expect("room");
            drop(other);
            let read = read(&mut Incoming::new(framing, stream)).await;
            assert!(matches!(read, Err(ReadError::Cut(None))), "{framing:?} ends at {end}: {read:?}");
        }
    }
    for end in 0..=5 {
        let (stream, mut other) = pair();
        other.write_all(&b"hello"[..end]).await.expect("room");
        drop(other);
        let (body, _) = read(&mut Incoming::new(Framing::UntilClose, stream)).await.expect("a whole body");
        assert_eq!(body, &"hello"[..end]);
    }
    // A reset: something that the other side had not read was lost.
    let (mut stream, mut other) = pair();
    other.write_all(b"hel").await.expect("room");
    stream.write_all(b"unread").await.expect("room");
    drop(other);
    let read = read(&mut Incoming::new(Framing::UntilClose, stream)).await;
    assert!(matches!(read, Err(ReadError::Cut(Some(_)))), "{read:?}");
}

#[tokio::test]
async fn a_reader_refuses_malformed_chunks() {
    for wire in ["x\r\n", "3\r\nhell", "3\nhel\r\n", "3\r\nhel\r\n0\r\nno field\r\n\r\n", "-1\r\n", "\r\n"] {
        let (stream, mut other) = pair();
        other.write_all(wire.as_bytes()).await.expect("room");
        let read = read(&mut Incoming::new(Framing::Chunked, stream)).await;
        assert!(matches!(read, Err(ReadError::Malformed(_))), "{wire:?}: {read:?}");
    }
}

/// A body that is kept can be read again from the beginning, whatever has been taken of it; one that is too long, or was
/// not kept, cannot.
#[tokio::test]
async fn a_reader_begins_again() {
    for (framing, wire, trailers) in FRAMED {
        for taken in 0..=5 {
            let (stream, mut other) = pair();
            other.write_all(wire.as_bytes()).await.expect("room");
            let mut incoming = Incoming::new(framing, stream);
            incoming.reader.keep();
            let mut left = taken;
            while left > 0 {
                if incoming.data().is_empty() {
                    poll_fn(|context| incoming.poll_fill(context, 4)).await.expect("more");
                }
                let count = incoming.data().len().min(left);
                left -= incoming.consume(count);
            }
            for _ in 0..2 {
                assert!(incoming.reader.can_rewind());
                incoming.reader.rewind(&mut incoming.buffer);
                let (body, found) = read(&mut incoming).await.expect("a whole body");
                assert_eq!((body.as_str(), found.as_str()), ("hello", trailers), "{framing:?} after {taken}");
            }
        }
    }
    for (kept, length, again) in [(true, 64 * 1024, true), (true, 64 * 1024 + 1, false), (false, 5, false)] {
        let (stream, mut other) = pair();
        let mut incoming = Incoming::new(Framing::Length(length), stream);
        if kept {
            incoming.reader.keep();
        }
        let body = vec![b'x'; length as usize];
        let (read, sent) = tokio::join!(read(&mut incoming), other.write_all(&body));
        sent.expect("room");
        assert_eq!(read.expect("a whole body").0.len() as u64, length);
        assert_eq!(incoming.reader.can_rewind(), again, "{kept} {length}");
    }
}

/// Sends a body with the head `HEAD `, and returns what arrives.
async fn sent(source: &mut impl BodySource, writer: Http1Writer) -> (Result<(), TransferError>, String) {
    let (stream, mut other) = pair();
    let mut sink = Outgoing { writer, stream };
    let (_, done) = moved(source, &mut sink).await;
    drop(sink);
    let mut arrived = String::new();
    other.read_to_string(&mut arrived).await.expect("text");
    (done, arrived)
}

fn writer(framing: Framing) -> Http1Writer {
    Http1Writer::new(framing, b"HEAD ".to_vec())
}

#[tokio::test]
async fn a_writer_frames_its_body() {
    let trailers = [("x-sum", "7")];
    for (framing, expected) in [
        (Framing::Length(5), "HEAD hello"),
        (Framing::UntilClose, "HEAD hello"),
        (Framing::Chunked, "HEAD 5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"),
    ] {
        let mut source = Script::new([Last("hello")]).with_trailers(&trailers);
        let (done, arrived) = sent(&mut source, writer(framing)).await;
        assert!(done.is_ok());
        assert_eq!(arrived, expected, "{framing:?}");
    }
    // There is no body: that of a HEAD, or none at all.
    for framing in [Framing::None, Framing::Length(0)] {
        let (done, arrived) = sent(&mut Script::new([]), writer(framing)).await;
        assert!(done.is_ok());
        assert_eq!(arrived, "HEAD ", "{framing:?}");
    }
}

/// Whatever a source waits for, its body is written whole; where it breaks off, its end is not.
#[tokio::test]
async fn a_writer_ends_only_what_is_whole() {
    for framing in [Framing::Length(5), Framing::Chunked, Framing::UntilClose] {
        for fills in HELLO {
            for at in 0..fills.len() {
                let (done, arrived) = sent(&mut with(fills, at, Wait), writer(framing)).await;
                assert!(done.is_ok());
                let (stream, mut other) = pair();
                other.write_all(&arrived.as_bytes()["HEAD ".len()..]).await.expect("room");
                drop(other);
                let (body, _) = read(&mut Incoming::new(framing, stream)).await.expect("a whole body");
                assert_eq!(body, "hello", "{framing:?} {fills:?} {at}: {arrived}");
            }
            for (at, broken) in (0..fills.len()).flat_map(|at| [(at, Cut), (at, Malformed)]) {
                // Of a body of known length, nothing may be missing but the word of its end.
                let is_whole = matches!((framing, fills.get(at)), (Framing::Length(_), Some(Last(""))));
                let (done, arrived) = sent(&mut with(fills, at, broken), writer(framing)).await;
                assert_eq!(done.is_ok(), is_whole, "{framing:?} {fills:?} {at}");
                assert!(!arrived.ends_with("0\r\n\r\n"), "{arrived}");
            }
        }
    }
}

/// A body longer than the socket's buffer waits for the other side, and arrives whole.
#[tokio::test]
async fn a_writer_waits_for_room() {
    const LENGTH: usize = 2_000_000;
    for framing in [Framing::Length(LENGTH as u64), Framing::Chunked] {
        let (stream, mut other) = pair();
        let (incoming, mut sender) = pair();
        let mut source = Incoming::new(Framing::Length(LENGTH as u64), incoming);
        let mut sink = Outgoing { writer: writer(framing), stream };
        let mut context = Context::from_waker(Waker::noop());
        let mut transfer = Transfer::default();
        let body: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
        let fill = async {
            sender.write_all(&body).await.expect("room");
        };
        let fills = async {
            // Nobody reads: what there is room for is taken, and the sink is waited for.
            while transfer.waits_for != WaitsFor::Sink || transfer.delivered < BODY as u64 {
                tokio::task::yield_now().await;
                assert!(transfer.poll(&mut context, &mut source, &mut sink, &mut |_| Ok(())).is_pending());
            }
            let mut arrived = Vec::new();
            let moved = async {
                poll_fn(|context| transfer.poll(context, &mut source, &mut sink, &mut |_| Ok(())))
                    .await
                    .expect("whole");
                poll_fn(|context| sink.stream.poll_shut_down_write(context)).await;
            };
            let (_, read) = tokio::join!(moved, other.read_to_end(&mut arrived));
            read.expect("all of it");
            arrived
        };
        let ((), arrived) = tokio::join!(fill, fills);
        let (stream, mut again) = pair();
        let mut check = Incoming::new(framing, stream);
        let feed = async {
            again.write_all(&arrived["HEAD ".len()..]).await.expect("room");
        };
        let ends = async {
            let mut found = Vec::new();
            while !check.has_ended() {
                poll_fn(|context| check.poll_fill(context, BODY)).await.expect("more");
                found.extend_from_slice(check.data());
                check.consume(check.data().len());
            }
            found
        };
        let ((), found) = tokio::join!(feed, ends);
        assert!(found == body, "{framing:?}: another body has arrived");
    }
}

#[tokio::test]
async fn a_writer_says_that_the_other_side_is_gone() {
    for framing in [Framing::Length(5), Framing::Chunked, Framing::UntilClose, Framing::None] {
        let (stream, other) = pair();
        drop(other);
        let mut sink = Outgoing { writer: writer(framing), stream };
        let (_, done) = moved(&mut Script::new([Data("hel"), Last("lo")]), &mut sink).await;
        assert!(matches!(done, Err(TransferError::Sink(_))), "{framing:?}: {done:?}");
    }
}

/// The head goes into the buffer of the body, where there is room, and is not taken for a part of it.
#[tokio::test]
async fn a_head_that_joins_its_body_is_not_counted() {
    for head in ["HEAD ", "a head that is longer than the room before the body "] {
        let (stream, mut sender) = pair();
        sender.write_all(b"helloGET").await.expect("room");
        let mut source = Incoming::new(Framing::Length(5), stream);
        poll_fn(|context| source.poll_fill(context, 64)).await.expect("more");
        let joining = Http1Writer::new(Framing::Length(5), head.as_bytes().to_vec()).joining();
        let (stream, mut other) = pair();
        let mut sink = Outgoing { writer: joining, stream };
        let (transfer, done) = moved(&mut source, &mut sink).await;
        assert!(done.is_ok());
        drop(sink);
        let mut arrived = String::new();
        other.read_to_string(&mut arrived).await.expect("text");
        assert_eq!((arrived, transfer.delivered), (format!("{head}hello"), 5));
        assert_eq!(source.buffer.bytes(), b"GET");
    }
}
