//! What does not pass between HTTP/2 clients and endpoints of HTTP/1.1, because Pingora has no way for it. A test that
//! fails here is good news: the gap in `docs/http2.md` has closed.

use bytes::Bytes;
use http::Request;

use crate::harness::http2::{connect, get_of, runtime};
use crate::harness::{Endpoint, Proxy};

/// Interim responses are dropped; the response itself is whole.
#[test]
fn interim_responses_are_dropped() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        );
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let mut sender = client.ready().await.unwrap();
        let (mut response, _) = sender.send_request(get_of("/x"), true).unwrap();
        let interim = std::future::poll_fn(|context| response.poll_informational(context)).await;
        assert!(interim.is_none());
        let response = response.await.unwrap();
        assert_eq!(response.into_body().data().await.unwrap().unwrap(), "hello");
    });
}

/// A request's trailers end here, and the word of them; its body does not.
#[test]
fn trailers_of_requests_are_dropped() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.answer("a");
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let post = Request::post("http://test.example/x").header("trailer", "x-end").body(()).unwrap();
        let (response, mut sink) = client.ready().await.unwrap().send_request(post, false).unwrap();
        sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
        sink.send_trailers(http::HeaderMap::from_iter([("x-end".parse().unwrap(), "1".parse().unwrap())]))
            .unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let seen = endpoint.seen("/x");
    assert_eq!((seen.body.as_slice(), seen.whole, seen.header("x-end")), (&b"hello"[..], true, None));
    // What does not come is not announced.
    assert_eq!(seen.header("trailer"), None);
}
