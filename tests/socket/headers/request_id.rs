//! Every request has a name of its own, by which both sides' logs can be joined.

use std::collections::HashSet;

use crate::harness::{Endpoint, Proxy, nobody_listens};

/// Where the client sends none, one is made: unique, told to the endpoint, and in the log.
#[test]
fn an_id_is_made_where_there_is_none() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    for _ in 0..50 {
        proxy.get("/x").expect(200);
    }
    let told: HashSet<String> =
        endpoint.requests().iter().map(|seen| seen.header("x-request-id").unwrap().to_owned()).collect();
    let logged: HashSet<String> =
        proxy.records_of("/x", 50).iter().map(|record| record.text("request_id").to_owned()).collect();
    assert_eq!(told.len(), 50);
    assert_eq!(told, logged);
    assert!(
        told.iter().all(|id| id.len() >= 16 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    );
}

/// Where the client sends one, it is kept.
#[test]
fn an_id_is_kept() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.client().request("GET", "/x", "X-Request-Id: from-the-client-42\r\n").expect(200);
    assert_eq!(endpoint.seen("/x").header("x-request-id"), Some("from-the-client-42"));
    assert_eq!(proxy.record("/x").text("request_id"), "from-the-client-42");
}

/// What a client calls an id and is none is not let into the log: too long, or not made of visible ASCII.
#[test]
fn an_absurd_id_is_replaced() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    for (n, absurd) in ["x".repeat(5000), "two words \"quoted\"".to_owned(), String::new()].iter().enumerate()
    {
        let target = format!("/{n}");
        proxy.client().request("GET", &target, &format!("X-Request-Id: {absurd}\r\n")).expect(200);
        let told = endpoint.seen(&target).header("x-request-id").unwrap().to_owned();
        assert_ne!(&told, absurd);
        assert_eq!(proxy.record(&target).text("request_id"), told);
    }
}

/// All attempts of a request have the one id.
#[test]
fn attempts_share_their_requests_id() {
    let faulty = Endpoint::scripted("faulty", |exchange| {
        exchange.drain_body();
        exchange.close();
    });
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&faulty, &well]).start();
    for n in 0..2 {
        proxy.get(&format!("/{n}")).expect(200);
    }
    let tried = faulty.requests()[0].clone();
    let again = well.seen(tried.target());
    assert_eq!(tried.header("x-request-id"), again.header("x-request-id"));
}

/// An error page names the request, so that who sees it can ask for it.
#[test]
fn an_error_page_names_the_request() {
    let dead = nobody_listens();
    let proxy = Proxy::to([&dead]).start();
    let response = proxy.client().request("GET", "/x", "Accept: application/json\r\n").expect(503);
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["request_id"], proxy.record("/x").text("request_id"));
}
