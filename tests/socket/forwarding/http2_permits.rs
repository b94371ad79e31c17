//! Requests over HTTP/2 that are open cost next to nothing; responses that wait for their clients do, and are bounded.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::frames::*;
use crate::harness::http2::{connect, get, get_of, request, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Gate, Proxy, eventually, lacks, within};

const MEGABYTE: usize = 1024 * 1024;

/// Open files that this test may have; what is open at a time are three connections for each request.
const DESCRIPTORS: u64 = 12_000;

/// For more than a thousand requests at once, on a busy machine.
const MANY: Duration = Duration::from_secs(30);

const CONNECTIONS: usize = 15;
const STREAMS: usize = 100;

/// The largest window that there is (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Whether this process may open as many files as are needed.
fn has_descriptors() -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < DESCRIPTORS {
        eprintln!("skipped: no more than {most} open files");
        return false;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    true
}

/// Endpoints of HTTP/1.1 without a thread for each connection: `serve` gets each one behind its request's head.
fn endpoint_of_many<Done>(
    runtime: &Runtime,
    serve: impl Fn(TcpStream) -> Done + Clone + Send + 'static,
) -> String
where
    Done: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let serve = serve.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                // A health check says nothing.
                if stream.read(&mut head).await? > 0 {
                    serve(stream).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

/// Asks for events, and waits for the first one.
async fn first_event(mut client: SendRequest<Bytes>) -> RecvStream {
    let (response, _) = client.send_request(get_of("/events"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    body
}

async fn rest(mut body: RecvStream) -> Vec<u8> {
    let mut rest = Vec::new();
    while let Some(piece) = body.data().await {
        rest.extend_from_slice(&piece.unwrap());
    }
    rest
}

/// Fault: requests beyond six of each connection and 512 of a worker waited for ever, although the others only waited for
/// their endpoint.
fn events_are_served(endpoint: &dyn std::fmt::Display, protocol: &str, again: &watch::Sender<bool>) {
    let builder = Proxy::to([endpoint]).server("threads: 1").listener("h2c: true");
    let proxy = builder.with(&format!("protocol: {protocol}")).start();
    proxy.admin("/livez").expect(200);
    let before = proxy.memory();
    let runtime = runtime();
    let mut open = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = runtime.block_on(connect(&proxy.address()));
        (0..STREAMS).for_each(|_| drop(open.spawn_on(first_event(client.clone()), runtime.handle())));
    }
    let open = runtime.block_on(open.join_all());
    let of = |name, state: &str| proxy.metric(name, &[&format!("state=\"{state}\"")]);
    let responses = || of("evenkeel_http2_responses", "held") + of("evenkeel_http2_responses", "unread");
    eventually("nothing that is held", || (responses() == 0.0).then_some(()));
    assert_eq!(of("evenkeel_http2_requests", "begun"), (CONNECTIONS * STREAMS) as f64);
    assert_eq!(of("evenkeel_http2_requests", "waiting"), 0.0);
    eprintln!("{} bytes for each", (proxy.memory() - before) / open.len());
    again.send_replace(true);
    let mut ends = JoinSet::new();
    open.into_iter().for_each(|body| drop(ends.spawn_on(rest(body), runtime.handle())));
    assert!(runtime.block_on(ends.join_all()).iter().all(|rest| rest == b"second"));
    eventually("no request", || (of("evenkeel_http2_requests", "begun") == 0.0).then_some(()));
}

#[test]
fn streams_of_events_are_all_served_from_http1() {
    if lacks("turns of HTTP/2 requests") || !has_descriptors() {
        return;
    }
    let (again, follow) = (watch::Sender::new(false), runtime());
    let follows = again.clone();
    let endpoint = endpoint_of_many(&follow, move |mut stream| {
        let mut follows = follows.subscribe();
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst").await?;
            let _ = follows.wait_for(|again| *again).await;
            stream.write_all(b"second").await
        }
    });
    events_are_served(&endpoint, "http/1.1", &again);
}

#[test]
fn streams_of_events_are_all_served_from_http2() {
    if lacks("turns of HTTP/2 requests") || !has_descriptors() {
        return;
    }
    let again = watch::Sender::new(false);
    let follows = again.clone();
    let endpoint = Http2Endpoint::scripted(move |mut call| {
        let mut follows = follows.subscribe();
        async move {
            let mut events = call.begin(Response::builder());
            events.send_data(Bytes::from_static(b"first"), false).unwrap();
            let _ = follows.wait_for(|again| *again).await;
            events.send_data(Bytes::from_static(b"second"), true).unwrap();
        }
    });
    events_are_served(&endpoint, "h2", &again);
}

/// A client that lets us send as much as we like, and takes nothing: what is read for it is bounded, the rest stays in the
/// kernel, and others do not notice.
#[test]
fn responses_that_nobody_takes_stay_unread() {
    if lacks("turns of HTTP/2 requests") || !has_descriptors() {
        return;
    }
    const GREEDY: usize = 14;
    static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
    const PIECES: usize = 64;
    const LENGTH: usize = PIECES * PIECE.len();
    let endpoints = runtime();
    let endpoint = endpoint_of_many(&endpoints, |mut stream| async move {
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes()).await?;
        for _ in 0..PIECES {
            stream.write_all(&PIECE).await?;
        }
        Ok(())
    });
    let proxy = Proxy::to([&endpoint]).server("threads: 1").listener("h2c: true").start();
    proxy.get("/before").expect(200);
    let before = proxy.memory();
    let more = (WINDOW_MAX - 65_535).to_be_bytes();
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, setting(4, WINDOW_MAX)), &frame(WINDOW_UPDATE, 0, 0, more)];
    let heads = (0..STREAMS).map(|number| {
        let fields = [vec![0x82, 0x86], field(":authority", "a.example"), field(":path", "/large")].concat();
        frame(HEADERS, WHOLE, 2 * number as u32 + 1, fields)
    });
    let attack = [begin.concat(), heads.flatten().collect()].concat();
    let greedy: Vec<_> = (0..GREEDY)
        .map(|_| {
            let mut client = FrameClient::silent(&proxy.address());
            client.send(&attack);
            client
        })
        .collect();
    let of = |state: &str| proxy.metric("evenkeel_http2_responses", &[&format!("state=\"{state}\"")]);
    // On a busy machine some fail to connect among so many.
    let is_full = || of("held") == (6 * GREEDY + 512) as f64 && of("unread") > (GREEDY * STREAMS / 4) as f64;
    within(MANY, "all that can be held", || is_full().then_some(()));
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..20 {
            assert_eq!(get(&client, "/beside").await.body.len(), LENGTH);
        }
    });
    eprintln!("{} MB", (proxy.memory() - before) / MEGABYTE);
    proxy.grew_less_than(90 * MEGABYTE, before);
    assert!(is_full(), "{} {}", of("held"), of("unread"));
    drop(greedy);
    eventually("nothing that is held", || (of("held") + of("unread") == 0.0).then_some(()));
}

/// Fault: who waits for a permit to begin waits without end.
#[test]
fn who_waits_too_long_to_begin_is_told() {
    if lacks("turns of HTTP/2 requests") {
        return;
    }
    let gate = Gate::closed();
    let endpoint = {
        let gate = gate.clone();
        Endpoint::scripted("a", move |exchange| {
            gate.wait();
            exchange.answer("whole");
        })
    };
    let builder = Proxy::to([&endpoint]).server("threads: 1, max_http2_requests: 1").listener("h2c: true");
    let proxy = builder.listener("timeouts: { header: 1s }").start();
    let runtime = runtime();
    let clients = [(); 2].map(|()| runtime.block_on(connect(&proxy.address())));
    let mut held = JoinSet::new();
    let mut hold = |client: &SendRequest<Bytes>| {
        let client = client.clone();
        held.spawn_on(async move { get(&client, "/held").await.status }, runtime.handle());
    };
    (0..7).for_each(|_| hold(&clients[0]));
    endpoint.wait_for_requests(7);
    (0..6).for_each(|_| hold(&clients[1]));
    endpoint.wait_for_requests(13);
    let late = {
        let client = clients[1].clone();
        runtime.spawn(async move { get(&client, "/late").await })
    };
    let waiting = || proxy.metric("evenkeel_http2_requests", &["state=\"waiting\""]);
    eventually("one that waits", || (waiting() == 1.0).then_some(()));
    let late = runtime.block_on(late).unwrap();
    assert_eq!((late.status.as_u16(), waiting()), (503, 0.0));
    assert!(late.headers.contains_key("retry-after"));
    let record = proxy.record("/late");
    assert_eq!((record.status(), record.cause()), (503, "turn_expired"));
    assert!(record.seconds("queued_seconds") >= 0.9);
    let call = Request::post("http://test.example/call").header("content-type", "application/grpc");
    let call = runtime.block_on(request(&clients[1], call.body(()).unwrap(), &["message"]));
    assert_eq!((call.status.as_u16(), &call.headers["grpc-status"]), (200, &"14".parse().unwrap()));
    gate.open();
    assert!(runtime.block_on(held.join_all()).iter().all(|status| *status == 200));
    assert_eq!(endpoint.count(), 13);
}
