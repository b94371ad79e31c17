//! Fault 1, of many endpoints at once: nothing has been sent, so nothing is lost while there is anybody who takes it.
//! No probe helps here: the first regular one comes after all of this.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::http2::{connect, get, runtime};
use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Proxy, eventually, nobody_listens};

const SELDOM: &str = "type: tcp, interval: 10m, timeout: 1s";

fn endpoints(count: usize) -> Vec<Endpoint> {
    (0..count).map(|index| Endpoint::named(&index.to_string())).collect()
}

fn all_healthy(proxy: &Proxy, endpoints: &[Endpoint]) {
    for endpoint in endpoints {
        proxy.wait_until(endpoint.address(), "healthy");
    }
}

/// Most of a pool dies at once: whatever `retry.limit` says, each request finds one of those that are left, and those
/// that have refused one request are passed over by the next ones.
#[test]
fn a_pool_most_of_which_dies_loses_nothing() {
    let mut all = endpoints(20);
    let proxy = Proxy::to(&all).with("retry: { limit: 2 }").health_check(SELDOM).start();
    all_healthy(&proxy, &all);
    all.iter_mut().skip(1).for_each(Endpoint::stop);
    for _ in 0..100 {
        assert_eq!(proxy.get("/get").expect(200).text(), "0");
        proxy.client().upload("POST", "/post", b"a body").expect(200);
    }
    let refused: usize =
        proxy.records_of("/get", 100).iter().map(|record| record.attempts().len() - 1).sum::<usize>()
            + proxy.records_of("/post", 100).iter().map(|record| record.attempts().len() - 1).sum::<usize>();
    assert!((1..200).contains(&refused), "{refused} refused connects in 200 requests");
    for dead in &all[1..] {
        proxy.wait_until(dead.address(), "unreachable");
    }
    proxy.get("/last").expect(200);
    let record = proxy.record("/last");
    assert_eq!(record.results(), ["200"], "it went where somebody was");
    assert_eq!(record.skipped(all[1].address()).as_deref(), Some("unreachable"));
    proxy.event("the event", |event| event.message() == "endpoint is unreachable");
}

/// Who refuses is tried all the same where nobody else is left, and is back as soon as it listens.
#[test]
fn who_comes_back_is_found_at_once() {
    for check in [Some(SELDOM), None] {
        let mut endpoint = Endpoint::named("a");
        let builder = Proxy::to([&endpoint]);
        let proxy = match check {
            Some(check) => builder.health_check(check).start(),
            None => builder.start(),
        };
        proxy.wait_until(endpoint.address(), "healthy");
        endpoint.stop();
        proxy.get("/dead").expect(503);
        let record = proxy.record("/dead");
        assert_eq!((record.cause(), record.results()), ("connect_failed", vec!["connect_failed".to_owned()]));
        proxy.wait_until(endpoint.address(), "unreachable");
        endpoint.start();
        proxy.get("/alive").expect(200);
        proxy.wait_until(endpoint.address(), "healthy");

        // Without a request, a probe finds it: of an endpoint without health check, too.
        endpoint.stop();
        proxy.get("/dead-again").expect(503);
        endpoint.start();
        proxy.wait_until(endpoint.address(), "healthy");
    }
}

/// Where all refuse, waiting begins at once, not after so many probes; it ends with the first of them that is back.
#[test]
fn where_all_refuse_the_wait_begins_at_once() {
    for check in [Some(SELDOM), None] {
        let mut all = endpoints(3);
        let builder = Proxy::to(&all).with("when_none_healthy: { wait: 60s }");
        let proxy = match check {
            Some(check) => builder.health_check(check).start(),
            None => builder.start(),
        };
        all_healthy(&proxy, &all);
        all.iter_mut().for_each(Endpoint::stop);
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
        let held: Vec<_> = clients
            .drain(..)
            .map(|mut client| thread::spawn(move || client.upload("POST", "/held", b"once").status))
            .collect();
        eventually("five that wait", || (proxy.status()["pools"][0]["waiting"] == 5).then_some(()));
        let started = Instant::now();
        all[1].start();
        for held in held {
            assert_eq!(held.join().unwrap(), 200);
        }
        assert!(started.elapsed() < Duration::from_secs(5), "woken after {:?}", started.elapsed());
        assert_eq!(all[1].count(), 5, "each arrives once");
        for record in proxy.records_of("/held", 5) {
            assert!(record.seconds("waited_seconds") > 0.0);
            assert_eq!((record.status(), record.cause()), (200, ""));
        }
        eventually("nobody that waits", || (proxy.status()["pools"][0]["waiting"] == 0).then_some(()));
    }
}

/// The same for clients of HTTP/2, to endpoints of either version: a pool most of which refuses, then all of it.
#[test]
fn clients_of_http2_lose_nothing_either() {
    for protocol in ["http/1.1", "h2"] {
        let mut dead = endpoints(5);
        dead.iter_mut().for_each(Endpoint::stop);
        let http1 = Endpoint::named("well");
        let http2 = Http2Endpoint::named("well");
        let well = if protocol == "h2" { http2.to_string() } else { http1.to_string() };
        let proxy = Proxy::to(dead.iter().map(ToString::to_string).chain([well]))
            .with(&format!("protocol: {protocol}"))
            .with("when_none_healthy: { wait: 60s }")
            .listener("h2c: true")
            .start();
        runtime().block_on(async {
            let client = connect(&proxy.address()).await;
            for _ in 0..20 {
                let answer = get(&client, "/most").await;
                assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"well".as_slice()));
            }
        });
        let tried: usize = proxy.records_of("/most", 20).iter().map(|record| record.attempts().len()).sum();
        assert!(tried < 60, "who has refused is passed over: {tried} attempts");
    }
}

#[test]
fn clients_of_http2_that_wait_are_decided_anew() {
    let dead = nobody_listens();
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&dead]).with("when_none_healthy: { wait: 60s }").listener("h2c: true").start();
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let held = tokio::spawn(async move { get(&client, "/held").await });
        let waits = || (proxy.status()["pools"][0]["waiting"] == 1).then_some(());
        tokio::task::block_in_place(|| eventually("one that waits", waits));
        proxy.reload(&proxy.config_text().replace(dead.address(), well.address()));
        assert_eq!(held.await.unwrap().body, b"well");
    });
    assert_eq!(proxy.record("/held").number("generation"), 2);
}
