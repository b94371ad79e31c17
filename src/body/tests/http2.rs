//! Bodies over HTTP/2, between both sides of the codec in memory.

use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::io::duplex;
use tokio::time::timeout;

use super::*;

struct Incoming(Http2Reader);

impl BodySource for Incoming {
    fn data(&self) -> &[u8] {
        self.0.data()
    }

    fn consume(&mut self, count: usize) -> usize {
        self.0.consume(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.0.take(count)
    }

    fn is_last(&self) -> bool {
        self.0.is_last()
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, _: usize) -> Poll<Result<(), ReadError>> {
        self.0.poll_fill(context).map_err(|error| ReadError::Cut(Some(error.to_string())))
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.trailers()
    }
}

struct Outgoing(Http2Writer);

impl BodySink for Outgoing {
    fn has_pending(&self) -> bool {
        false
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send(context, source, std::convert::identity)
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

/// Both ends of a stream whose receiver has a window of `window` bytes.
async fn stream(window: u32) -> (SendStream<Bytes>, RecvStream, SendResponse<Bytes>) {
    let (ours, theirs) = duplex(64 * 1024);
    let accepted = tokio::spawn(async move {
        let mut builder = h2::server::Builder::new();
        let mut server = builder.initial_window_size(window).handshake::<_, Bytes>(theirs).await.expect("h2");
        let (request, respond) = server.accept().await.expect("a stream").expect("a request");
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        (request.into_body(), respond)
    });
    let (client, connection) = h2::client::handshake(ours).await.expect("h2");
    tokio::spawn(connection);
    let post = Request::post("http://test.example/").body(()).expect("a request");
    let (_, sink) = client.ready().await.expect("h2").send_request(post, false).expect("a stream");
    let (body, respond) = accepted.await.expect("a stream");
    (sink, body, respond)
}

/// Reads a body to its end, a few bytes at a time.
async fn read(incoming: &mut Incoming) -> Result<(String, Vec<String>), ReadError> {
    let mut body = Vec::new();
    while !incoming.has_ended() {
        poll_fn(|context| incoming.poll_fill(context, 1)).await?;
        while !incoming.data().is_empty() {
            body.extend_from_slice(&incoming.take(3.min(incoming.data().len())));
        }
    }
    let trailers = incoming.trailers().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    Ok((String::from_utf8_lossy(&body).into_owned(), trailers))
}

/// Whatever its source waits for, and however small the window is, a body arrives whole, with the trailers that may go
/// on.
#[tokio::test]
async fn a_body_arrives_whoever_waits() {
    for window in [1, 3, 100] {
        for (fills, at) in HELLO.iter().flat_map(|fills| (0..fills.len()).map(move |at| (fills, at))) {
            for trailers in [&[][..], &[("x-sum", "7"), ("content-length", "5")]] {
                let (sink, body, _respond) = stream(window).await;
                let mut source = with(fills, at, Wait).with_trailers(trailers);
                let mut sink = Outgoing(Http2Writer::new(sink, false));
                let mut incoming = Incoming(Http2Reader::new(body));
                let ((transfer, done), read) =
                    tokio::join!(moved(&mut source, &mut sink), read(&mut incoming));
                assert!(done.is_ok() && transfer.delivered == 5, "{done:?}");
                let (body, found) = read.expect("a whole body");
                let expected: Vec<_> = trailers.iter().take(1).map(|(name, _)| (*name).to_owned()).collect();
                assert_eq!((body.as_str(), found), ("hello", expected), "{window} {fills:?} {at}");
            }
        }
    }
}

#[tokio::test]
async fn an_empty_window_is_waited_for() {
    let (sink, body, _respond) = stream(4).await;
    let mut sink = Outgoing(Http2Writer::new(sink, false));
    let (mut source, mut transfer) = (Script::new([Last("hello")]), Transfer::default());
    let mut incoming = Incoming(Http2Reader::new(body));
    let mut context = Context::from_waker(Waker::noop());
    while transfer.delivered < 4 {
        assert!(transfer.poll(&mut context, &mut source, &mut sink, &mut |_| Ok(())).is_pending());
        tokio::task::yield_now().await;
    }
    poll_fn(|context| incoming.poll_fill(context, 1)).await.expect("what there was room for");
    assert_eq!(incoming.data(), b"hell");
    for _ in 0..10 {
        assert!(transfer.poll(&mut context, &mut source, &mut sink, &mut |_| Ok(())).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!((transfer.waits_for, transfer.delivered), (WaitsFor::Sink, 4));
    // What has been taken makes room.
    incoming.consume(4);
    let rest = poll_fn(|context| transfer.poll(context, &mut source, &mut sink, &mut |_| Ok(())));
    rest.await.expect("the rest");
    assert_eq!(read(&mut incoming).await.expect("the end").0, "o");
}

/// A stream that is reset has cut its body wherever it was, and what has arrived before may have been read.
#[tokio::test]
async fn a_reset_cuts_the_body() {
    for sent in 0..=2 {
        let (mut sink, body, _respond) = stream(100).await;
        let mut incoming = Incoming(Http2Reader::new(body));
        for piece in ["hel", "lo"].iter().take(sent) {
            sink.send_data(Bytes::from_static(piece.as_bytes()), false).expect("room");
            poll_fn(|context| incoming.poll_fill(context, 1)).await.expect("a piece");
            assert_eq!(incoming.take(9), piece);
        }
        sink.send_reset(Reason::INTERNAL_ERROR);
        let read = read(&mut incoming).await;
        assert!(matches!(read, Err(ReadError::Cut(Some(_)))), "{sent}: {read:?}");
        assert!(!incoming.has_ended());
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_does_not_end_the_stream() {
    for (fills, at) in HELLO.iter().flat_map(|fills| (0..fills.len()).map(move |at| (fills, at))) {
        for broken in [Cut, Malformed] {
            let (sink, body, _respond) = stream(100).await;
            let mut sink = Outgoing(Http2Writer::new(sink, false));
            let (_, done) = moved(&mut with(fills, at, broken), &mut sink).await;
            assert!(matches!(done, Err(TransferError::Source(_))), "{done:?}");
            assert!(!sink.is_done());
            drop(sink);
            let read = read(&mut Incoming(Http2Reader::new(body))).await;
            assert!(matches!(read, Err(ReadError::Cut(Some(_)))), "{fills:?} {at}: {read:?}");
        }
    }
}

#[tokio::test]
async fn a_writer_says_that_its_stream_is_over() {
    for taken in 0..=2 {
        let (sink, body, mut respond) = stream(2).await;
        let mut incoming = Incoming(Http2Reader::new(body));
        let mut sink = Outgoing(Http2Writer::new(sink, false));
        let mut source = Script::new([Data("hel"), Last("lo")]);
        let leaves = async {
            for _ in 0..taken {
                poll_fn(|context| incoming.poll_fill(context, 1)).await.expect("a piece");
                incoming.consume(2);
            }
            respond.send_reset(Reason::CANCEL);
        };
        let ((_, done), ()) = tokio::join!(moved(&mut source, &mut sink), leaves);
        assert!(matches!(done, Err(TransferError::Sink(_))), "{taken}: {done:?}");
    }
}

/// A body that is kept is read again whole, and the window is given back once: the rest has room.
#[tokio::test]
async fn a_reader_begins_again() {
    for taken in 0..=5 {
        let (sink, body, _respond) = stream(5).await;
        let mut sink = Outgoing(Http2Writer::new(sink, false));
        let mut incoming = Incoming(Http2Reader::new(body));
        incoming.0.keep();
        let mut source = Script::new([Data("hello"), Data("world"), Last("!")]);
        let again = async {
            let mut left = taken;
            while left > 0 {
                poll_fn(|context| incoming.poll_fill(context, 1)).await.expect("a piece");
                left -= incoming.consume(left.min(incoming.data().len()));
            }
            for _ in 0..2 {
                assert!(incoming.0.can_rewind());
                incoming.0.rewind();
                assert_eq!(
                    read(&mut incoming).await.expect("a whole body").0,
                    "helloworld!",
                    "after {taken}"
                );
            }
        };
        let both = async { tokio::join!(moved(&mut source, &mut sink), again) };
        let ((_, done), ()) = timeout(Duration::from_secs(5), both).await.expect("room for the rest");
        assert!(done.is_ok());
    }
    for (kept, length, again) in [(true, 64 * 1024, true), (true, 64 * 1024 + 1, false), (false, 5, false)] {
        let (mut sink, body, _respond) = stream(1 << 20).await;
        let mut incoming = Incoming(Http2Reader::new(body));
        if kept {
            incoming.0.keep();
        }
        sink.send_data(Bytes::from(vec![b'x'; length]), true).expect("room");
        assert_eq!(read(&mut incoming).await.expect("a whole body").0.len(), length);
        assert_eq!(incoming.0.can_rewind(), again, "{kept} {length}");
    }
}
