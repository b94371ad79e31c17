//! Upgraded connections: bytes both ways for as long as they are used, and nothing of it where the upgrade is refused.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};

use crate::harness::{Client, Endpoint, Engine, Exchange, Gate, Proxy, SOON, SWITCHING, engine, lacks};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Switches, and greets in the same breath; not faster than an endpoint on another machine would (see
/// `a_fast_101_loses_no_tunnel`).
fn switch(exchange: &mut Exchange) {
    thread::sleep(Duration::from_millis(20));
    exchange.send(format!("{SWITCHING}hello"));
}

/// Switches, and sends back whatever comes.
fn echo(exchange: &mut Exchange) {
    switch(exchange);
    echo_on(exchange);
}

fn echo_on(exchange: &mut Exchange) {
    loop {
        let bytes = exchange.receive();
        if bytes.is_empty() || !exchange.send(&bytes) {
            break;
        }
    }
    exchange.close();
}

/// A tunnel through the proxy, greeted.
fn tunnel(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(UPGRADE);
    let head = client.head_only();
    assert_eq!(head.word(1), "101");
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert!(
        head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{}",
        head.raw
    );
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.bytes(5), b"hello");
    client
}

#[test]
fn bytes_go_both_ways_and_are_logged() {
    let endpoint = Endpoint::scripted("a", echo);
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = tunnel(&proxy);
    for n in 0..20 {
        let message = format!("message {n}");
        client.send(&message);
        assert_eq!(client.bytes(message.len()), message.as_bytes());
    }
    let seen = endpoint.seen("/ws");
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    drop(client);
    let record = proxy.record("/ws");
    assert_eq!((record.status(), record.cause()), (101, ""));
    endpoint.wait_until_free(SOON);
}

/// A tunnel lives for as long as it is used, past every timeout that is meant for bodies, and a pause shorter than
/// `tunnel` does it no harm. Pingora alone cuts it when the client is silent for the length of a body's timeout.
#[test]
fn a_used_tunnel_outlives_the_timeouts_of_bodies() {
    let endpoint = Endpoint::scripted("a", echo);
    let proxy = Proxy::to([&endpoint])
        .listener("timeouts: { body: 500ms, write: 500ms, keep_alive: 500ms }")
        .with("timeouts: { idle: 500ms, response: 500ms, write: 500ms, keep_alive: 500ms, tunnel: 10s }")
        .start();
    let mut client = tunnel(&proxy);
    for pause in [200, 200, 200, 200, 1800, 200] {
        thread::sleep(Duration::from_millis(pause));
        client.send("ping");
        assert_eq!(client.bytes(4), b"ping");
    }
}

/// A tunnel in which only one side speaks is used.
#[test]
fn a_tunnel_with_one_speaker_is_used() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        switch(exchange);
        for _ in 0..12 {
            thread::sleep(Duration::from_millis(200));
            if !exchange.send("tick") {
                return;
            }
        }
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint])
        .listener("timeouts: { body: 600ms }")
        .with("timeouts: { idle: 600ms, tunnel: 1s }")
        .start();
    let mut client = tunnel(&proxy);
    assert_eq!(client.rest(), b"tick".repeat(12));
}

/// A tunnel on which nothing moves ends after `tunnel`.
#[test]
fn a_silent_tunnel_ends() {
    let endpoint = Endpoint::scripted("a", echo);
    let proxy = Proxy::to([&endpoint]).with("timeouts: { tunnel: 1s }").start();
    let mut client = tunnel(&proxy);
    client.send("ping");
    client.bytes(4);
    let start = Instant::now();
    client.closed_within(SOON);
    assert!(start.elapsed() > Duration::from_millis(900), "ended after {:?}", start.elapsed());
    endpoint.wait_until_free(SOON);
}

/// Either side's end is the tunnel's end, and what was sent before it arrives.
#[test]
fn either_side_ends_a_tunnel() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        switch(exchange);
        let asked = exchange.receive();
        exchange.send(format!("{} bye", String::from_utf8_lossy(&asked)));
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = tunnel(&proxy);
    client.send("well?");
    assert_eq!(client.rest(), b"well? bye");

    let client = tunnel(&proxy);
    drop(client);
    endpoint.wait_until_free(SOON);
}

/// A lot of bytes both ways at once.
#[test]
fn a_tunnel_carries_megabytes() {
    let endpoint = Endpoint::scripted("a", echo);
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = tunnel(&proxy);
    let piece: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let mut sender = Client::over(client.stream().try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                sender.send(&piece);
            }
        });
        for _ in 0..50 {
            assert!(client.bytes(piece.len()) == piece);
        }
    });
}

/// The endpoint's 101 may be there before the proxy has ended with the request, and no tunnel is torn down by that. On
/// several threads Pingora loses about one in fifty to that race when endpoints are as near as here.
#[test]
fn a_fast_101_loses_no_tunnel() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/ws" => {
            exchange.send(format!("{SWITCHING}hello"));
            echo_on(exchange);
        }
        _ => exchange.answer("plain"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut lost = 0;
    for _ in 0..200 {
        let mut client = proxy.client();
        client.send(UPGRADE);
        assert_eq!(client.head_only().word(1), "101");
        client.send("ping");
        if !client.receives(b"helloping") {
            lost += 1;
        }
    }
    assert_eq!(lost, 0, "tunnels of 200 were lost");
    proxy.is_unharmed(endpoint.open());
}

/// Fault 18: an upgrade that is refused is a plain answer, and bytes that follow are a request of their own, not a
/// tunnel past the proxy.
#[test]
fn a_refused_upgrade_is_a_plain_answer() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/ws" => exchange.status("403 Forbidden", "", "no tunnel"),
        _ => exchange.answer("plain"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send(UPGRADE);
    assert_eq!(client.response().expect(403).text(), "no tunnel");
    // Either the connection ends here, or this is a request like any other.
    if client
        .try_send("GET /smuggled HTTP/1.1\r\nHost: test.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        .is_ok()
        && let Ok(response) = client.try_response_to("GET")
    {
        assert_eq!(response.expect(200).text(), "plain");
        assert_eq!(endpoint.seen("/smuggled").header("x-forwarded-for"), Some("127.0.0.1"));
        proxy.record("/smuggled");
    }
    proxy.is_unharmed(endpoint.open());
}

/// Fault 18, sent in the same breath: the second request is not tunnelled with the first.
#[test]
fn bytes_behind_an_upgrade_are_not_tunnelled() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/ws" => exchange.status("200 OK", "", "no tunnel"),
        _ => exchange.answer("plain"),
    });
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send(format!("{UPGRADE}GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"));
    assert_eq!(client.response().expect(200).text(), "no tunnel");
    let _ = client.try_response_to("GET");
    for seen in endpoint.requests().iter().filter(|seen| seen.target() == "/smuggled") {
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    proxy.is_unharmed(endpoint.open());
}

/// Fault 19: a switch that nobody asked for is no answer.
#[test]
fn a_switch_that_nobody_asked_for_is_502() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/x" => {
            exchange.send(format!("{SWITCHING}hello"));
            exchange.close();
        }
        _ => exchange.answer("plain"),
    });
    let mut proxy = Proxy::to([&endpoint]).with("retry: off").start();
    proxy.get("/x").expect(502);
    assert_eq!(proxy.record("/x").cause(), "bad_response");
    proxy.is_unharmed(endpoint.open());
}

/// The endpoint that refuses an upgrade has the time for its answer that any other has, not that of a tunnel.
#[test]
fn a_refused_upgrade_has_the_timeouts_of_bodies() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        exchange.hang();
    });
    let proxy = Proxy::to([&endpoint]).with("timeouts: { idle: 500ms, response: 500ms }").start();
    let mut client = proxy.client();
    client.send(UPGRADE);
    client.head_only();
    assert_eq!(client.bytes(4), b"half");
    client.closed_within(SOON);
    assert_eq!(proxy.record("/ws").cause(), "response_cut");
}

/// Nor has the client that asks for one with a body: it is no tunnel yet.
#[test]
fn a_stalled_body_that_asks_for_an_upgrade_is_408() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { body: 500ms }").start();
    let mut client = proxy.client();
    client.send(UPGRADE.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 10\r\n\r\nhalf"));
    client.response().expect(408);
}

/// An endpoint that takes its time for its 101 is waited for as long as for any other answer.
#[test]
fn a_slow_101_is_waited_for() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        thread::sleep(Duration::from_millis(1500));
        echo(exchange);
    });
    let proxy = Proxy::to([&endpoint]).listener("timeouts: { body: 500ms }").start();
    let mut client = tunnel(&proxy);
    client.send("ping");
    assert_eq!(client.bytes(4), b"ping");
}

/// What an endpoint says last arrives, though the client goes on talking: its bytes must not turn the end into a reset.
#[test]
fn the_last_words_of_an_endpoint_arrive_at_a_client_that_still_sends() {
    const WORDS: usize = 3_000_000;
    if engine() == Engine::Pingora {
        // It closes both sides as soon as one has ended.
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        switch(exchange);
        exchange.receive();
        exchange.send(vec![b'z'; WORDS]);
        exchange.half_close();
        exchange.hang();
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = tunnel(&proxy);
    for _ in 0..30 {
        client.send("still talking");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(client.bytes(WORDS).len(), WORDS);
}

/// They arrive though the endpoint takes nothing more, as when a WebSocket server closes at the client's close frame, and
/// the client has sent a ping behind it.
#[test]
fn the_last_words_of_an_endpoint_arrive_though_it_has_stopped_reading() {
    if engine() == Engine::Pingora {
        // It ends with the first error of either side.
        return;
    }
    let (asked, stopped) = (Gate::closed(), Gate::closed());
    let endpoint = Endpoint::scripted("a", {
        let (asked, stopped) = (asked.clone(), stopped.clone());
        move |exchange| {
            switch(exchange);
            exchange.receive();
            asked.open();
            stopped.wait();
            exchange.send("bye");
            exchange.reset();
        }
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = tunnel(&proxy);
    client.send("close");
    asked.wait();
    // Stopped, it finds all at once when it goes on: the words, the reset, and what the client has sent.
    proxy.signal(SIGSTOP);
    stopped.open();
    endpoint.wait_until_free(SOON);
    client.send("ping");
    proxy.signal(SIGCONT);
    assert_eq!(client.rest(), b"bye");
}

/// A client that does not even take the 101 is given up in the listener's time, as with any response. How much the kernel
/// takes before that is not ours to say, so each of these has more before its 101 than the last, and one or two of them
/// come to an end in it.
#[test]
fn a_client_that_does_not_take_the_101_has_stalled() {
    if engine() == Engine::Pingora {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target().strip_prefix("/fill/") {
        Some(length) => exchange.answer(&"x".repeat(length.parse().unwrap())),
        None => {
            let long = format!("X-Long: {}\r\n", "x".repeat(8000)).repeat(6);
            exchange.send(SWITCHING.replace("\r\n\r\n", &format!("\r\n{long}\r\n")));
            echo_on(exchange);
        }
    });
    let builder = Proxy::to([&endpoint]);
    let path = format!("unix:{}", builder.folder().join("listen.sock").display());
    let proxy = builder.listen("local", &path).listener("timeouts: { write: 500ms }").start();
    let clients: Vec<Client> = (0..12)
        .map(|n| {
            let mut client = Client::connect(&path);
            client.send(format!("GET /fill/{} HTTP/1.1\r\nHost: test.example\r\n\r\n{UPGRADE}", n * 24_000));
            client
        })
        .collect();
    for record in proxy.records_of("/ws", 1) {
        assert_eq!((record.status(), record.cause()), (101, "client_stalled"));
    }
    drop(clients);
}

/// A response that requires an upgrade says to which protocol (RFC 9110, section 15.5.22); others say nothing of it.
#[test]
fn a_426_names_the_protocol() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/426" => {
            exchange.status("426 Upgrade Required", "Connection: upgrade\r\nUpgrade: websocket\r\n", "no");
        }
        _ => exchange.status("200 OK", "Connection: upgrade\r\nUpgrade: h2c\r\n", "yes"),
    });
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    let required = client.get("/426").expect(426);
    assert_eq!((required.header("upgrade"), required.text()), (Some("websocket"), "no"));
    if engine() == Engine::Native {
        assert_eq!(required.header("connection"), Some("upgrade"));
    }
    let offered = client.get("/200").expect(200);
    assert_eq!(offered.header("upgrade"), None);
    if engine() == Engine::Native {
        assert_eq!(offered.header("connection"), None);
    }
    let last = proxy.client().request("GET", "/426", "Connection: close\r\n");
    if engine() == Engine::Native {
        assert_eq!(last.header("connection"), Some("close, upgrade"));
    }
}

/// A route says to which protocols clients may switch; by default to WebSockets alone. A request may have a body first, as
/// that of `docker exec` has; one that is not passed on goes as if it had not asked.
#[test]
fn a_route_says_what_may_be_switched_to() {
    if lacks("upgrades by a request with a body") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        match exchange.header("upgrade").map(str::to_owned) {
            Some(protocol) => {
                exchange.send(format!(
                    "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nhello"
                ));
                echo_on(exchange);
            }
            None => exchange.answer("plain"),
        }
    });
    let proxy = Proxy::to([&endpoint])
        .routes(&[
            "name: docker, match: { paths: [/docker] }, pool: default, upgrades: [tcp, spdy]",
            "name: any, match: { paths: [/any] }, pool: default, upgrades: any",
            "name: off, match: { paths: [/off] }, pool: default, upgrades: off",
            "name: default, pool: default",
        ])
        .start();
    let ask = |path: &str, protocol: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        client
    };
    for (path, protocol, expected) in [
        ("/docker", "tcp", "tcp"),
        ("/docker", "SPDY/3.1", "SPDY/3.1"),
        ("/docker", "x, tcp", "tcp"),
        ("/any", "x", "x"),
    ] {
        let mut client = ask(path, protocol);
        let head = client.head_only();
        assert_eq!((head.word(1), head.header("upgrade")), ("101", Some(expected)), "{path} {protocol}");
        assert_eq!(client.bytes(5), b"hello");
        client.send("ping");
        assert_eq!(client.bytes(4), b"ping");
    }
    for (path, protocol) in [("/docker", "x"), ("/x", "tcp"), ("/any", "h2c"), ("/off", "x")] {
        assert_eq!(ask(path, protocol).response().expect(200).text(), "plain", "{path} {protocol}");
    }
    let mut client = proxy.client();
    client.send(UPGRADE.replace("/ws", "/off"));
    assert_eq!(client.response().expect(200).text(), "plain");
}

/// A switch is an answer only if it is to what was asked for, and a WebSocket only with the proof of its key.
#[test]
fn a_switch_to_something_else_is_502() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let fields = match exchange.target() {
            "/none" => "",
            "/other" => "Upgrade: other\r\n",
            "/both" => "Upgrade: websocket, other\r\n",
            "/unproven" => "Upgrade: websocket\r\n",
            _ => "Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n",
        };
        exchange.send(format!("HTTP/1.1 101 S\r\nConnection: Upgrade\r\n{fields}\r\nhello"));
        exchange.close();
    });
    let proxy = Proxy::to([&endpoint]).with("retry: off").start();
    for path in ["/none", "/other", "/both", "/unproven", "/wrong"] {
        let mut client = proxy.client();
        client.send(UPGRADE.replace("/ws", path));
        client.response().expect(502);
        assert_eq!(proxy.record(path).cause(), "bad_response", "{path}");
    }
}

/// A request that is not complete yet cannot be answered by a switch (RFC 9110, section 7.8): the rest of its body would be
/// taken for the other protocol.
#[test]
fn a_switch_before_the_whole_request_is_502() {
    if lacks("upgrades by a request with a body") {
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        exchange.hang();
    });
    let proxy = Proxy::to([&endpoint])
        .with("retry: off")
        .routes(&["name: default, pool: default, upgrades: tcp"])
        .start();
    let mut client = proxy.client();
    client.send(
        "POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 9\r\n\r\nhalf",
    );
    client.response().expect(502);
}

/// `Upgrade` is a field of one connection: where `Connection` does not name it, nobody has asked for anything.
#[test]
fn an_upgrade_that_connection_does_not_name_is_none() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for (target, fields) in
        [("/a", ""), ("/b", "Connection: keep-alive\r\n"), ("/c", "Connection: x-upgrade\r\n")]
    {
        let fields = format!("Upgrade: websocket\r\n{fields}");
        assert_eq!(client.request("GET", target, &fields).expect(200).text(), "a");
        assert!(!endpoint.seen(target).head.has("upgrade"), "{target}");
    }
}
