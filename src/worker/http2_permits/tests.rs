use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::body::Backlog;

fn permits(most: &str) -> Arc<WorkerPermits> {
    let text = format!("server: {{ threads: 4{most} }}\nlisten: :8080\nendpoints: [127.0.0.1:1]\n");
    of_descriptors(&text, 4096)
}

fn of_descriptors(text: &str, descriptors: usize) -> Arc<WorkerPermits> {
    WorkerPermits::new(&crate::config::parse(text, "test").expect("a config").server, descriptors)
}

/// All permits for requests that are free now.
fn all(connection: &Rc<ConnectionPermits>, window: u32) -> Vec<RequestPermit> {
    std::iter::from_fn(|| connection.try_acquire(window)).collect()
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn reads(permit: &mut RequestPermit) -> bool {
    permit.poll_read(&mut context(), || WINDOW).is_ready()
}

fn connection(worker: &Arc<WorkerPermits>) -> Rc<ConnectionPermits> {
    let metrics = crate::telemetry::metrics::Metrics::new(std::time::SystemTime::now());
    ConnectionPermits::new(worker, metrics.listener(&"a".into()))
}

/// How many of the connection's requests have begun, and wait to, and how many responses have a permit, and wait for it.
fn in_use(connection: &ConnectionPermits) -> [u64; 4] {
    [Http2Count::Begun, Http2Count::Waiting, Http2Count::Held, Http2Count::Unread]
        .map(|count| connection.counters.http2(count))
}

#[test]
fn a_connection_has_permits_of_its_own_and_shares_the_others() {
    for (most, shared) in [("", 512), (", max_http2_requests: 41", 11)] {
        let worker = permits(most);
        let (greedy, modest) = (connection(&worker), connection(&worker));
        let taken = all(&greedy, WINDOW);
        assert_eq!((taken.len(), worker.most_of_connection()), (OWN + shared, OWN + shared));
        assert_eq!(all(&modest, WINDOW).len(), OWN);
        drop(taken);
        assert_eq!(all(&modest, WINDOW).len(), OWN + shared);
        assert_eq!(in_use(&greedy), [0; 4]);
    }
}

/// However many connections there are, each has one request begun, and the shared permits stay.
#[test]
fn no_more_are_begun_than_descriptors_allow() {
    let text = "server: { threads: 2 }\nlisten: :8080\nendpoints: [127.0.0.1:1]\n";
    let worker = of_descriptors(text, 80);
    let connections: Vec<_> = (0..20).map(|_| connection(&worker)).collect();
    let taken: Vec<_> = connections.iter().map(|connection| all(connection, WINDOW)).collect();
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 20 + 80 / 2);
    assert!(taken.iter().all(|of_one| !of_one.is_empty()));
    assert_eq!(taken[0].len(), OWN + 20, "the half for the others is not for the first few");
    let slow = connection(&worker);
    assert_eq!(all(&slow, 0).len(), 1);
}

#[test]
fn who_takes_nothing_gets_little() {
    let worker = permits("");
    let slow = connection(&worker);
    assert_eq!(all(&slow, 0).len(), OWN_SMALL_WINDOW);
    assert_eq!(all(&slow, WINDOW - 1).len(), OWN_SMALL_WINDOW);
    let waiting: Vec<_> = std::iter::from_fn(|| slow.enqueue(0)).take(100).collect();
    assert_eq!(waiting.len(), WAITING_SMALL_WINDOW);
    assert_eq!(std::iter::from_fn(|| slow.enqueue(WINDOW)).take(100).count(), 100);
    assert_eq!(in_use(&slow), [0, WAITING_SMALL_WINDOW as u64, 0, 0]);
    // One whose response has begun, and has been taken, makes room for the next.
    let begun = all(&slow, 0);
    begun[0].source_idle(Backlog::InKernel);
    assert_eq!(all(&slow, 0).len(), 1);
    assert_eq!(in_use(&slow), [2, WAITING_SMALL_WINDOW as u64, 1, 0]);
}

#[tokio::test]
async fn who_waits_is_next() {
    let worker = permits(", max_http2_requests: 1");
    let (one, other) = (connection(&worker), connection(&worker));
    let mut taken = all(&one, WINDOW);
    let waiting = one.enqueue(WINDOW).expect("it may");
    let waits = waiting.acquire();
    tokio::pin!(waits);
    let mut look = || waits.as_mut().poll(&mut context());
    assert!(look().is_pending());
    taken.pop();
    let Poll::Ready(_permit) = look() else { panic!("a permit is free") };
    assert_eq!(all(&other, WINDOW).len(), OWN);
}

/// As many streams of events as there are requests need no permit while nothing of them waits for the client.
#[test]
fn a_response_has_a_permit_until_the_client_has_all_that_was_read() {
    let worker = permits("");
    let own = connection(&worker);
    let begin = || own.try_acquire(WINDOW).inspect(|permit| permit.source_idle(Backlog::InKernel));
    let mut open: Vec<_> = std::iter::from_fn(begin).collect();
    assert_eq!((open.len(), in_use(&own)), (OWN + 512, [518, 0, 0, 0]));
    for permit in &mut open {
        assert!(reads(permit));
        let piece = permit.piece();
        permit.source_idle(Backlog::InKernel);
        assert_eq!(in_use(&own)[2], 1, "the client's socket does not have it yet");
        assert!(reads(permit) && permit.piece().is_some(), "it needs no second one");
        permit.source_idle(Backlog::InKernel);
        assert_eq!(in_use(&own)[2], 1);
        drop(piece);
        assert_eq!(in_use(&own)[2], 0);
    }
    // Where something waits, no more than these are read, and those of others.
    assert_eq!(open.iter_mut().filter_map(|permit| reads(permit).then_some(())).count(), OWN + 512);
    let other = connection(&worker);
    let mut others = [(); OWN].map(|()| other.try_acquire(WINDOW).expect("its own"));
    assert!(others.iter_mut().all(reads));
}

/// What the codec still has of a response counts after the request has ended.
#[test]
fn a_response_waits_for_its_client_beyond_the_end_of_its_task() {
    let worker = permits("");
    let own = connection(&worker);
    let permit = own.try_acquire(WINDOW).expect("a permit");
    let piece = permit.piece();
    drop(permit);
    assert_eq!((in_use(&own), own.holds.borrow().len()), ([0, 0, 1, 0], 1));
    drop(piece);
    assert_eq!((in_use(&own), own.holds.borrow().len()), ([0; 4], 0));
    let permit = own.try_acquire(WINDOW).expect("a permit");
    permit.source_idle(Backlog::InKernel);
    assert!(permit.piece().is_none(), "nothing was read");
}

#[test]
fn a_response_that_waits_for_a_permit_has_the_next_one() {
    let worker = permits("");
    let own = connection(&worker);
    let few = |permit: &mut RequestPermit| permit.poll_read(&mut context(), || 0).is_ready();
    let [mut first, mut second] = [(); 2].map(|()| own.try_acquire(0).expect("its own"));
    second.source_idle(Backlog::InKernel);
    let third = own.try_acquire(0).expect("that of the second one");
    assert!(few(&mut first) && !few(&mut second));
    assert_eq!(in_use(&own), [3, 0, 2, 1]);
    third.source_idle(Backlog::InKernel);
    assert!(few(&mut second));
    assert_eq!(in_use(&own), [3, 0, 2, 0]);
}

/// An endpoint over HTTP/2 may send a window of each response to this process before anybody reads it.
#[test]
fn responses_that_would_arrive_in_memory_are_bounded() {
    let text = "listen: :8080\nendpoints: [127.0.0.1:1]\nserver: { threads: 1 }\n";
    let worker = of_descriptors(text, 1 << 20);
    let own = connection(&worker);
    let begin = || own.try_acquire(WINDOW).inspect(|permit| permit.source_idle(Backlog::InMemory));
    let mut open: Vec<_> = std::iter::from_fn(begin).collect();
    let held = OWN + RESPONSES_OF_WORKER;
    assert_eq!((open.len(), in_use(&own)[2]), (QUIET_OF_WORKER + held, held as u64));
    // Those that have kept their permits end.
    open.truncate(QUIET_OF_WORKER);
    assert!(open.iter_mut().take(held).all(reads));
    drop(open);
    assert_eq!((in_use(&own), worker.quiet.available_permits()), ([0; 4], QUIET_OF_WORKER));
}
