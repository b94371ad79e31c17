//! gRPC: calls with trailers, failures that its clients understand, deadlines, and its health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};

use super::to;
use crate::harness::http2::{connect, runtime};
use crate::harness::http2_endpoint::{Http2Endpoint, trailers};
use crate::harness::{Endpoint, Proxy, eventually, lacks};

/// More fields of a call.
type Meta<'a> = &'a [(&'a str, &'a str)];

fn call(path: &str, more: Meta<'_>) -> Request<()> {
    let mut request = Request::post(format!("http://test.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// What a call ends with: its body, and where its status is said, in the head or in trailers.
async fn end(client: &SendRequest<Bytes>, request: Request<()>) -> (HeaderMap, Vec<u8>, Option<HeaderMap>) {
    let (response, mut sink) = client.clone().ready().await.unwrap().send_request(request, false).unwrap();
    sink.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let (head, mut stream) = response.into_parts();
    // Where the head has the status it is the end, too: some clients take anything behind it for a broken stream.
    assert_eq!(head.headers.contains_key("grpc-status"), stream.is_end_stream());
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        body.extend_from_slice(&piece.unwrap());
    }
    (head.headers, body, stream.trailers().await.unwrap())
}

#[test]
fn calls_pass_with_their_trailers() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        call.body_length().await.unwrap();
        if call.path() == "/a.B/Fails" {
            let only =
                Response::builder().header("content-type", "application/grpc").header("grpc-status", "5");
            call.respond.send_response(only.body(()).unwrap(), true).unwrap();
        } else {
            call.answer_grpc(b"answer", "0");
        }
    });
    let proxy = to(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (_, body, trailers) = end(&client, call("/a.B/C", &[("x-meta-bin", "AAE=")])).await;
        assert_eq!(
            (body.as_slice(), trailers.unwrap()["grpc-status"].as_bytes()),
            (&b"answer"[..], &b"0"[..])
        );
        let (head, _, trailers) = end(&client, call("/a.B/Fails", &[])).await;
        assert_eq!((head["grpc-status"].as_bytes(), trailers), (&b"5"[..], None));
    });
    let seen = &endpoint.seen()[0];
    assert_eq!(
        (&seen.headers["te"], &seen.headers["x-meta-bin"]),
        (&"trailers".parse().unwrap(), &"AAE=".parse().unwrap())
    );
    assert_eq!(proxy.record("/a.B/C").number("grpc_status"), 0);
    assert_eq!(proxy.record("/a.B/Fails").number("grpc_status"), 5);
}

/// Failures are said as gRPC says them, with 200 and a status: an HTML 503 would be an unknown error.
#[test]
fn failures_have_a_status_of_grpc() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        match call.path() {
            "/a.B/Resets" => call.respond.send_reset(Reason::INTERNAL_ERROR),
            _ => std::future::pending().await,
        }
    });
    let unreachable = "name: unreachable, match: { paths: [/none] }, pool: none";
    let routes = [unreachable, "name: calls, match: { paths: [/a.B] }, pool: default"];
    let proxy = to(&endpoint).pool("none", ["127.0.0.1:1"]).with("protocol: h2").routes(&routes).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for (path, expected, more) in [
            ("/a.B/Resets", "14", &[][..]),
            ("/none/X", "14", &[]),
            ("/nowhere/X", "12", &[]),
            ("/a.B/Silent", "4", &[("grpc-timeout", "200m")]),
        ] {
            let (head, body, trailers) = end(&client, call(path, more)).await;
            assert_eq!(
                (head["grpc-status"].as_bytes(), body.len(), trailers),
                (expected.as_bytes(), 0, None),
                "{path}"
            );
            assert_eq!(head["content-type"], "application/grpc");
            assert!(head.contains_key("grpc-message"));
        }
    });
    let record = proxy.record("/a.B/Silent");
    assert_eq!((record.text("cause"), record.number("grpc_status")), ("request_deadline", 4));
}

/// A response that breaks off ends with trailers that say so.
#[test]
fn a_call_that_breaks_off_has_a_status() {
    if lacks("a gRPC response that breaks off") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let mut sink = call.begin(Response::builder().header("content-type", "application/grpc"));
        sink.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        sink.send_reset(Reason::INTERNAL_ERROR);
    });
    let proxy = to(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (_, body, trailers) = end(&client, call("/a.B/Breaks", &[])).await;
        assert_eq!(
            (body.as_slice(), trailers.unwrap()["grpc-status"].as_bytes()),
            (&b"half"[..], &b"14"[..])
        );
    });
    assert_eq!(proxy.record("/a.B/Breaks").text("cause"), "response_cut");
}

/// Without gRPC's content type a failure looks as it always does; HTTP/1.1 endpoints make no difference.
/// A call that is refused for its form or its size is told so in the same way, and those beside it go on.
#[test]
fn refused_heads_have_a_status_of_grpc() {
    if lacks("malformed HTTP/2 requests") {
        return;
    }
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        call.body_length().await.unwrap();
        call.answer_grpc(b"answer", "0");
    });
    let proxy = to(&endpoint).start();
    let many: Vec<String> = (0..120).map(|n| format!("x-meta-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let large = "x".repeat(40_000);
    let cases: [(&str, Meta<'_>, &str); 4] = [
        ("/a.B/Large", &[("x-meta", &large)], "8"),
        ("/a.B/Many", &many, "8"),
        ("/a.B/Length", &[("content-length", "x")], "13"),
        ("/a.B/Blank", &[("x-meta", " x")], "13"),
    ];
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for (path, fields, status) in cases {
            let (head, _, _) = end(&client, call(path, fields)).await;
            assert_eq!(head["grpc-status"].as_bytes(), status.as_bytes(), "{path}");
        }
        let (_, body, _) = end(&client, call("/a.B/C", &[])).await;
        assert_eq!(body, b"answer");
    });
    assert_eq!(proxy.record("/a.B/Large").cause(), "headers_too_large");
    assert_eq!(proxy.record("/a.B/Many").number("grpc_status"), 8);
}

#[test]
fn others_are_told_as_always() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .listener("h2c: true")
        .routes(&["match: { paths: [/a] }, pool: default"])
        .start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (head, _, _) = end(&client, call("/nowhere", &[])).await;
        assert_eq!(head["grpc-status"], "12");
        let plain = Request::post("http://test.example/nowhere").body(()).unwrap();
        let (response, _) = client.ready().await.unwrap().send_request(plain, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 404);
    });
}

/// Fault: many messages of five bytes on one stream, both ways.
#[test]
fn small_messages_are_no_flood() {
    if lacks("very many small messages") {
        return;
    }
    messages_pass(50_000);
}

#[test]
#[ignore = "a minute"]
fn a_million_small_messages_are_no_flood() {
    messages_pass(1_000_000);
}

fn messages_pass(messages: usize) {
    let endpoint = Http2Endpoint::scripted(move |mut call| async move {
        let mut sink = call.begin(Response::builder());
        let length = call.body_length().await.unwrap();
        assert_eq!(length, 5 * messages);
        for sent in 0..messages {
            if sent % 1000 == 0 {
                tokio::task::yield_now().await;
            }
            sink.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
        }
        sink.send_trailers(trailers("0")).unwrap();
    });
    let proxy = to(&endpoint).start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let (response, mut sink) =
            client.ready().await.unwrap().send_request(call("/a.B/Stream", &[]), false).unwrap();
        let sender = tokio::spawn(async move {
            for sent in 0..messages {
                sink.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                if sent % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            sink.send_data(Bytes::new(), true).unwrap();
        });
        let mut body = response.await.unwrap().into_body();
        let mut length = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            length += piece.len();
        }
        assert_eq!((length, body.trailers().await.unwrap().is_some()), (5 * messages, true));
        sender.await.unwrap();
    });
    assert_eq!(proxy.record("/a.B/Stream").number("bytes_in"), 5 * messages as u64);
}

/// A call that fails is HTTP status 200 and says so at its end; its endpoint is an outlier all the same.
#[test]
fn failed_calls_speak_against_their_endpoint() {
    let answers = |status: &'static str| {
        Http2Endpoint::scripted(move |mut call| async move {
            call.body_length().await.unwrap();
            call.answer_grpc(b"answer", status);
        })
    };
    let (bad, well) = (answers("14"), answers("5"));
    let proxy = Proxy::to([&bad, &well]).with("protocol: h2").listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        for _ in 0..40 {
            end(&client, call("/a.B/C", &[])).await;
        }
    });
    let ejected = proxy.event("an ejection", |event| event.message() == "endpoint is ejected");
    assert_eq!(ejected.text("endpoint"), bad.to_string());
    assert!(ejected.text("reason").starts_with("5 failures in a row (grpc-status 14: 5)"), "{ejected:?}");
    // Some were on their way, but not half of all.
    let tried = bad.count_of("/a.B/C");
    assert!((5..12).contains(&tried), "{tried}");
    assert_eq!(tried + well.count_of("/a.B/C"), 40);
}

/// The health service decides, by name and as a whole.
#[test]
fn the_health_service_is_asked() {
    // What it answers: 1 SERVING, 2 NOT_SERVING; 12: there is no such service.
    let health = Arc::new(AtomicU8::new(1));
    let told = health.clone();
    let endpoint = Http2Endpoint::scripted(move |mut call| {
        let health = told.load(SeqCst);
        async move {
            if call.path() != "/grpc.health.v1.Health/Check" {
                return call.answer("a");
            }
            let length = call.body_length().await.unwrap();
            // A question with the name of four letters.
            assert_eq!(length, 5 + 2 + 4);
            match health {
                1 => call.answer_grpc(&[0, 0, 0, 0, 2, 8, 1], "0"),
                2 => call.answer_grpc(&[0, 0, 0, 0, 2, 8, 2], "0"),
                _ => call.answer_grpc(b"", "12"),
            }
        }
    });
    let check =
        "type: grpc, service: shop, interval: 100ms, timeout: 2s, healthy_after: 1, unhealthy_after: 1";
    let proxy = to(&endpoint).health_check(check).start();
    let address = endpoint.to_string();
    proxy.get("/x").expect(200);
    for (now, state, reason) in
        [(2, "unhealthy", "NOT_SERVING"), (1, "healthy", ""), (12, "unhealthy", "has no health service")]
    {
        health.store(now, SeqCst);
        proxy.wait_until(&address, state);
        // The log may be a little behind.
        eventually(&format!("{state} because of {reason}"), || {
            proxy.changes_of(&address).last()?.text("reason").contains(reason).then_some(())
        });
    }
    proxy.get("/x").expect(503);
}

/// A probe of type http is sent over HTTP/2, too.
#[test]
fn http_probes_speak_http2() {
    let endpoint = Http2Endpoint::scripted(|mut call| async move {
        let status = if call.path() == "/healthz" { 204 } else { 200 };
        call.respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
    });
    let check = "type: http, path: /healthz, expect: [204], interval: 100ms, timeout: 2s";
    let proxy = to(&endpoint).health_check(check).start();
    proxy.get("/x").expect(200);
    assert!(endpoint.count_of("/healthz") > 0);
    let wrong = "type: http, path: /other, expect: [204], interval: 100ms, timeout: 2s";
    let proxy = to(&endpoint).health_check(wrong).start();
    proxy.get("/x").expect(503);
}
