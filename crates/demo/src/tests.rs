//! The demo endpoints through real sockets, with a client that reads to the end of the connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::answer::duration;

const LIMIT: Duration = Duration::from_secs(10);

fn start() -> Endpoints {
    Endpoints::start_on(&[("a", 0), ("b", 0)]).expect("loopback has free ports")
}

fn first(endpoints: &Endpoints) -> SocketAddr {
    endpoints.addresses()[0].1
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the endpoint listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout above zero");
    stream
}

/// Sends the head with `Connection: close` and returns all that comes back.
fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "{head}\r\nHost: demo.test\r\nConnection: close\r\n\r\n").expect("the endpoint reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the endpoint answers and closes");
    String::from_utf8(answer).expect("the demo speaks UTF-8")
}

/// A refused connection, or none at all: what a client of a stopped endpoint sees.
fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "the condition did not come true in time");
        std::thread::yield_now();
    }
}

#[test]
fn each_endpoint_says_its_name_and_what_it_received() {
    let endpoints = start();
    for (name, address) in endpoints.addresses() {
        let answer = ask(*address, "GET /hello?x=1 HTTP/1.1\r\nX-Test: yes");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("Hello from {name} ({address})")), "{answer}");
        assert!(answer.contains("GET /hello?x=1 HTTP/1.1\n"), "{answer}");
        assert!(answer.contains("x-test: yes\n"), "{answer}");
    }
}

#[test]
fn json_is_given_to_those_who_accept_it() {
    let endpoints = start();
    let answer = ask(first(&endpoints), "GET / HTTP/1.1\r\nAccept: application/json");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    let report: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(report["endpoint"], "a");
    assert_eq!(report["headers"]["host"], "demo.test");
    assert_eq!(report["request"], 1);
}

#[test]
fn a_body_is_counted_after_100_continue() {
    let endpoints = start();
    let mut stream = connect(first(&endpoints));
    stream
        .write_all(b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .expect("the endpoint reads");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("an interim answer before the body");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").expect("the endpoint reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the endpoint answers and closes");
    assert!(answer.contains("(5 bytes of body)\nhello\n"), "{answer}");
}

#[test]
fn one_connection_carries_several_requests() {
    let endpoints = start();
    let mut stream = connect(first(&endpoints));
    for number in 1..=3 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")
            .expect("still open");
        let mut answer = String::new();
        while !answer.ends_with("}\n") {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).expect("an answer");
            assert_ne!(length, 0, "closed early: {answer}");
            answer.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        assert!(answer.contains(&format!("\"request\":{number},")), "{answer}");
    }
}

#[test]
fn failures_come_as_ordered() {
    let endpoints = start();
    assert!(ask(first(&endpoints), "GET /fail HTTP/1.1").starts_with("HTTP/1.1 500 "));
    assert!(ask(first(&endpoints), "GET /fail?status=503 HTTP/1.1").starts_with("HTTP/1.1 503 "));
    assert!(ask(first(&endpoints), "GET /fail?status=200 HTTP/1.1").starts_with("HTTP/1.1 500 "));
}

#[test]
fn slow_is_as_slow_as_asked() {
    let endpoints = start();
    let start = Instant::now();
    assert!(ask(first(&endpoints), "GET /slow?ms=150 HTTP/1.1").starts_with("HTTP/1.1 200 "));
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn big_is_exactly_as_big_as_asked() {
    let endpoints = start();
    let answer = ask(first(&endpoints), "GET /big?size=200001 HTTP/1.1");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    assert_eq!(body.len(), 200_001);
    let head = ask(first(&endpoints), "HEAD /big?size=200001 HTTP/1.1");
    assert!(head.contains("200001"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn events_come_one_by_one_and_end() {
    let endpoints = start();
    let answer = ask(first(&endpoints), "GET /events?count=3&ms=1 HTTP/1.1");
    assert!(answer.contains("text/event-stream"), "{answer}");
    assert!(answer.contains("data: event 3 of 3 from a\n\n"), "{answer}");
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    let old = ask(first(&endpoints), "GET /events?count=2&ms=1 HTTP/1.0");
    assert!(old.ends_with("data: event 2 of 2 from a\n\n"), "{old}");
    assert!(!old.to_lowercase().contains("transfer-encoding"), "{old}");
}

#[test]
fn a_stopped_endpoint_closes_and_comes_back_on_the_same_port() {
    let endpoints = start();
    let address = first(&endpoints);
    let mut idle = connect(address);
    // Waits for an answer, so that the connection has been accepted before the stop.
    idle.write_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the endpoint reads");
    let mut answer = [0; 1024];
    assert_ne!(idle.read(&mut answer).expect("an answer"), 0);

    let answer = ask(address, "POST /stop?for=1500ms HTTP/1.1\r\nContent-Length: 0");
    assert!(answer.contains("a stops for 1.5s"), "{answer}");
    wait_until(|| refuses(address));
    assert!(idle.read(&mut [0; 1]).map_or(true, |length| length == 0), "an idle connection is closed");
    assert!(
        ask(endpoints.addresses()[1].1, "GET / HTTP/1.1").contains("Hello from b"),
        "the other one serves"
    );
    wait_until(|| !refuses(address));
    assert!(ask(address, "GET / HTTP/1.1").contains("Hello from a"));
}

#[test]
fn a_stop_is_refused_through_a_proxy_and_without_post() {
    let endpoints = start();
    let through =
        ask(first(&endpoints), "POST /stop HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nContent-Length: 0");
    assert!(through.starts_with("HTTP/1.1 403 "), "{through}");
    assert!(ask(first(&endpoints), "GET /stop HTTP/1.1").starts_with("HTTP/1.1 405 "));
    assert!(ask(first(&endpoints), "POST /stop?for=soon HTTP/1.1\r\nContent-Length: 0").contains(" 400 "));
    assert!(!refuses(first(&endpoints)));
}

#[test]
fn a_taken_port_moves_the_endpoint_to_a_free_one() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound address").port();
    let endpoints = Endpoints::start_on(&[("a", port)]).expect("another port is free");
    assert_ne!(first(&endpoints).port(), port);
    assert!(ask(first(&endpoints), "GET / HTTP/1.1").contains("Hello from a"));
}

#[test]
fn durations_of_a_stop() {
    assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(duration("20s"), Some(Duration::from_secs(20)));
    assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
    assert_eq!(duration("3"), Some(Duration::from_secs(3)));
    assert_eq!(duration("99999m"), Some(Duration::from_secs(600)));
    for wrong in ["", "s", "-1s", "1h", "1.5s"] {
        assert_eq!(duration(wrong), None, "{wrong}");
    }
}
