//! Whose time it is between HTTP/2 clients and endpoints: nobody pays for the slowness of the other side.

use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode};

use crate::harness::http2::{connect, get, get_of, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, ProxyBuilder, SOON, lacks};

/// An endpoint's time without a word begins anew when the client has taken what there was.
#[test]
fn a_slow_client_does_not_use_up_the_endpoints_time() {
    if lacks("clients of HTTP/2 that stop") {
        return;
    }
    const FIRST: usize = 66_000;
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", FIRST + 4));
        exchange.send("a".repeat(FIRST));
        sleep(Duration::from_secs(4));
        exchange.send("last");
    });
    let proxy = Proxy::to([&endpoint]).with("timeouts: { idle: 2s }").listener("h2c: true").start();
    let (length, end) = runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, _) = client.ready().await.unwrap().send_request(get_of("/x"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        // The client's window is smaller than what has come for it.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut length = 0;
        let mut end = Ok(());
        while let (Ok(()), Some(piece)) = (&end, body.data().await) {
            end = piece.and_then(|piece| {
                length += piece.len();
                body.flow_control().release_capacity(piece.len())
            });
        }
        (length, end)
    });
    assert!(end.is_ok(), "{end:?} after {length}: {}", proxy.record("/x").text("detail"));
    assert_eq!((length, proxy.record("/x").cause()), (FIRST + 4, ""));
}

/// The time for a whole request that a client spends on its own body is not its endpoint's failure.
#[test]
fn a_client_that_is_late_does_not_harm_the_endpoint() {
    if lacks("a route's `timeout`") {
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::config()
        .routes(&["pool: default, timeout: 500ms"])
        .pool("default", [&endpoint])
        .listener("h2c: true")
        .start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let post = Request::post("http://test.example/late").body(()).unwrap();
        let (response, mut body) = client.ready().await.unwrap().send_request(post, false).unwrap();
        body.send_data(Bytes::from_static(b"some of it"), false).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    });
    let record = proxy.record("/late");
    assert_eq!(
        (record.cause(), record.text("detail")),
        ("request_deadline", "waiting for the request's body")
    );
    let failed = proxy.metric("evenkeel_endpoint_failures_total", &[]);
    assert_eq!(failed, 0.0);
}

/// A client of HTTP/2 that sends a byte now and then moves each deadline, but is below the least rate; whoever sends more
/// may take its time.
#[test]
fn a_body_below_the_least_rate_is_408() {
    if lacks("`limits.body_rate`") {
        return;
    }
    let (one, two) = (Endpoint::named("a"), Http2Endpoint::named("a"));
    let to_two = Proxy::to([&two]).with("protocol: h2");
    for proxy in [Proxy::to([&one]), to_two] {
        let proxy = proxy
            .listener("h2c: true")
            .listener("limits: { body_rate: 100B }")
            .listener("timeouts: { body: 700ms }")
            .start();
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            let begun = Instant::now();
            assert_eq!(trickle(&client, "/slow", b"x", 50).await, 408);
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
            assert_eq!(trickle(&client, "/steady", &[b'x'; 200], 12).await, 200);
        });
        let record = proxy.record("/slow");
        let (cause, detail) = (record.cause(), record.text("detail"));
        assert_eq!((cause, detail), ("request_timeout", "slower than limits.body_rate"));
        assert_eq!(proxy.record("/steady").number("bytes_in"), 2400);
    }
}

/// Sends a body in so many pieces, one every 100 ms, until there is a response, and returns its status.
async fn trickle(client: &SendRequest<Bytes>, path: &str, piece: &'static [u8], pieces: usize) -> StatusCode {
    let post = Request::post(format!("http://test.example{path}")).body(()).unwrap();
    let (mut response, mut body) = client.clone().ready().await.unwrap().send_request(post, false).unwrap();
    for sent in 1..=pieces {
        tokio::select! {
            response = &mut response => return response.unwrap().status(),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        body.send_data(Bytes::from_static(piece), sent == pieces).unwrap();
    }
    response.await.unwrap().status()
}

/// Twice as long is more than an endpoint's time in [`interim_responses_begin_the_time_anew`].
const HALF: Duration = Duration::from_millis(1300);

/// `timeouts.response` begins anew with an interim response, and is not over with it.
fn interim_responses_begin_the_time_anew(proxy: ProxyBuilder) {
    let proxy = proxy.listener("h2c: true").with("timeouts: { response: 2s }").with("retry: off").start();
    for (path, status) in [("/x", 200), ("/silent", 504)] {
        assert_eq!(proxy.client().get(path).status, status);
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            assert_eq!(get(&client, path).await.status, status);
        });
    }
    for record in proxy.records_of("/silent", 2) {
        assert_eq!(record.cause(), "response_timeout");
    }
}

#[test]
fn an_interim_response_begins_the_endpoints_time_anew() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        sleep(HALF);
        exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        if exchange.target() == "/silent" {
            exchange.hang();
            return;
        }
        sleep(HALF);
        exchange.answer("a");
    });
    interim_responses_begin_the_time_anew(Proxy::to([&endpoint]));
}

#[test]
fn an_interim_response_begins_the_time_of_an_http2_endpoint_anew() {
    if lacks("interim responses") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        tokio::time::sleep(HALF).await;
        let hints = Response::builder().status(103).header("link", "</a.css>").body(()).unwrap();
        call.respond.send_informational(hints).unwrap();
        if call.path() == "/silent" {
            return std::future::pending().await;
        }
        tokio::time::sleep(HALF).await;
        call.answer("a");
    });
    interim_responses_begin_the_time_anew(Proxy::to([&endpoint]).with("protocol: h2"));
}
