//! Faults 3, 4 and 5: the connection ends before a whole response header.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use crate::harness::{Endpoint, Exchange, Proxy, SOON};

/// Reads the request, and resets in the middle of the response's header.
fn resets_in_its_header(exchange: &mut Exchange) {
    exchange.drain_body();
    exchange.send("HTTP/1.1 200 OK\r\nContent-");
    // The bytes must have been taken before the reset discards them.
    thread::sleep(Duration::from_millis(30));
    exchange.reset();
}

/// Reads the request, and closes with no byte.
fn closes(exchange: &mut Exchange) {
    exchange.drain_body();
    exchange.close();
}

/// Two endpoints of which the one with this script is met first by every second request.
fn beside_a_well_one(script: fn(&mut Exchange)) -> (Endpoint, Endpoint, Proxy) {
    let faulty = Endpoint::scripted("faulty", script);
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&faulty, &well]).start();
    (faulty, well, proxy)
}

/// Sends ten GETs: all are answered, those that met the fault by a second attempt elsewhere.
fn gets_move_on(script: fn(&mut Exchange)) {
    let (faulty, well, mut proxy) = beside_a_well_one(script);
    for _ in 0..10 {
        assert_eq!(proxy.get("/get").expect(200).text(), "well");
    }
    assert_eq!(well.count(), 10);
    let mut moved = proxy.records_of("/get", 10);
    moved.retain(|record| record.attempts().len() == 2);
    assert!(moved.len() == faulty.count() && faulty.count() > 0, "{} met the fault", faulty.count());
    for record in moved {
        assert_eq!(record.results(), ["endpoint_reset", "200"]);
    }
    proxy.is_unharmed(well.open());
}

/// Sends ten POSTs: those that met the fault are answered 502, and no endpoint sees any of them a second time.
fn posts_do_not_move_on(script: fn(&mut Exchange)) {
    let (faulty, well, mut proxy) = beside_a_well_one(script);
    let mut statuses: HashMap<u16, usize> = HashMap::new();
    for n in 0..10 {
        let response = proxy.client().upload("POST", &format!("/post/{n}"), b"pay");
        *statuses.entry(response.status).or_default() += 1;
    }
    assert_eq!(statuses, [(200, 5), (502, 5)].into());
    assert_eq!((faulty.count(), well.count()), (5, 5));
    for n in 0..10 {
        let target = format!("/post/{n}");
        assert_eq!(faulty.count_of(&target) + well.count_of(&target), 1, "{target} was sent twice");
        let record = proxy.record(&target);
        let cause = if record.status() == 502 { "endpoint_reset" } else { "" };
        assert_eq!((record.cause(), record.attempts().len()), (cause, 1));
    }
    proxy.is_unharmed(well.open());
}

/// Fault 3 for what may be repeated.
#[test]
fn a_get_moves_on_after_a_reset_in_the_header() {
    gets_move_on(resets_in_its_header);
}

/// Fault 3 for what may not.
#[test]
fn a_post_is_not_repeated_after_a_reset_in_the_header() {
    posts_do_not_move_on(resets_in_its_header);
}

/// Fault 4 for what may be repeated. Pingora alone does not repeat on a new connection.
#[test]
fn a_get_moves_on_after_a_close_with_no_bytes() {
    gets_move_on(closes);
}

/// Fault 4 for what may not.
#[test]
fn a_post_is_not_repeated_after_a_close_with_no_bytes() {
    posts_do_not_move_on(closes);
}

/// PUT and DELETE may be repeated, and their body comes along.
#[test]
fn a_put_is_repeated_with_its_body() {
    let (_faulty, well, proxy) = beside_a_well_one(closes);
    for _ in 0..2 {
        proxy.client().upload("PUT", "/put", b"the whole body").expect(200);
        proxy.client().upload("DELETE", "/put", b"the whole body").expect(200);
    }
    assert_eq!(well.count(), 4);
    assert!(well.requests().iter().all(|seen| seen.whole && seen.body == b"the whole body"));
}

/// A body that is too long to be kept is not repeated in part: the answer is 502, never a short body elsewhere.
#[test]
fn a_long_put_is_repeated_whole_or_not_at_all() {
    let (_faulty, well, proxy) = beside_a_well_one(closes);
    let body = vec![b'x'; 1_000_000];
    for _ in 0..4 {
        let response = proxy.client().upload("PUT", "/put", &body);
        assert!([200, 502].contains(&response.status), "{}", response.status);
    }
    assert!(well.requests().iter().all(|seen| seen.whole && seen.body_length == body.len()));
}

/// Faults 3 and 4 at every endpoint: one attempt at each, and 502.
#[test]
fn when_all_reset_the_answer_is_502() {
    let faulty = [(); 3].map(|()| Endpoint::scripted("faulty", resets_in_its_header));
    let proxy = Proxy::to(&faulty).start();
    proxy.get("/x").expect(502);
    assert_eq!(faulty.each_ref().map(Endpoint::count), [1, 1, 1]);
    let record = proxy.record("/x");
    assert_eq!((record.status(), record.cause()), (502, "endpoint_reset"));
    assert_eq!(record.results(), ["endpoint_reset"; 3]);
}

/// An endpoint that answers and closes at once, without saying so: the next request races with the close.
fn closes_after_each_answer(name: &str) -> Endpoint {
    Endpoint::scripted(name, |exchange| {
        exchange.answer("ok");
        exchange.close();
    })
}

/// Fault 5: pooled connections are closed by the endpoint at the moment of reuse. No GET fails.
#[test]
fn no_get_is_lost_to_the_keep_alive_race() {
    let endpoints = ["a", "b"].map(closes_after_each_answer);
    let mut proxy = Proxy::to(&endpoints).start();
    let address = proxy.address();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = crate::harness::Client::connect(&address);
                for _ in 0..500 {
                    client.get("/race").expect(200);
                }
            });
        }
    });
    proxy.is_unharmed(endpoints.iter().map(Endpoint::open).sum());
}

/// Fault 5 for POST: one that raced may fail, but none reaches an endpoint twice.
#[test]
fn no_post_is_sent_twice_in_the_keep_alive_race() {
    let endpoints = ["a", "b"].map(closes_after_each_answer);
    let mut proxy = Proxy::to(&endpoints).start();
    let mut client = proxy.client();
    for n in 0..300 {
        let response = client.upload("POST", &format!("/post/{n}"), b"pay");
        assert!([200, 502].contains(&response.status), "{}", response.status);
        if response.status != 200 {
            client = proxy.client();
        }
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for request in endpoints.iter().flat_map(Endpoint::requests) {
        *seen.entry(request.target().to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "sent more than once: {twice:?}");
    proxy.is_unharmed(2);
}

/// Fault 5, the plain case: a pooled connection that was closed a while ago is not used for a POST.
#[test]
fn a_connection_closed_while_idle_is_not_used() {
    let endpoint = closes_after_each_answer("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    for n in 0..10 {
        endpoint.wait_until_free(SOON);
        // Until the proxy has seen the close as well.
        thread::sleep(Duration::from_millis(50));
        client.upload("POST", &format!("/post/{n}"), b"pay").expect(200);
    }
    assert_eq!(endpoint.count(), 10);
}
