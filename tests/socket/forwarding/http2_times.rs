//! Whose time it is between HTTP/2 clients and endpoints of HTTP/1.1: nobody pays for the slowness of the other side.

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};

use crate::harness::http2::{connect, get_of, runtime};
use crate::harness::{Endpoint, Proxy, lacks};

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
