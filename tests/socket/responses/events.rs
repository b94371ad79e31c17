//! Event streams on a route that compresses, beside responses that keep it busy: `make timing`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Proxy, lacks};

const EVENTS: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(20);
/// How late an event may be.
const LATE: Duration = Duration::from_millis(5);

#[test]
#[ignore = "takes a calm machine: make timing"]
fn for_twenty_seconds_no_event_is_late() {
    if lacks("`compress`, `intercept_errors`") {
        return;
    }
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let of_endpoint = sent.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/page" {
            let page = "<li>one of many lines that are alike</li>\n".repeat(500);
            return exchange.answer_with("Content-Type: text/html\r\n", &page);
        }
        exchange.drain_body();
        exchange
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..EVENTS {
            of_endpoint.lock().unwrap().push(Instant::now());
            exchange.chunk(&format!("data: {number}\n\n"));
            thread::sleep(PAUSE);
        }
        exchange.send("0\r\n\r\n");
    });
    let proxy = Proxy::to([&endpoint]).routes(&["name: default, pool: default, compress: on"]).start();
    let (address, is_over) = (proxy.address(), AtomicBool::new(false));
    let mut late: Vec<Duration> = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&address);
            while !is_over.load(Ordering::Relaxed) {
                let page = client.request("GET", "/page", "Accept-Encoding: gzip\r\n").expect(200);
                assert_eq!(page.header("content-encoding"), Some("gzip"));
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut client = Client::connect(&address);
        client.send("GET /events HTTP/1.1\r\nHost: test.example\r\nAccept-Encoding: gzip\r\n\r\n");
        let late = (0..EVENTS)
            .map(|number| {
                client.until(format!("data: {number}\n\n").as_bytes());
                sent.lock().unwrap()[number].elapsed()
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        late
    });
    late.sort();
    let (p50, p99, max) = (late[EVENTS / 2], late[EVENTS * 99 / 100], late[EVENTS - 1]);
    eprintln!("{EVENTS} events: p50 {p50:?}, p99 {p99:?}, the latest {max:?} after it was sent");
    assert!(max <= LATE, "{max:?}");
}
