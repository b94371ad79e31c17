//! Bodies between sources and sinks that are ready, wait, break off or are malformed at each step.

mod encoder;
mod http1;
mod http2;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;

use super::*;
use crate::exchange::Failure;
use crate::net::buffer::TURN;

/// What a source does when it is asked for more.
#[derive(Debug, Clone, Copy)]
enum Fill {
    Data(&'static str),
    /// The rest of the body.
    Last(&'static str),
    Wait,
    Cut,
    Malformed,
}

use Fill::{Cut, Data, Last, Malformed, Wait};

/// A body that comes as its script says.
#[derive(Debug, Default)]
struct Script {
    fills: VecDeque<Fill>,
    data: Bytes,
    last: bool,
    trailers: Vec<(&'static str, &'static str)>,
}

impl Script {
    fn new(fills: impl IntoIterator<Item = Fill>) -> Self {
        Self { fills: fills.into_iter().collect(), ..Self::default() }
    }

    fn with_trailers(self, trailers: &[(&'static str, &'static str)]) -> Self {
        Self { trailers: trailers.to_vec(), ..self }
    }
}

impl BodySource for Script {
    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, count: usize) -> usize {
        self.take(count).len()
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.data.split_to(count)
    }

    fn is_last(&self) -> bool {
        self.last
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ReadError>> {
        assert!(self.data.is_empty() && !self.last && room > 0, "asked for more too early: {self:?}");
        match self.fills.pop_front().expect("a script with an end") {
            Data(data) => self.data = Bytes::from_static(data.as_bytes()),
            Last(data) => (self.data, self.last) = (Bytes::from_static(data.as_bytes()), true),
            Wait => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Cut => return Poll::Ready(Err(ReadError::Cut(None))),
            Malformed => return Poll::Ready(Err(ReadError::Malformed("odd".to_owned()))),
        }
        Poll::Ready(Ok(()))
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.trailers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }
}

/// What a sink does when it is given something.
#[derive(Debug, Clone, Copy)]
enum Take {
    Wait,
    Break,
}

/// A sink in memory with a head of its own. It takes two bytes at a time, but for the steps that its script names.
#[derive(Debug)]
struct Memory {
    head: &'static str,
    got: String,
    done: bool,
    steps: usize,
    takes: Option<(usize, Take)>,
}

impl Memory {
    fn new(takes: Option<(usize, Take)>) -> Self {
        Self { head: "HEAD ", got: String::new(), done: false, steps: 0, takes }
    }
}

impl BodySink for Memory {
    fn has_pending(&self) -> bool {
        !self.head.is_empty()
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl BodySource,
    ) -> Poll<io::Result<usize>> {
        assert!(!self.done, "asked to send after its end");
        let step = self.steps;
        self.steps += 1;
        match self.takes {
            Some((at, Take::Wait)) if at == step => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some((at, Take::Break)) if at == step => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            _ => {}
        }
        self.got.push_str(std::mem::take(&mut self.head));
        let count = source.data().len().min(2);
        self.got.push_str(str::from_utf8(&source.take(count)).expect("text"));
        self.done = source.has_ended();
        Poll::Ready(Ok(count))
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

/// Moves a body to its end.
async fn moved(
    source: &mut impl BodySource,
    sink: &mut impl BodySink,
) -> (Transfer, Result<(), TransferError>) {
    let mut transfer = Transfer::default();
    let done = poll_fn(|context| transfer.poll(context, source, sink, &mut |_| Ok(()))).await;
    (transfer, done)
}

/// The script with `fill` before its step `at`.
fn with(fills: &[Fill], at: usize, fill: Fill) -> Script {
    let mut fills: VecDeque<_> = fills.iter().copied().collect();
    fills.insert(at, fill);
    Script { fills, ..Script::default() }
}

/// Bodies of "hello", and how each may come.
const HELLO: [&[Fill]; 4] = [
    &[Last("hello")],
    &[Data("hello"), Last("")],
    &[Data("hel"), Last("lo")],
    &[Data("h"), Data("ell"), Data("o"), Last("")],
];

#[tokio::test]
async fn a_body_is_moved_whoever_waits() {
    for fills in HELLO {
        let (mut source, mut sink) = (Script::new(fills.iter().copied()), Memory::new(None));
        let (transfer, done) = moved(&mut source, &mut sink).await;
        assert!(done.is_ok() && transfer.moved && sink.done);
        assert_eq!((sink.got.as_str(), transfer.delivered), ("HEAD hello", 5));
        for at in 0..fills.len() {
            let mut sink = Memory::new(None);
            moved(&mut with(fills, at, Wait), &mut sink).await.1.expect("a whole body");
            assert_eq!(sink.got, "HEAD hello", "{fills:?} waits at {at}");
        }
        for at in 0..sink.steps {
            let (mut source, mut sink) =
                (Script::new(fills.iter().copied()), Memory::new(Some((at, Take::Wait))));
            moved(&mut source, &mut sink).await.1.expect("a whole body");
            assert_eq!(sink.got, "HEAD hello", "{fills:?}: the sink waits at {at}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_is_its_head() {
    for fills in [&[Last("")][..], &[Wait, Last("")]] {
        let mut sink = Memory::new(None);
        let (transfer, done) = moved(&mut Script::new(fills.iter().copied()), &mut sink).await;
        assert!(done.is_ok());
        assert_eq!((sink.got.as_str(), transfer.delivered), ("HEAD ", 0));
    }
}

/// What has come before it is passed on, and the sink is not told that the body is whole.
#[tokio::test]
async fn a_body_that_breaks_off_is_not_ended() {
    for fills in HELLO {
        for at in 0..fills.len() {
            let before: usize =
                fills[..at].iter().map(|fill| if let Data(data) = fill { data.len() } else { 0 }).sum();
            for broken in [Cut, Malformed] {
                let mut sink = Memory::new(None);
                let (transfer, done) = moved(&mut with(fills, at, broken), &mut sink).await;
                match (broken, done) {
                    (Cut, Err(TransferError::Source(ReadError::Cut(None)))) => {}
                    (Malformed, Err(TransferError::Source(ReadError::Malformed(why)))) => {
                        assert_eq!(why, "odd")
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!((transfer.waits_for, transfer.delivered), (WaitsFor::Source, before as u64));
                assert_eq!((sink.got.as_str(), sink.done), (&*format!("HEAD {}", &"hello"[..before]), false));
            }
        }
    }
}

#[tokio::test]
async fn a_sink_that_breaks_is_said_to() {
    for fills in HELLO {
        let (mut source, mut sink) = (Script::new(fills.iter().copied()), Memory::new(None));
        moved(&mut source, &mut sink).await.1.expect("a whole body");
        for at in 0..sink.steps {
            let (mut source, mut sink) =
                (Script::new(fills.iter().copied()), Memory::new(Some((at, Take::Break))));
            let (transfer, done) = moved(&mut source, &mut sink).await;
            assert!(matches!(done, Err(TransferError::Sink(_))), "{fills:?} at {at}: {done:?}");
            assert_eq!(transfer.waits_for, WaitsFor::Sink);
            assert_eq!(transfer.delivered as usize, sink.got.len().saturating_sub("HEAD ".len()));
        }
    }
}

#[tokio::test]
async fn each_piece_is_counted_and_may_be_refused() {
    let (mut source, mut sink) = (Script::new([Data("hel"), Last("lo")]), Memory::new(None));
    let (mut transfer, mut pieces) = (Transfer::default(), Vec::new());
    let mut count = |bytes| {
        pieces.push(bytes);
        if pieces.len() == 3 { Err(Failure::BodyTooLarge) } else { Ok(()) }
    };
    let done = poll_fn(|context| transfer.poll(context, &mut source, &mut sink, &mut count)).await;
    assert!(matches!(done, Err(TransferError::Refused(Failure::BodyTooLarge))), "{done:?}");
    assert_eq!((pieces.as_slice(), transfer.delivered), (&[2, 1, 2][..], 5));
}

/// Whoever is waited for is told, and only what has moved counts as progress.
#[test]
fn a_wait_says_for_whom() {
    let mut context = Context::from_waker(Waker::noop());
    let (mut source, mut sink) =
        (Script::new([Wait, Data("ab"), Wait, Last("")]), Memory::new(Some((1, Take::Wait))));
    let mut transfer = Transfer::default();
    for (waits_for, has_moved) in [(WaitsFor::Source, true), (WaitsFor::Sink, true), (WaitsFor::Source, true)]
    {
        transfer.moved = false;
        assert!(transfer.poll(&mut context, &mut source, &mut sink, &mut |_| Ok(())).is_pending());
        assert_eq!((transfer.waits_for, transfer.moved), (waits_for, has_moved));
    }
    transfer.moved = false;
    assert!(transfer.poll(&mut context, &mut source, &mut sink, &mut |_| Ok(())).is_ready());
    let mut source = Script::new([Wait]);
    let (mut transfer, mut sink) = (Transfer::default(), Memory { head: "", ..Memory::new(None) });
    assert!(transfer.poll(&mut context, &mut source, &mut sink, &mut |_| Ok(())).is_pending());
    assert_eq!((transfer.waits_for, transfer.moved), (WaitsFor::Source, false));
}

/// A body without end that goes to a sink that takes all.
struct Endless;

impl BodySource for Endless {
    fn data(&self) -> &[u8] {
        &[b'x'; 10_000]
    }

    fn consume(&mut self, count: usize) -> usize {
        count
    }

    fn take(&mut self, count: usize) -> Bytes {
        Bytes::from(vec![b'x'; count])
    }

    fn is_last(&self) -> bool {
        false
    }

    fn poll_fill(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<(), ReadError>> {
        panic!("it has data")
    }

    fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }
}

struct Abyss;

impl BodySink for Abyss {
    fn has_pending(&self) -> bool {
        false
    }

    fn poll_send(&mut self, _: &mut Context<'_>, source: &mut impl BodySource) -> Poll<io::Result<usize>> {
        let count = source.data().len();
        Poll::Ready(Ok(source.consume(count)))
    }

    fn is_done(&self) -> bool {
        false
    }
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Two sides that are always ready let others have their turn.
#[test]
fn a_turn_ends() {
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut transfer = Transfer::default();
    for turn in 1..=3 {
        let before = transfer.delivered;
        assert!(transfer.poll(&mut context, &mut Endless, &mut Abyss, &mut |_| Ok(())).is_pending());
        assert!((TURN..TURN + 20_000).contains(&(transfer.delivered - before)));
        assert_eq!(woken.0.load(SeqCst), turn);
    }
}
