//! Faults 34 to 36: requests that two readers may read in two ways. Nobody but us reads them.

use crate::harness::{Client, Endpoint, Engine, Proxy, engine};

const CHUNKED: &str = "POST /x HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A proxy that has served a request, so that what it does next is no matter of its start.
fn warm() -> (Endpoint, Proxy) {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/before").expect(200);
    (endpoint, proxy)
}

/// Each of these is 400, ends its connection, and is nothing that the endpoint hears of.
#[track_caller]
fn are_refused(requests: &[String]) {
    let (endpoint, mut proxy) = warm();
    for bytes in requests {
        let mut client = proxy.client();
        client.send(bytes);
        client.response().expect(400);
        client.rest();
        assert_eq!(endpoint.count(), 1, "the endpoint was told of {bytes:?}");
    }
    proxy.is_unharmed(endpoint.open());
}

fn heads(fields: &[&str]) -> Vec<String> {
    let head = |field: &&str| format!("POST /x HTTP/1.1\r\nHost: test.example\r\n{field}\r\n\r\nhello");
    fields.iter().map(head).collect()
}

/// Fault 34: bytes and lines that some readers skip, and some do not.
#[test]
fn bytes_that_do_not_belong_in_a_head_are_400() {
    are_refused(&heads(&[
        "X: a\0b", "X\0: a", "X : a", " X: a", "X: a\rb", "X\t: a", "X\x7f: a", ": a", "X",
    ]));
    if engine() == Engine::Pingora {
        // It takes a bare line feed for a line end, and percent-encodes what does not belong in a target.
        return;
    }
    are_refused(&heads(&["X: a\n b", "X: a\r\n b", "X: a\nY: b", "X: a\x01b", "X: a\x7fb"]));
    let lines = [
        "GET /\0 HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET\t/ HTTP/1.1",
    ];
    are_refused(&lines.map(|line| format!("{line}\r\nHost: test.example\r\n\r\n")));
}

/// Fault 35: lengths and codings that are none, or more than one.
#[test]
fn framing_that_can_be_read_twice_is_400() {
    are_refused(&heads(&[
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: -5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: identity",
        "Transfer-Encoding : chunked",
    ]));
    are_refused(&[
        "POST /x HTTP/1.0\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()
    ]);
    if engine() == Engine::Pingora {
        // It forgets the length beside chunks, takes equal lengths for one, and removes codings before chunked.
        return;
    }
    are_refused(&heads(&[
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length:",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
    ]));
}

/// Fault 36: chunks that are broken where everybody sees it. They come with the head, so the endpoint hears nothing.
#[test]
fn broken_chunks_are_400() {
    let broken = [
        "x\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "ffffffffffffffff\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX\r\n",
        "5;a\nhello\r\n",
        "5;\0\r\nhello\r\n",
        "0\r\nBad Field: 1\r\n\r\n",
        "0\r\nX: a\0b\r\n\r\n",
    ];
    if engine() == Engine::Native {
        are_refused(&broken.map(|body| format!("{CHUNKED}{body}")));
    } else {
        // It does not look at the body before it has sent the head on; trailers it does not look at.
        let (endpoint, mut proxy) = warm();
        for body in &broken[..5] {
            let mut client = proxy.client();
            client.send(format!("{CHUNKED}{body}0\r\n\r\n"));
            assert!(client.try_response_to("POST").is_ok_and(|response| response.status == 400), "{body:?}");
        }
        assert!(endpoint.requests().iter().all(|seen| seen.target() != "/x" || !seen.whole));
        proxy.is_unharmed(endpoint.open());
    }
}

/// Fault 36 where the break comes later: the endpoint has the head by then, and never a whole body.
#[test]
fn a_chunk_that_breaks_later_is_never_a_whole_body() {
    let (endpoint, mut proxy) = warm();
    let mut client = proxy.client();
    client.send(format!("{CHUNKED}5\r\nhello\r\n"));
    endpoint.wait_for_requests(2);
    client.send("x\r\n");
    client.response().expect(400);
    assert!(!endpoint.seen("/x").whole);
    proxy.is_unharmed(endpoint.open());
}

/// Sends a body to the end or to the refusal, and gives the status.
fn status_of(mut client: Client, body: &str) -> u16 {
    // The proxy may close before it has all of it.
    let _ = client.try_send(format!("{CHUNKED}{body}"));
    client.response().status
}

/// Fault 36: extensions of a chunk have 8 KiB, trailers 64 KiB and a hundred fields.
#[test]
fn extensions_and_trailers_have_limits() {
    if engine() == Engine::Pingora {
        // It has a limit for a chunk's line of its own, and passes no trailers on.
        return;
    }
    let (endpoint, mut proxy) = warm();
    let extended = |length: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(length - 1));
    assert_eq!(status_of(proxy.client(), &extended(8 * 1024)), 200);
    for over in [8 * 1024 + 1, 64 * 1024] {
        assert_eq!(status_of(proxy.client(), &extended(over)), 400, "{over} bytes of extension");
    }
    let trailers = |lines: usize, length: usize| {
        let line = format!("X: {}\r\n", "a".repeat(length));
        format!("5\r\nhello\r\n0\r\n{}\r\n", line.repeat(lines))
    };
    assert_eq!(status_of(proxy.client(), &trailers(100, 500)), 200);
    assert_eq!(status_of(proxy.client(), &trailers(101, 1)), 400);
    assert_eq!(status_of(proxy.client(), &trailers(20, 4000)), 400);
    assert_eq!(endpoint.requests().iter().filter(|seen| seen.target() == "/x" && seen.whole).count(), 2);
    proxy.is_unharmed(endpoint.open());
}
