//! The books: accepted = answered + refused + client gone + cut + in flight, for each listener, at every moment.

use std::thread;

use serde_json::Value;

use crate::harness::{Client, Endpoint, Gate, Proxy, eventually};

fn books(proxy: &Proxy, listener: &str) -> Value {
    let status = proxy.status();
    let listeners = status["listeners"].as_array().expect("listeners");
    let found = listeners.iter().find(|found| found["name"] == listener).expect("the listener");
    found["requests"].clone()
}

fn number(books: &Value, key: &str) -> u64 {
    books[key].as_u64().expect(key)
}

fn are_square(books: &Value) -> bool {
    let ends = ["answered", "refused", "client_gone", "cut", "in_flight"];
    number(books, "accepted") == ends.iter().map(|end| number(books, end)).sum::<u64>()
}

fn scripted(gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/held" | "/left" => {
            gate.wait();
            exchange.answer("late");
        }
        "/cut" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin");
            exchange.close();
        }
        _ => exchange.answer("whole"),
    })
}

/// Each end has its place, and what is under way has one, too.
#[test]
fn every_request_is_somewhere() {
    let gate = Gate::closed();
    let endpoint = scripted(&gate);
    let mut proxy =
        Proxy::to([&endpoint]).listen("other", "127.0.0.1:0").listen("default", "127.0.0.1:0").start();
    let address = proxy.address_of("default");
    let client = || Client::connect(&address);
    for _ in 0..3 {
        client().get("/x").expect(200);
    }
    client().get(&format!("/{}", "t".repeat(9000))).expect(414);
    let mut cut = client();
    cut.send("GET /cut HTTP/1.1\r\nHost: test.example\r\n\r\n");
    cut.until(b"begin");
    let mut left = client();
    left.send("GET /left HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let mut held = client();
    held.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    endpoint.wait_for_requests(6);
    left.reset();
    eventually("the books", || {
        let books = books(&proxy, "default");
        assert!(are_square(&books), "{books}");
        let expected = serde_json::json!({
            "accepted": 7, "answered": 3, "refused": 1, "client_gone": 1, "cut": 1, "in_flight": 1
        });
        (books == expected).then_some(())
    });
    assert_eq!(number(&books(&proxy, "other"), "accepted"), 0);
    let labels = ["listener=\"default\"", "outcome=\"answered\""];
    assert_eq!(proxy.metric("evenkeel_request_outcomes_total", &labels), 3.0);
    gate.open();
    held.response().expect(200);
    eventually("its end", || (number(&books(&proxy, "default"), "in_flight") == 0).then_some(()));
    drop((held, cut));
    proxy.is_unharmed(endpoint.open());
}

/// Whenever one looks, they are square, and in the end nothing is in flight.
#[test]
fn they_are_square_under_load() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..200 {
                    client.get("/x").expect(200);
                }
            });
        }
        for _ in 0..50 {
            let books = books(&proxy, "default");
            assert!(are_square(&books), "{books}");
        }
    });
    // A client can have its response before the request's record is closed.
    eventually("the last of them has ended", || {
        let books = books(&proxy, "default");
        (number(&books, "answered") == 800 && number(&books, "in_flight") == 0).then_some(())
    });
}
