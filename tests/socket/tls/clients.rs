//! What clients speak over TLS, and what both sides are told of it.

use std::fs;

use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

use super::{tls, with_tls};
use crate::harness::{Authority, Client, Endpoint, Proxy, ask, eventually, handshake, lacks};

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// The connection ends with TLS's own end, so that nobody takes a cut response for a whole one.
#[test]
fn http1_is_served_and_the_endpoint_is_told() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").listener("hsts: { max_age: 1d }").start();
    let mut stream = authority.client().connect(&proxy.address(), "a.example").unwrap();
    let answer = ask(&mut stream, GET).expect("an end that was said");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nstrict-transport-security: max-age=86400\r\n"), "{answer}");
    let seen = endpoint.seen("/x");
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;host=a.example;proto=https"));
    assert_eq!(seen.header("client-cert"), None);
}

#[test]
fn a_connection_serves_many_requests_and_bodies_of_any_size() {
    let authority = Authority::new();
    let large: String = "0123456789abcdef".repeat(200_000);
    let whole = large.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/large" => exchange.answer(&whole),
        _ => {
            let length = exchange.drain_body().to_string();
            exchange.answer(&length);
        }
    });
    let proxy = with_tls(&endpoint, &authority, "").start();
    let stream = authority.client().connect(&proxy.address(), "a.example").unwrap();
    let mut client = Client::over(stream.into());
    for _ in 0..3 {
        assert_eq!(client.get("/large").expect(200).body, large.as_bytes());
        let uploaded = client.upload("POST", "/upload", large.as_bytes());
        assert_eq!(uploaded.expect(200).text(), large.len().to_string());
    }
}

/// By ALPN; and HTTP/1.1 for those that offer nothing, or nothing else.
#[test]
fn http2_is_agreed_on() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = authority.client().alpn(&["h2", "http/1.1"]).config();
    let address = proxy.address();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..10 {
            let request = http::Request::get("https://a.example/two").body(()).unwrap();
            client = client.ready().await.unwrap();
            let response = client.send_request(request, true).unwrap().0.await.unwrap();
            assert_eq!(response.status(), 200);
        }
    });
    let seen = endpoint.requests();
    assert!(seen.iter().all(|seen| seen.header("x-forwarded-proto") == Some("https")));
    let record = proxy.records_of("/two", 10).remove(0);
    assert_eq!((record.text("protocol"), record.text("tls")), ("HTTP/2.0", "TLSv1.3"));
    let mut stream = authority.client().alpn(&["http/1.1"]).connect(&address, "a.example").unwrap();
    assert!(ask(&mut stream, GET).unwrap().starts_with("HTTP/1.1 200"));
}

/// Where it is off, clients that offer it speak HTTP/1.1, from a reload on.
#[test]
fn http2_can_be_off() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    let agreed = || {
        let client = authority.client().alpn(&["h2", "http/1.1"]);
        let mut stream = client.connect(&proxy.address(), "a.example").unwrap();
        let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        if protocol.as_deref() == Some(b"http/1.1") {
            assert!(ask(&mut stream, GET).unwrap().starts_with("HTTP/1.1 200"));
        }
        protocol
    };
    assert_eq!(agreed().as_deref(), Some(&b"h2"[..]));
    proxy.reload(&proxy.config_text().replace("routes:", "    http2: off\nroutes:"));
    eventually("the reload", || (proxy.status()["generation"] == 2).then_some(()));
    assert_eq!(agreed().as_deref(), Some(&b"http/1.1"[..]));
}

/// Without another whole handshake, before and after a reload that leaves the listener as it is.
#[test]
fn sessions_are_resumed() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    for versions in [TLS12, TLS13] {
        let proxy = with_tls(&endpoint, &authority, "").start();
        let config = authority.client().versions(versions).config();
        let kind = |proxy: &Proxy| {
            let mut stream = handshake(&config, &proxy.address(), "a.example").unwrap();
            ask(&mut stream, GET).unwrap();
            stream.conn.handshake_kind().unwrap()
        };
        assert_eq!(kind(&proxy), HandshakeKind::Full);
        assert_eq!(kind(&proxy), HandshakeKind::Resumed);
        proxy.reload(&proxy.config_text().replace("routes:", "# nothing changes\nroutes:"));
        assert_eq!(kind(&proxy), HandshakeKind::Resumed);
        let count = |result| proxy.metric("evenkeel_tls_handshakes_total", &[result]) as u64;
        assert_eq!((count("\"full\""), count("\"resumed\""), count("\"failed\"")), (1, 2, 0));
    }
}

#[test]
fn sessions_are_not_resumed_where_there_are_no_tickets() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, ", session_tickets: off").start();
    let config = authority.client().config();
    for _ in 0..2 {
        let mut stream = handshake(&config, &proxy.address(), "a.example").unwrap();
        ask(&mut stream, GET).unwrap();
        assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// Two proxies with one file of keys, as behind one name.
#[test]
fn machines_that_share_keys_resume_each_others_sessions() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let first = Proxy::to([&endpoint]);
    let issued = authority.issue(first.folder(), "a", &["a.example"]);
    let keys = first.folder().join("tickets");
    fs::write(&keys, format!("{}\n{}\n", "ab".repeat(32), "cd".repeat(32))).unwrap();
    let line = tls(&[&issued], &format!(", session_tickets: {{ keys: {} }}", keys.display()));
    let proxies = [first.listener(&line).start(), Proxy::to([&endpoint]).listener(&line).start()];
    let config = authority.client().config();
    let kinds = proxies.each_ref().map(|proxy| {
        let mut stream = handshake(&config, &proxy.address(), "a.example").unwrap();
        ask(&mut stream, GET).unwrap();
        stream.conn.handshake_kind().unwrap()
    });
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[test]
fn old_versions_are_not_spoken() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, ", min_version: 1.3").start();
    let old = authority.client().versions(TLS12);
    assert!(old.connect(&proxy.address(), "a.example").is_err());
    assert!(authority.client().connect(&proxy.address(), "a.example").is_ok());
}

/// Who they are, endpoints learn from us and from nobody else.
#[test]
fn certificates_of_clients_are_checked_and_told() {
    let (endpoint, authority, strangers) = (Endpoint::named("a"), Authority::new(), Authority::new());
    let proxy = Proxy::to([&endpoint]);
    let (folder, ca) = (proxy.folder().to_owned(), proxy.folder().join("ca.pem"));
    authority.write(&ca);
    let server = authority.issue(&folder, "a", &["a.example"]);
    let alice = authority.issue(&folder, "alice", &["alice.example"]);
    let mallory = strangers.issue(&folder, "mallory", &["alice.example"]);
    let line = |mode: &str| {
        tls(&[&server], &format!(", client_certificates: {{ ca: {}, mode: {mode} }}", ca.display()))
    };
    let forged = "GET /forged HTTP/1.1\r\nHost: a.example\r\nClient-Cert: :bm9ib2R5:\r\n\
                  X_Client_Cert_Subject: CN=root\r\nConnection: close\r\n\r\n";
    let proxy = proxy.listener(&line("required")).start();
    let refused = |client: crate::harness::TlsClient| {
        let stream = client.connect(&proxy.address(), "a.example");
        stream.is_err() || stream.is_ok_and(|mut stream| ask(&mut stream, GET).is_err())
    };
    assert!(refused(authority.client()) && refused(authority.client().identity(&mallory)));
    let mut stream = authority.client().identity(&alice).connect(&proxy.address(), "a.example").unwrap();
    assert!(ask(&mut stream, forged).unwrap().starts_with("HTTP/1.1 200"));
    let seen = endpoint.seen("/forged");
    assert_eq!(seen.header("x-client-cert-subject"), Some("CN=alice"));
    assert!(seen.header("client-cert").is_some_and(|told| told.starts_with(":MII") && told.ends_with(':')));
    assert_eq!(seen.header("x-client-cert-fingerprint").map(str::len), Some(64));
    assert_eq!(seen.header("x_client_cert_subject"), None);
    eventually("the refusals", || {
        let refused = proxy.metric("evenkeel_connections_refused_total", &["reason=\"tls_handshake\""]);
        (refused == 2.0).then_some(())
    });

    let lenient = Proxy::to([&endpoint]).listener(&line("optional")).start();
    let mut stream = authority.client().connect(&lenient.address(), "a.example").unwrap();
    assert!(ask(&mut stream, &forged.replace("/forged", "/nobody")).unwrap().starts_with("HTTP/1.1 200"));
    let seen = endpoint.seen("/nobody");
    assert_eq!((seen.header("client-cert"), seen.header("x_client_cert_subject")), (None, None));
}

/// Where its certificate is another, a host is not to be had by that connection.
#[test]
fn a_host_behind_another_certificate_is_misdirected() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = Proxy::to([&endpoint]);
    let a = authority.issue(proxy.folder(), "a", &["a.example", "also.example"]);
    let b = authority.issue(proxy.folder(), "b", &["b.example"]);
    let proxy = proxy.listener(&tls(&[&a, &b], "")).start();
    let ask = |name: &str, host: &str| {
        let stream = authority.client().connect(&proxy.address(), name).unwrap();
        let mut client = Client::over(stream.into());
        client.send(format!("GET /{host} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response().status
    };
    for (name, host, status) in [
        ("a.example", "a.example", 200),
        ("a.example", "A.EXAMPLE:8443", 200),
        ("a.example", "also.example", 200),
        ("a.example", "b.example", 421),
        // A dot at the end is no other host to routes, so it is none here.
        ("a.example", "b.example.", 421),
        ("b.example", "b.example.:8443", 200),
    ] {
        assert_eq!(ask(name, host), status, "{host} over {name}");
    }
    assert_eq!(proxy.record("/b.example").text("cause"), "misdirected");
}

#[test]
fn without_tls_clients_are_sent_to_https() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("redirect_https: 8443").start();
    let mut client = proxy.client();
    client.send("POST /a%2Fb?c=d HTTP/1.1\r\nHost: a.example:8080\r\nContent-Length: 0\r\n\r\n");
    let answer = client.response().expect(308);
    assert_eq!(answer.header("location"), Some("https://a.example:8443/a%2Fb?c=d"));
    let record = proxy.record("/a%2Fb?c=d");
    assert_eq!((record.text("action"), record.cause()), ("redirect_https", ""));
    assert_eq!(proxy.metric("evenkeel_request_failures_total", &[]), 0.0, "it is no failure");
    let mut client = proxy.client();
    assert_eq!(client.get("/y").expect(308).header("location"), Some("https://test.example:8443/y"));
    // Where it is not known which site is asked for, it is not served without TLS either.
    proxy.client().send("GET /secret HTTP/1.0\r\n\r\n").response().expect(400);
    assert_eq!(proxy.record("/secret").cause(), "missing_host");
    if !lacks("hosts with an empty port") {
        let named = "GET http://b.example/z HTTP/1.0\r\n\r\n";
        let answer = proxy.client().send(named).response().expect(308);
        assert_eq!(answer.header("location"), Some("https://b.example:8443/z"));
    }
    assert_eq!(endpoint.requests().len(), 0);
    proxy.reload(&proxy.config_text().replace("8443", "443"));
    let location = || proxy.client().get("/y").header("location").map(str::to_owned);
    eventually("the other port", || (location()? == "https://test.example/y").then_some(()));
}
