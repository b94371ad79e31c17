//! Faults 11, 12, 14, 20 and 21: answers whose framing is doubtful, too large, or too early.

use std::thread;
use std::time::Duration;

use crate::harness::{Client, Endpoint, Engine, Proxy, engine};

/// An endpoint that answers `/x` with these bytes and is well otherwise; it keeps the connection.
fn answering(bytes: impl Into<Vec<u8>>) -> Endpoint {
    let bytes = bytes.into();
    Endpoint::scripted("faulty", move |exchange| match exchange.target() {
        "/x" => {
            exchange.send(&bytes);
        }
        _ => exchange.answer("well"),
    })
}

/// Fault 11: two lengths that differ are no length.
#[test]
fn two_differing_lengths_are_502() {
    let endpoint = answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nfour-nine");
    let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
    proxy.get("/x").expect(502);
    assert_eq!(proxy.record("/x").cause(), "bad_response");
    proxy.get("/next").expect(200);
    assert_ne!(endpoint.seen("/next").connection, endpoint.seen("/x").connection);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 12: a length beside chunks. The chunks hold, or it is 502; either way nobody reads what the length would have
/// cut off. The connection is not used again; Pingora, where it carries, keeps it.
#[test]
fn a_length_beside_chunks_is_no_length() {
    let endpoint = answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
    );
    let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
    let response = proxy.get("/x");
    match response.status {
        200 => assert_eq!(response.expect(200).text(), "four"),
        status => assert_eq!(status, 502),
    }
    assert_eq!(proxy.get("/next").expect(200).text(), "well");
    if engine() == Engine::Native {
        assert_ne!(endpoint.seen("/next").connection, endpoint.seen("/x").connection);
    }
    proxy.is_unharmed(endpoint.open());
}

/// Fault 14: a header without end is refused, and not kept.
#[test]
fn an_endless_header_is_502() {
    let endpoint = Endpoint::scripted("faulty", |exchange| {
        if exchange.target() != "/x" {
            return exchange.answer("well");
        }
        exchange.send("HTTP/1.1 200 OK\r\n");
        let field = format!("X-Long: {}\r\n", "x".repeat(8000));
        for _ in 0..8000 {
            if !exchange.send(&field) {
                return;
            }
        }
    });
    let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
    proxy.get("/before").expect(200);
    let before = proxy.memory();
    proxy.get("/x").expect(502);
    assert_eq!(proxy.record("/x").cause(), "bad_response");
    proxy.grew_less_than(16_000_000, before);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 20: a few interim answers pass, and the final one comes after them.
#[test]
fn interim_answers_pass() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".repeat(3);
    let endpoint = answering(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"));
    let mut proxy = Proxy::to([&endpoint]).start();
    let response = proxy.client().get("/x").expect(200);
    assert_eq!((response.interim, response.head.word(1)), (vec![103; 3], "200"));
    proxy.is_unharmed(endpoint.open());
}

/// An interim answer hides its endpoint like any other, and keeps what belongs to the connection to itself.
#[test]
fn interim_answers_tell_nothing_of_their_endpoint() {
    let endpoint = Endpoint::scripted("faulty", |exchange| {
        let address = exchange.header("host").unwrap().to_owned();
        exchange.send(format!(
            "HTTP/1.1 103 Early Hints\r\nServer: secret\r\nLocation: http://{address}/login\r\n\
             Content-Location: http://{address}/\r\nConnection: X-Hop\r\nX-Hop: secret\r\n\
             Keep-Alive: timeout=5\r\nLink: </a.css>\r\n\r\n"
        ));
        exchange.answer("done");
    });
    let proxy = Proxy::to([&endpoint]).with("host: endpoint").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n");
    let all = String::from_utf8(client.rest()).unwrap();
    assert!(all.starts_with("HTTP/1.1 103 ") && all.contains("Link: </a.css>"), "{all}");
    assert!(all.to_ascii_lowercase().contains("location: http://test.example/login\r\n"), "{all}");
    for hidden in ["secret", endpoint.address(), "Keep-Alive", "X-Hop"] {
        assert!(!all.contains(hidden), "{hidden}: {all}");
    }
}

/// Fault 20: more interim answers than anybody needs are no answer.
#[test]
fn a_flood_of_interim_answers_is_502() {
    let hints = |count: usize| "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".repeat(count);
    let done = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    let endpoint = answering(hints(20) + done);
    assert_eq!(Proxy::to([&endpoint]).start().client().get("/x").expect(200).interim, vec![103; 20]);
    if engine() == Engine::Pingora {
        // It passes on any number of them.
        return;
    }
    let endpoint = answering(hints(21) + done);
    let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
    proxy.client().get("/x").expect(502);
    assert_eq!(proxy.record("/x").cause(), "bad_response");
    proxy.get("/next").expect(200);
    assert_ne!(endpoint.seen("/next").connection, endpoint.seen("/x").connection);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 14: a header of 60 KiB passes, one of 64 KiB and one of a megabyte do not; nor do 201 fields.
#[test]
fn headers_of_responses_have_a_limit() {
    if engine() == Engine::Pingora {
        // It takes 256 fields and a megabyte.
        return;
    }
    let with = |fields: String| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\nwell");
    let long = |length: usize| with(format!("X: {}\r\n", "x".repeat(length)));
    for (bytes, status) in [
        (long(60 * 1024), 200),
        (long(64 * 1024), 502),
        (long(1 << 20), 502),
        (with("X: y\r\n".repeat(199)), 200),
        (with("X: y\r\n".repeat(200)), 502),
    ] {
        let endpoint = answering(bytes);
        let proxy = Proxy::to([&endpoint]).with("retry: off").start();
        proxy.get("/x").expect(status);
    }
}

/// Fault 21: the endpoint answers before it has read the body. The client gets that answer while it still sends.
#[test]
fn an_early_answer_is_passed_on() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/x" => {
            exchange.send(
                "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much",
            );
            // As a server should: what is on its way is read, or the answer is lost to a reset.
            exchange.ended_within(Duration::from_secs(3));
            exchange.close();
        }
        _ => exchange.answer("well"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 50000000\r\n\r\n");
    let response = thread::scope(|scope| {
        let mut upload = Client::over(client.stream().try_clone().unwrap());
        scope.spawn(move || {
            let piece = vec![b'x'; 10_000];
            while upload.try_send(&piece).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let response = client.response();
        // Ends the upload: the proxy would go on reading it for a while.
        client.half_close();
        response
    });
    assert_eq!((response.status, response.body.as_slice()), (413, b"too much".as_slice()));
    assert_eq!(proxy.record("/x").status(), 413);
    proxy.is_unharmed(endpoint.open());
}

/// Fault 21 for clients that send everything before they read anything: they are let finish, and have their answer.
#[test]
fn an_early_answer_waits_for_a_client_that_sends_first() {
    if engine() == Engine::Pingora {
        // It closes behind its answer.
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much");
        exchange.hang();
    });
    let refusing = Proxy::to([&endpoint]).listener("limits: { body_size: 1MiB }").start();
    let passing = Proxy::to([&endpoint]).start();
    for proxy in [&passing, &refusing] {
        let mut client = proxy.client();
        client.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 30000000\r\n\r\n");
        for _ in 0..300 {
            client.send(vec![b'x'; 100_000]);
        }
        client.response().expect(413);
        client.half_close();
        client.rest();
    }
}

/// A length that is no number, or one beyond every number, is no length.
#[test]
fn absurd_lengths_are_502() {
    for length in ["-1", "1e3", "0x10", "99999999999999999999999"] {
        let endpoint = answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nbody"));
        let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
        let response = proxy.get("/x");
        assert_eq!(response.status, 502, "Content-Length: {length}");
        proxy.is_unharmed(endpoint.open());
    }
}

/// Blanks behind a chunk's size and one length said twice mean one thing only: they pass, and go on in the normal form. A
/// coding said twice might mean another thing. Of clients, none of it is taken.
#[test]
fn what_endpoints_say_loosely_is_understood() {
    let loose = [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4 \r\nfour\r\n0  \r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nfour", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nfour", 200),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
            502,
        ),
    ];
    for (bytes, status) in loose {
        if engine() == Engine::Pingora && !bytes.contains("4 \r\n") {
            // It has its own way with lengths and codings.
            continue;
        }
        let endpoint = answering(bytes);
        let proxy = Proxy::to([&endpoint]).with("retry: off").start();
        let response = proxy.get("/x").expect(status);
        if status == 200 {
            assert_eq!((response.text(), response.header("content-length").unwrap_or("4")), ("four", "4"));
        }
    }
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    if engine() == Engine::Native {
        for fields in
            ["Transfer-Encoding: chunked\r\n\r\n4 \r\nfour\r\n0\r\n\r\n", "Content-Length: 4, 4\r\n\r\nfour"]
        {
            let mut client = proxy.client();
            client.send(format!("POST /strict HTTP/1.1\r\nHost: a\r\n{fields}"));
            client.response().expect(400);
        }
        assert_eq!(endpoint.count(), 0);
    }
}
