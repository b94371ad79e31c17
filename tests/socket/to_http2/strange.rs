//! Endpoints and clients that do what is seldom done, or should not be.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use h2::Reason;

use super::to;
use crate::harness::frames::{
    DATA, END_HEADERS, FrameClient, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, field,
    frame, setting,
};
use crate::harness::http2::{connect, get_of, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{End, Endpoint, Engine, Proxy, ProxyBuilder, engine, eventually, lacks};

/// An endpoint made of bytes: what it does with each connection is told.
fn by_hand(settings: Vec<u8>, serve: impl Fn(FrameClient, usize) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // What is not read here does not get far.
    socket2::SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (serve, settings) = (serve.clone(), settings.clone());
            thread::spawn(move || serve(FrameClient::accepted(stream.unwrap(), &settings), number));
        }
    });
    address
}

fn head(stream: u32, flags: u8, status: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = field(":status", status);
    fields.iter().for_each(|(name, value)| block.extend(field(name, value)));
    frame(HEADERS, flags, stream, block)
}

fn of(address: &str) -> ProxyBuilder {
    Proxy::to([address]).with("protocol: h2").listener("h2c: true").server("threads: 1")
}

/// Who refuses every stream is asked no more often than the pool allows, on whatever connection.
#[test]
fn refusals_count_as_attempts() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        call.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let proxy = to(&endpoint).start();
    for path in ["/first", "/second"] {
        proxy.client().upload("POST", path, b"body").expect(503);
        let record = proxy.record(path);
        assert_eq!((record.text("cause"), record.attempts().len()), ("stream_refused", 3));
    }
}

/// A connection that ends before anything was answered on it says something of its endpoint to all that it carried.
#[test]
fn connections_that_never_answer_count_as_attempts() {
    const REQUESTS: usize = 20;
    let address = by_hand(Vec::new(), |mut client, _| {
        client.next_of(HEADERS);
        thread::sleep(Duration::from_millis(20));
    });
    let proxy = of(&address).start();
    thread::scope(|scope| {
        for _ in 0..REQUESTS {
            scope.spawn(|| proxy.client().get("/x").expect(502));
        }
    });
    for record in proxy.records_of("/x", REQUESTS) {
        assert!(record.attempts().len() <= 3, "{} attempts", record.attempts().len());
    }
}

/// What is late for its route's sake leaves a connection that may be dead, as what is late for its pool's does.
#[test]
fn nobody_follows_on_a_connection_that_was_late() {
    let address = by_hand(Vec::new(), |mut client, number| {
        while let Some(asked) = client.next_of(HEADERS) {
            if number == 0 && asked.stream > 1 {
                thread::sleep(Duration::from_secs(5));
                return;
            }
            client.send(head(asked.stream, WHOLE, "200", &[]));
        }
    });
    let proxy = of(&address).routes(&["pool: default, timeout: 1s"]).start();
    for status in [200, 504, 200] {
        proxy.get("/x").expect(status);
    }
    assert_eq!(proxy.records_of("/x", 3)[1].cause(), "request_deadline");
}

/// But where others are answered meanwhile, it lives, whatever hurry some client is in.
#[test]
fn a_connection_that_lives_is_kept_by_who_is_in_a_hurry() {
    if lacks("connections to HTTP/2 endpoints") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|call| async move {
        if call.path() == "/slow" {
            return std::future::pending().await;
        }
        call.answer("a");
    });
    let proxy = to(&endpoint).server("threads: 1").routes(&["pool: default, timeout: 1s"]).start();
    for _ in 0..3 {
        let mut slow = proxy.client();
        slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        thread::sleep(Duration::from_millis(100));
        proxy.get("/x").expect(200);
        slow.response().expect(504);
    }
    assert_eq!(endpoint.connections(), 1);
}

/// A connection that gets no other requests is closed as soon as it carries none.
#[test]
fn what_gets_no_requests_is_closed() {
    let closed = Arc::new(AtomicBool::new(false));
    let is_closed = closed.clone();
    let address = by_hand(Vec::new(), move |mut client, _| {
        while client.next().is_some() {}
        is_closed.store(true, SeqCst);
    });
    let proxy = of(&address).with("timeouts: { response: 300ms }").with("retry: off").start();
    proxy.get("/x").expect(504);
    proxy.metric_becomes("evenkeel_endpoint_idle_connections", 0.0);
    eventually("its end", || closed.load(SeqCst).then_some(()));
}

/// A connection on which the endpoint wants no more streams does not hide others that have room.
#[test]
fn a_full_connection_hides_none_that_has_room() {
    if lacks("an HTTP/2 endpoint that wants no more streams") {
        return;
    }
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    let address = by_hand(Vec::new(), move |mut client, number| {
        count.fetch_add(1, SeqCst);
        while let Some(asked) = client.next_of(HEADERS) {
            if number == 0 {
                client.send(frame(SETTINGS, 0, 0, setting(3, 0)));
            }
            client.send(head(asked.stream, WHOLE, "200", &[]));
        }
    });
    let proxy = of(&address).start();
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
    assert_eq!(opened.load(SeqCst), 2);
}

/// A client that has sent all its requests and closed its side gets all their answers.
#[test]
fn pipelined_requests_before_a_half_close_are_answered() {
    if engine() == Engine::Pingora {
        // It takes a client that has half-closed for gone.
        return;
    }
    let endpoint = Http2Endpoint::scripted(|call| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        call.answer("a");
    });
    let proxy = to(&endpoint).listener("half_close: true").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    client.half_close();
    for _ in 0..3 {
        assert_eq!(client.response().expect(200).text(), "a");
    }
    assert!(client.rest().is_empty());
}

/// An HTTP/1.0 client need not send a `Host`: then its target says it, or else its endpoint's own name is used.
#[test]
fn the_authority_of_who_sends_no_host() {
    if engine() == Engine::Pingora {
        // It does not show the host in the target.
        return;
    }
    let endpoint = Http2Endpoint::named("a");
    let proxy = to(&endpoint).start();
    for target in ["http://b.example/x", "/x"] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(client.response().expect(200).text(), "a");
    }
    let seen = endpoint.seen();
    let authorities: Vec<_> = seen.iter().map(|head| head.uri.authority().unwrap().as_str()).collect();
    assert_eq!(authorities, ["b.example", &endpoint.to_string()]);
}

/// An endpoint that gives up within a body takes nothing of it along: the next one gets all.
#[test]
fn no_byte_of_a_body_is_lost_at_a_retry() {
    let gives_up = by_hand(setting(4, 1000), |mut client, _| {
        while let Some(data) = client.next_of(DATA) {
            // By now, there is more that has not been read.
            thread::sleep(Duration::from_millis(30));
            // What came before the other side knew of the small window would otherwise use up the connection's.
            let taken = u32::try_from(data.payload.len()).unwrap();
            client.send(frame(WINDOW_UPDATE, 0, 0, taken.to_be_bytes()));
            client.send(frame(RST_STREAM, 0, data.stream, 2_u32.to_be_bytes()));
        }
    });
    let echoes = Http2Endpoint::scripted(|mut call| async move {
        let mut body = Vec::new();
        while let Some(Ok(piece)) = call.body.data().await {
            call.body.flow_control().release_capacity(piece.len()).unwrap();
            body.extend_from_slice(&piece);
        }
        call.answer(body);
    });
    let proxy = Proxy::to([&gives_up, &echoes.to_string()])
        .with("protocol: h2")
        .listener("timeouts: { body: 1s }")
        .server("threads: 1")
        .with("outliers: off")
        .start();
    let body: String = (0..6000).map(|number| format!("{number:08}\n")).collect();
    for _ in 0..30 {
        let mut client = proxy.client();
        client.send(format!("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        for part in [&body[..5000], &body[5000..30000], &body[30000..]] {
            client.send(part);
            thread::sleep(Duration::from_millis(5));
        }
        assert!(client.response().expect(200).text() == body, "another body has come");
    }
    let retried = proxy.records_of("/x", 30).iter().filter(|record| record.attempts().len() == 2).count();
    assert!(retried > 10, "{retried} tried again");
}

/// Endpoints of both versions see the same targets, however they were written.
#[test]
fn targets_have_one_form_whatever_endpoints_speak() {
    if engine() == Engine::Pingora {
        // It passes on what the engine `native` writes anew.
        return;
    }
    let (two, one) = (Http2Endpoint::named("two"), Endpoint::named("one"));
    let proxy = Proxy::config()
        .pool("two", [&two])
        .with("protocol: h2")
        .pool("one", [&one])
        .routes(&["name: two, match: { hosts: [two] }, pool: two", "name: one, pool: one"])
        .start();
    let targets = [
        ("GET /a{b}|c[d]^", "/a%7Bb%7D%7Cc%5Bd%5D%5E"),
        ("GET /x?a={b}|c[d]^`\\", "/x?a={b}|c[d]^`\\"),
        ("GET //x/%7Eu/./a/../b?", "/x/~u/b?"),
        ("GET http://HOST?x", "/?x"),
        ("GET HTTP://HOST:80/y", "/y"),
        ("OPTIONS http://HOST", "*"),
        ("OPTIONS *", "*"),
    ];
    for (target, expected) in targets {
        for host in ["two", "one"] {
            let mut client = proxy.client();
            let target = target.replace("HOST", host);
            client.send(format!("{target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(client.response().expect(200).text(), host, "{target}");
        }
        let seen = two.seen().last().unwrap().uri.clone();
        assert_eq!(seen.path_and_query().unwrap().as_str(), expected, "{target}");
        assert_eq!(one.requests().last().unwrap().target(), expected, "{target}");
    }
}

/// A client that sends all of its body before it reads gets the answer that refused it.
#[test]
fn a_refusal_waits_for_who_sends_everything_first() {
    if lacks("a refusal within a body") {
        return;
    }
    let endpoint = Http2Endpoint::named("a");
    let proxy = to(&endpoint).listener("limits: { body_size: 64KiB }").start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..50 {
        client.send("2710\r\n").send([b'x'; 10_000]).send("\r\n");
        thread::sleep(Duration::from_millis(5));
    }
    client.send("0\r\n\r\n").response().expect(413);
    assert_eq!(proxy.record("/x").cause(), "body_too_large");
}

/// Trailers pass, but for those that would mean something only before the body.
#[test]
fn trailers_that_belong_before_the_body_do_not_pass() {
    let address = by_hand(Vec::new(), |mut client, _| {
        while let Some(asked) = client.next_of(HEADERS) {
            let trailers = [field("x-sum", "7"), field("content-length", "9"), field("set-cookie", "a=b")];
            let answer = [
                head(asked.stream, END_HEADERS, "200", &[]),
                frame(DATA, 0, asked.stream, "x"),
                frame(HEADERS, WHOLE, asked.stream, trailers.concat()),
            ];
            client.send(answer.concat());
        }
    });
    let proxy = of(&address).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, _) = client.ready().await.unwrap().send_request(get_of("/x"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        while let Some(piece) = body.data().await {
            piece.unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"7".parse().unwrap()));
    });
}

/// As many fields as the listener allows reach an endpoint of HTTP/2.
#[test]
fn many_fields_are_carried() {
    let endpoint = Http2Endpoint::named("a");
    if engine() == Engine::Pingora {
        // It refuses them unread, with 400.
        return;
    }
    let proxy = to(&endpoint).listener("limits: { header_count: 500 }").start();
    for (count, status) in [(400, 200), (501, 431)] {
        let fields: String = (0..count).map(|number| format!("X-{number}: a\r\n")).collect();
        proxy.client().request("GET", &format!("/{count}"), &fields).expect(status);
        assert_eq!(proxy.record(&format!("/{count}")).status(), u64::from(status));
    }
}

/// Of two requests the endpoint leaves before it looks at the second: that one goes on another connection at once, and
/// the first one, which it may have looked at, on none.
#[test]
fn what_a_leaving_endpoint_may_have_seen_is_not_sent_again() {
    if lacks("connections to HTTP/2 endpoints") {
        return;
    }
    let address = by_hand(Vec::new(), |mut client, number| {
        if number == 0 {
            let first = client.next_of(HEADERS).unwrap().stream;
            client.next_of(HEADERS);
            client.send(frame(GOAWAY, 0, 0, [first.to_be_bytes(), [0; 4]].concat()));
            thread::sleep(Duration::from_millis(100));
            return;
        }
        while let Some(asked) = client.next_of(HEADERS) {
            client.send(head(asked.stream, WHOLE, "200", &[]));
        }
    });
    let proxy = of(&address).start();
    let mut first = proxy.client();
    first.send("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    let is_sent = || proxy.metric("evenkeel_endpoint_in_flight", &[]) == 1.0;
    eventually("the first request", || is_sent().then_some(()));
    proxy.client().upload("POST", "/second", b"x").expect(200);
    first.response().expect(502);
    let attempts = ["/first", "/second"].map(|path| proxy.record(path).attempts().len());
    assert_eq!(attempts, [1, 2]);
}

/// An HTTP/1.0 client knows no other end of a body than that of the connection: one that has broken off ends with a reset.
#[test]
fn what_breaks_off_does_not_seem_whole_to_http_1_0() {
    if lacks("a response of an HTTP/2 endpoint that breaks off") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let mut sink = call.begin(http::Response::builder());
        sink.send_data("half of it".into(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        sink.send_reset(Reason::INTERNAL_ERROR);
    });
    let proxy = to(&endpoint).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().end, End::Reset);
}

/// A response's head has as many fields as one of an HTTP/1.1 endpoint may have.
#[test]
fn heads_of_responses_have_a_limit() {
    let address = by_hand(Vec::new(), |mut client, _| {
        for count in [200, 201] {
            let Some(asked) = client.next_of(HEADERS) else { return };
            let names: Vec<_> = (0..count).map(|number| format!("x-{number}")).collect();
            let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "a")).collect();
            client.send(head(asked.stream, WHOLE, "200", &fields));
        }
    });
    let proxy = of(&address).start();
    proxy.get("/x").expect(200);
    proxy.get("/y").expect(502);
    assert_eq!(proxy.record("/y").cause(), "bad_response");
}

/// There is one reader of chunks: what breaks behind the head breaks as what came with it, whatever the endpoint speaks.
#[test]
fn chunks_are_read_strictly_behind_the_head() {
    if lacks("a length beside chunks") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        if call.body_length().await.is_ok() {
            call.answer("whole");
        }
    });
    let proxy = to(&endpoint).start();
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rest =
        ["2;\0\r\nok\r\n0\r\n\r\n", "0 \r\n\r\n", "2;a\nok\r\n0\r\n\r\n", "\r\n\r\n", "0\r\nX : y\r\n\r\n"];
    for (number, rest) in rest.into_iter().enumerate() {
        proxy.client().send(format!("{head}5\r\nhello\r\n{rest}")).response().expect(400);
        let mut client = proxy.client();
        client.send(format!("{head}5\r\nhello\r\n"));
        eventually("the head at the endpoint", || (endpoint.count_of("/x") > number).then_some(()));
        client.send(rest).response().expect(400);
    }
    let mut client = proxy.client();
    client.send(format!("{head}5\r\nhello\r\n")).send("0\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "whole");
}
