//! What an endpoint of HTTP/1.1 may answer, and an HTTP/2 client must not be sent (RFC 9113, sections 8.2 and 8.3.2). The
//! client takes nothing that is malformed.

use bytes::Bytes;
use http::Response;

use crate::harness::frames::{DATA, FrameClient, HEADERS, WHOLE, frame};
use crate::harness::http2::{connect, get, get_of, runtime, try_request};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, lacks};

/// Answers with what belongs to the target, as it is; everything else honestly.
fn scripted(answers: Vec<(&'static str, Vec<u8>)>) -> Endpoint {
    Endpoint::scripted("a", move |exchange| {
        match answers.iter().find(|(target, _)| *target == exchange.target()) {
            Some((_, answer)) => {
                exchange.drain_body();
                exchange.send(answer);
                exchange.close();
            }
            None => exchange.answer("honest"),
        }
    })
}

#[test]
fn fields_of_the_connection_end_here() {
    if lacks("trailers") {
        return;
    }
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop , x-other\r\nConnection: X-Third\r\n\
                  Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c, websocket\r\n\
                  Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-End\r\nProxy-Authenticate: Basic\r\n\
                  X-Hop: 1\r\nX-Other: 2\r\nX-Third: 3\r\nX-Kept: 4\r\n\r\n\
                  5\r\nhello\r\n0\r\nX-End: 5\r\n\r\n";
    let endpoint = scripted(vec![("/hop", answer.into())]);
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let answer = get(&client, "/hop").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"hello".as_slice()));
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["date", "server", "trailer", "x-kept"]);
        assert_eq!(get(&client, "/next").await.body, b"honest");
    });
    proxy.is_unharmed(endpoint.open());
}

/// Nobody has asked for another protocol: what follows would be taken for what it is not.
#[test]
fn an_unasked_switch_of_protocols_is_a_502() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret";
    let endpoint = scripted(vec![("/switch", answer.into())]);
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let answer = get(&client, "/switch").await;
        assert_eq!(answer.status.as_u16(), 502);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        assert_eq!(get(&client, "/next").await.body, b"honest");
    });
    assert_eq!(proxy.record("/switch").text("cause"), "bad_response");
    proxy.is_unharmed(endpoint.open());
}

/// Heads that are refused.
#[test]
fn malformed_heads_are_a_502() {
    if lacks("what an endpoint answers that HTTP/2 cannot say") {
        return;
    }
    let fields: [&[u8]; 13] = [
        b"X A: 1",
        b"X-A\0: 1",
        b": 1",
        b":status: 500",
        b"X\xe9: 1",
        b"X(A): 1",
        b"no colon",
        b"X-A: a\0b",
        b"X-A: a\x01b",
        b"X-A: a\x7fb",
        b"X-A: a\rb",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"X-A: 1\r\n  2\r\n\t3",
    ];
    let targets: Vec<&'static str> =
        vec!["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/10", "/11", "/12"];
    let head = |field: &[u8]| [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", field, b"\r\n\r\nhello"].concat();
    let mut answers: Vec<_> = targets.iter().copied().zip(fields.iter().map(|field| head(field))).collect();
    answers.push(("/status", b"HTTP/1.1 099 Less\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let all: Vec<_> = answers.iter().map(|(target, _)| *target).collect();
    let endpoint = scripted(answers);
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for target in all {
            assert_eq!(get(&client, target).await.status.as_u16(), 502, "{target}");
        }
        assert_eq!(get(&client, "/next").await.body, b"honest");
    });
    proxy.is_unharmed(endpoint.open());
}

/// Heads that become those of HTTP/2.
#[test]
fn unusual_heads_are_put_right() {
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello").into_bytes();
    let mut beyond = head("Content-Length: 5\r\nX-A: ?");
    let at = beyond.iter().position(|byte| *byte == b'?').unwrap();
    beyond[at] = 0xe9;
    let endpoint = scripted(vec![
        ("/case", head("CONTENT-LENGTH: 5\r\nX-A: 1")),
        ("/blanks", head("Content-Length:   5  \r\nX-A: \t 1 \t ")),
        ("/empty", head("Content-Length: 5\r\nX-A:")),
        ("/beyond", beyond),
        (
            "/interim",
            [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec(), head("Content-Length: 5\r\nX-A: 1")]
                .concat(),
        ),
        ("/more", [head("Content-Length: 5\r\nX-A: 1"), b"HTTP/1.1 200 OK\r\n\r\n".to_vec()].concat()),
        ("/end", head("X-A: 1")),
    ]);
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let expected: [(&str, &[u8]); 7] = [
        ("/case", b"1"),
        ("/blanks", b"1"),
        ("/empty", b""),
        ("/beyond", b"\xe9"),
        ("/interim", b"1"),
        ("/more", b"1"),
        ("/end", b"1"),
    ];
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for (target, value) in expected {
            let answer = get(&client, target).await;
            assert_eq!(
                (answer.status.as_u16(), answer.body.as_slice()),
                (200, b"hello".as_slice()),
                "{target}"
            );
            assert_eq!(answer.headers["x-a"].as_bytes(), value, "{target}");
            let lengths = answer.headers.get_all("content-length").iter().count();
            assert_eq!(lengths, usize::from(target != "/end"), "{target}");
        }
    });
}

/// What follows a body in chunks is for the client, too, but for what only the head may say.
#[test]
fn trailers_pass() {
    if lacks("trailers") {
        return;
    }
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n\
                  5\r\nhello\r\n0\r\nX-End: 1\r\nContent-Length: 7\r\n\r\n";
    let endpoint = scripted(vec![("/trailers", answer.into())]);
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let mut sender = client.ready().await.unwrap();
        let (response, _) = sender.send_request(get_of("/trailers"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["trailer"], "X-End");
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            text.extend_from_slice(&piece.unwrap());
        }
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(
            (text.as_slice(), trailers.len(), &trailers["x-end"]),
            (&b"hello"[..], 1, &"1".parse().unwrap())
        );
    });
}

/// Fault: a body that is shorter than was said, or whose chunks break, must not seem whole.
#[test]
fn a_body_that_breaks_off_is_reset() {
    let endpoint = scripted(vec![
        ("/length", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec()),
        ("/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec()),
        ("/broken", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n".to_vec()),
    ]);
    let mut proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for target in ["/length", "/chunks", "/broken"] {
            let ended = try_request(&client, get_of(target), &[]).await;
            assert!(ended.as_ref().is_err_and(h2::Error::is_reset), "{target}: {ended:?}");
        }
        assert_eq!(get(&client, "/next").await.body, b"honest");
    });
    proxy.is_unharmed(endpoint.open());
}

/// What gRPC calls trailers only: its clients take an empty DATA frame behind such a head for a fault.
#[test]
fn a_response_without_a_body_ends_with_its_head() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let _ = call.body_length().await;
        let response = Response::builder().header("grpc-status", "5").body(()).unwrap();
        call.respond.send_response(response, true).unwrap();
    });
    let proxy = Proxy::to([&endpoint]).with("protocol: h2").listener("h2c: true").start();
    runtime().block_on(async {
        let mut client = connect(&proxy.address()).await.ready().await.unwrap();
        let (response, mut body) = client.send_request(get_of("/fails"), false).unwrap();
        body.send_data(Bytes::from_static(b"call"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.headers().get("grpc-status").unwrap(), "5");
        assert!(response.body().is_end_stream());
    });
    assert_eq!(proxy.record("/fails").number("status"), 200);
}

/// Many small pieces go on as few larger ones: to the client, so many frames would be a flood.
#[test]
fn many_small_pieces_are_few_frames() {
    if lacks("a body in tiny chunks") {
        return;
    }
    const PIECES: usize = 5000;
    let endpoint = Endpoint::scripted("a", |exchange| {
        let chunks = "1\r\na\r\n".repeat(PIECES);
        exchange.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"));
    });
    let proxy = Proxy::to([&endpoint]).listener("h2c: true").start();
    let mut client = FrameClient::connect(&proxy.address());
    client.send(frame(HEADERS, WHOLE, 1, [0x82, 0x86, 0x84, 0x41, 1, b'a']));
    let (mut length, mut frames) = (0, 0);
    while length < PIECES {
        length += client.next_of(DATA).expect("more of the body").payload.len();
        frames += 1;
    }
    assert!(length == PIECES && frames < 50, "{length} bytes in {frames} frames");
}

/// An endpoint's `Date` is passed on, and one is added where there is none (RFC 9110, section 6.6.1): to clients of both
/// versions, from endpoints of both.
#[test]
fn a_date_is_passed_on_or_added() {
    if lacks("`Date` of an endpoint") {
        return;
    }
    const DATE: &str = "Thu, 01 Jan 1970 00:00:07 GMT";
    let one = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/dated" => exchange.status("200 OK", &format!("Date: {DATE}\r\n"), "a"),
        _ => exchange.status("200 OK", "", "a"),
    });
    let two = Http2Endpoint::scripted(|mut call| async move {
        let mut response = Response::builder();
        if call.path() == "/dated" {
            response = response.header("date", DATE);
        }
        call.begin(response).send_data(Bytes::from_static(b"a"), true).unwrap();
    });
    let to_two = Proxy::to([&two]).with("protocol: h2");
    for proxy in [Proxy::to([&one]), to_two] {
        let proxy = proxy.listener("h2c: true").start();
        let of_http2 = |path| {
            runtime().block_on(async {
                let answer = get(&connect(&proxy.address()).await, path).await;
                let dates =
                    answer.headers.get_all("date").iter().map(|date| date.to_str().unwrap().to_owned());
                dates.collect::<Vec<_>>()
            })
        };
        let of_http1 = |path| proxy.client().get(path).expect(200).head.all("date").join("|");
        assert_eq!((of_http1("/dated").as_str(), of_http2("/dated")), (DATE, vec![DATE.to_owned()]));
        let (first, second) = (of_http1("/none"), of_http2("/none"));
        for added in [first.as_str(), &second.join("|")] {
            assert!(added.ends_with(" GMT") && added.len() == DATE.len() && added != DATE, "{added}");
        }
    }
}
