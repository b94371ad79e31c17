//! What a check asks, and how many answers it takes to change a state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Endpoint, Proxy, Seen, nobody_listens};

/// An endpoint whose `/healthz` says 200 or 503, as the switch is.
fn switched() -> (Endpoint, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&well);
    let endpoint = Endpoint::scripted("switched", move |exchange| match exchange.target() {
        "/healthz" if !state.load(Ordering::SeqCst) => exchange.status("503 Service Unavailable", "", "no"),
        _ => exchange.answer("yes"),
    });
    (endpoint, well)
}

/// How many probes it answered since it had seen `before` requests.
fn probes_since(endpoint: &Endpoint, before: usize) -> usize {
    endpoint.requests()[before..].iter().filter(|seen| seen.target() == "/healthz").count()
}

/// A TCP check notices that nobody listens, says why, and never sends a byte to those that it finds well.
#[test]
fn a_tcp_check_connects_and_sends_nothing() {
    let well = Endpoint::named("well");
    let dead = nobody_listens();
    let proxy = Proxy::to([&well, &dead])
        .health_check("type: tcp, interval: 100ms, timeout: 1s, healthy_after: 1, unhealthy_after: 2")
        .start();
    let change = proxy.event("the dead endpoint to be found", |event| {
        event.message() == "endpoint is unhealthy" && event.text("endpoint") == dead.address()
    });
    assert_eq!(change.text("pool"), "default");
    assert!(change.text("reason").contains("refused"), "the reason is: {}", change.text("reason"));
    proxy.wait_until(well.address(), "healthy");
    well.wait_for("probes without a byte", |state| state.silent >= 3);
    assert_eq!(well.count(), 0);
}

/// An HTTP check sends the path, host and headers that the config names, and takes the expected statuses only.
#[test]
fn an_http_check_asks_as_configured() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/healthz?deep=1" => exchange.status("204 No Content", "", ""),
        _ => exchange.answer("a"),
    });
    let proxy = Proxy::to([&endpoint])
        .health_check(
            "type: http, path: '/healthz?deep=1', host: check.example, expect: [204, 300-302], \
             headers: { X-Probe: evenkeel }, interval: 100ms, timeout: 1s, healthy_after: 1, unhealthy_after: 1",
        )
        .start();
    proxy.wait_until(endpoint.address(), "healthy");
    let probe = &endpoint.requests()[0];
    assert_eq!((probe.method(), probe.target()), ("GET", "/healthz?deep=1"));
    assert_eq!(probe.header("host"), Some("check.example"));
    assert_eq!(probe.header("x-probe"), Some("evenkeel"));
}

/// Without a host in the config the check names the endpoint's address, and any other status than the expected fails.
#[test]
fn an_http_check_fails_on_other_statuses() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .health_check(
            "type: http, path: /up, expect: [204], interval: 100ms, timeout: 1s, unhealthy_after: 1",
        )
        .start();
    let change = proxy.event("a state", |event| event.text("endpoint") == endpoint.address());
    assert_eq!(change.message(), "endpoint is unhealthy");
    assert!(change.text("reason").contains("200"), "the reason is: {}", change.text("reason"));
    assert_eq!(endpoint.requests()[0].header("host"), Some(endpoint.address()));
}

/// An endpoint that nobody knows yet, and that fails its first probe by chance, is asked again at once; it serves
/// although the next interval is far away.
#[test]
fn a_first_probe_that_fails_decides_nothing() {
    let probes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&probes);
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/healthz" if seen.fetch_add(1, Ordering::SeqCst) == 0 => {
            exchange.status("503 Service Unavailable", "", "no")
        }
        _ => exchange.answer("yes"),
    });
    let proxy = Proxy::to([&endpoint])
        .health_check("type: http, path: /healthz, interval: 60s, timeout: 1s, unhealthy_after: 3")
        .start();
    proxy.get("/x").expect(200);
    proxy.wait_until(endpoint.address(), "healthy");
    assert!(
        proxy.changes_of(endpoint.address()).iter().all(|change| change.message() == "endpoint is healthy")
    );
}

/// One that fails them all is found before the first client is let in.
#[test]
fn a_dead_endpoint_is_found_at_the_start() {
    let dead = nobody_listens();
    let proxy =
        Proxy::to([&dead]).health_check("type: tcp, interval: 60s, timeout: 1s, unhealthy_after: 3").start();
    proxy.get("/x").expect(503);
    assert_eq!(proxy.record("/x").cause(), "no_healthy_endpoint");
    let change = proxy.event("its state", |event| event.text("endpoint") == dead.address());
    assert!(change.text("reason").starts_with("3 probes in a row failed"), "{}", change.text("reason"));
}

/// It takes `unhealthy_after` failing probes in a row to leave and `healthy_after` passing ones to come back. Pingora
/// alone changes its mind at every probe unless told otherwise.
#[test]
fn it_takes_probes_in_a_row_to_change_a_state() {
    let (endpoint, well) = switched();
    let proxy = Proxy::to([&endpoint])
        .health_check(
            "type: http, path: /healthz, interval: 150ms, timeout: 1s, healthy_after: 4, unhealthy_after: 3",
        )
        .start();
    proxy.wait_until(endpoint.address(), "healthy");

    well.store(false, Ordering::SeqCst);
    let before = endpoint.count();
    proxy.event("it to leave", |event| event.message() == "endpoint is unhealthy");
    let probes = probes_since(&endpoint, before);
    assert!((3..=4).contains(&probes), "left after {probes} probes");

    let changes = proxy.changes_of(endpoint.address()).len();
    well.store(true, Ordering::SeqCst);
    let before = endpoint.count();
    proxy.event("it to come back", |_| proxy.changes_of(endpoint.address()).len() > changes);
    let probes = probes_since(&endpoint, before);
    assert!((4..=5).contains(&probes), "came back after {probes} probes");
}

/// Fault 23: an endpoint that fails one probe in three stays, and one that passes one in three stays away.
#[test]
fn flapping_does_not_move_a_state() {
    let turn = AtomicUsize::new(0);
    let mostly_well =
        Endpoint::scripted("mostly well", move |exchange| match turn.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => exchange.status("503 Service Unavailable", "", ""),
            _ => exchange.answer("ok"),
        });
    let turn = AtomicUsize::new(0);
    let mostly_ill =
        Endpoint::scripted("mostly ill", move |exchange| match turn.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => exchange.answer("ok"),
            _ => exchange.status("503 Service Unavailable", "", ""),
        });
    let proxy = Proxy::to([&mostly_well, &mostly_ill])
        .health_check("type: http, interval: 60ms, timeout: 1s, healthy_after: 2, unhealthy_after: 2")
        .start();
    mostly_well.wait_for_requests(24);
    mostly_ill.wait_for_requests(24);
    let states = |endpoint: &Endpoint| -> Vec<String> {
        proxy.changes_of(endpoint.address()).iter().map(|event| event.message().to_owned()).collect()
    };
    assert_eq!(states(&mostly_well), ["endpoint is healthy"]);
    assert_eq!(states(&mostly_ill), ["endpoint is unhealthy"]);
}

/// Each change of state is one line, with a reason; the framework's own line for it does not appear.
#[test]
fn each_change_is_one_line_with_a_reason() {
    let mut endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .health_check("type: tcp, interval: 80ms, timeout: 1s, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(endpoint.address(), "healthy");
    endpoint.stop();
    proxy.wait_until(endpoint.address(), "unhealthy");
    endpoint.start();
    proxy.event("a third change", |_| proxy.changes_of(endpoint.address()).len() >= 3);

    let changes = proxy.changes_of(endpoint.address());
    let messages: Vec<&str> = changes.iter().map(crate::harness::Event::message).collect();
    assert_eq!(messages, ["endpoint is healthy", "endpoint is unhealthy", "endpoint is healthy"]);
    assert!(changes.iter().all(|change| !change.text("reason").is_empty()));
    let about_it = proxy.stderr().lines().filter(|line| line.contains(endpoint.address())).count();
    assert_eq!(about_it, 3, "other lines name the endpoint too");
}

/// With checks off every endpoint is healthy, and none is probed.
#[test]
fn no_check_no_probe() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.wait_until(endpoint.address(), "healthy");
    proxy.get("/").expect(200);
    assert_eq!((endpoint.connections(), endpoint.silent()), (1, 0));
}

/// The default is a TCP check every 2 s with a timeout of 1 s: what the config says when it says nothing.
#[test]
fn the_default_is_a_tcp_check() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    let text = builder.text().replace("    health_check: off\n", "");
    let proxy = builder.yaml(text).start();
    endpoint.wait_for("a first probe", |state| state.silent >= 1);
    endpoint.wait_for("a second probe", |state| state.silent >= 2);
    assert_eq!(endpoint.requests().iter().filter(|seen: &&Seen| seen.target() != "/").count(), 0);
    drop(proxy);
}

/// The status of the final response decides: what comes before it does not, nor does a body without end.
#[test]
fn interim_answers_and_bodies_do_not_decide() {
    let hinting = Endpoint::scripted("hinting", |exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        exchange.answer("well");
    });
    let streaming = Endpoint::scripted("streaming", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        exchange.hang();
    });
    let ill = Endpoint::scripted("ill", |exchange| {
        exchange.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\n");
        exchange.hang();
    });
    let proxy = Proxy::to([&hinting, &streaming, &ill])
        .health_check("type: http, interval: 100ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(ill.address(), "unhealthy");
    let change = &proxy.changes_of(ill.address())[0];
    assert_eq!(change.text("reason"), "status 503 is not expected");
    std::thread::sleep(std::time::Duration::from_secs(1));
    for endpoint in [&hinting, &streaming] {
        assert_eq!(
            proxy.endpoint_status(endpoint.address()).unwrap()["state"],
            "healthy",
            "{}",
            endpoint.name
        );
        let changes = proxy.changes_of(endpoint.address());
        assert!(changes.iter().all(|change| change.message() == "endpoint is healthy"), "{changes:?}");
    }
}
