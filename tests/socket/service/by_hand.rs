//! `evenkeel drain`, `undrain` and `weight`: endpoints that are changed without a reload.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Endpoint, Gate, Proxy, SteadyLoad, eventually, load, nobody_listens};

/// Runs a command that must be carried out, and returns what it says.
#[track_caller]
fn done(proxy: &Proxy, arguments: &[&str]) -> String {
    let said = proxy.command(arguments);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{arguments:?}");
    said.stdout
}

#[track_caller]
fn refused(proxy: &Proxy, arguments: &[&str], code: i32) -> String {
    let said = proxy.command(arguments);
    assert_eq!((said.code, &*said.stdout), (Some(code), ""), "{arguments:?}: {}", said.stderr);
    said.stderr
}

fn status(proxy: &Proxy, endpoint: &Endpoint) -> Value {
    proxy.endpoint_status(endpoint.address()).expect("it is in the pool")
}

fn in_flight(proxy: &Proxy, endpoint: &Endpoint) -> u64 {
    status(proxy, endpoint)["in_flight"].as_u64().expect("a count")
}

/// Drained and undrained again and again under load: no request fails, and none comes after the command.
#[test]
fn a_drain_under_load_loses_nothing_and_lets_nothing_through() {
    let [a, b, c] = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b, &c]).start();
    let steady = SteadyLoad::start(&proxy.address(), 8);
    for _ in 0..5 {
        b.wait_for_requests(b.count() + 20);
        done(&proxy, &["drain", b.address()]);
        eventually("what is in flight to end", || (in_flight(&proxy, &b) == 0).then_some(()));
        let (at_b, at_a) = (b.count(), a.count());
        a.wait_for_requests(at_a + 200);
        assert_eq!(b.count(), at_b, "it is drained");
        done(&proxy, &["undrain", b.address()]);
        b.wait_for_requests(at_b + 20);
    }
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());
}

/// What is in flight has its answer, and everything that shows the state of endpoints says that it is drained.
#[test]
fn what_is_in_flight_finishes_and_the_drain_is_seen() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let a = Endpoint::scripted("a", move |exchange| {
        opened.wait();
        exchange.answer("a");
    });
    let b = Endpoint::named("b");
    let proxy = Proxy::to([&a, &b]).health_check("type: tcp, interval: 100ms, timeout: 1s").start();
    let mut client = proxy.client();
    client.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    a.wait_for_requests(1);

    let said = done(&proxy, &["drain", a.address(), "--for", "10m"]);
    let (first, rest) = said.split_once(" UTC; ").expect("until when");
    assert!(
        first.starts_with(&format!("{} of pool default gets no new requests until 2", a.address())),
        "{said}"
    );
    assert_eq!(rest, "1 in flight go on, 1 other endpoint serves\n");
    for _ in 0..10 {
        assert_eq!(proxy.get("/after").expect(200).text(), "b");
    }
    for record in proxy.records_of("/after", 10) {
        assert_eq!(record.skipped(a.address()).as_deref(), Some("draining"));
    }
    let shown = status(&proxy, &a);
    let passed = shown["checks_passed"].as_u64().expect("a count");
    assert_eq!((shown["state"].as_str(), shown["expected_share"].as_f64()), (Some("healthy"), Some(0.0)));
    let by = format!("uid {}", nix::unistd::geteuid());
    assert_eq!(shown["drained"]["by"], by);
    let text = done(&proxy, &["status"]);
    assert!(
        text.contains("healthy, draining") && text.contains(&format!("{} drained, until 2", a.address())),
        "{text}"
    );
    assert_eq!(proxy.metric("evenkeel_endpoint_adjusted", &[a.address(), "drain"]) as u64, 1);
    assert_eq!(proxy.metric("evenkeel_endpoint_adjusted", &[]) as u64, 1);
    let event = proxy.event("the drain", |event| event.message() == "endpoint drained");
    assert_eq!(
        (event.text("endpoint"), event.text("pool"), event.text("by")),
        (a.address(), "default", &*by)
    );
    assert!(event.text("until").ends_with(" UTC"), "{event:?}");
    eventually("its probes to go on", || {
        (status(&proxy, &a)["checks_passed"].as_u64()? > passed + 2).then_some(())
    });

    gate.open();
    assert_eq!(client.response().expect(200).text(), "a");
    assert_eq!(
        done(&proxy, &["undrain", a.address()]),
        format!("{} of pool default is no longer drained\n", a.address())
    );
    assert_eq!(
        done(&proxy, &["undrain", a.address()]),
        format!("{} of pool default was not drained\n", a.address())
    );
    proxy.event("the end of the drain", |event| {
        event.message() == "endpoint undrained" && event.text("by") == by
    });
    assert_eq!(load(&proxy.address(), 1, 10), [("a".to_owned(), 5), ("b".to_owned(), 5)].into());
    assert!(status(&proxy, &a)["drained"].is_null());
}

#[test]
fn a_drain_for_a_time_ends_by_itself() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).start();
    let begun = Instant::now();
    done(&proxy, &["drain", a.address(), "--for", "1s"]);
    done(&proxy, &["weight", b.address(), "3", "--for", "1s"]);
    assert_eq!(load(&proxy.address(), 1, 10), [("b".to_owned(), 10)].into());
    let ended = |message: &str| {
        proxy.event(message, |event| event.message() == message && event.text("by") == "its end");
    };
    ended("endpoint undrained");
    let after = begun.elapsed();
    assert!(after > Duration::from_millis(900), "after {after:?}");
    ended("endpoint weight reset");
    assert_eq!(load(&proxy.address(), 1, 10), [("a".to_owned(), 5), ("b".to_owned(), 5)].into());
    assert_eq!(proxy.metric("evenkeel_endpoint_adjusted", &[]) as u64, 0);
}

#[test]
fn weights_are_exact_from_the_command_on() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([a.weight(5), b.weight(1)]).start();
    let said = done(&proxy, &["weight", a.address(), "1"]);
    assert_eq!(
        said,
        format!("{} of pool default has weight 1 (file: 5) until `evenkeel weight reset`\n", a.address())
    );
    assert_eq!(load(&proxy.address(), 2, 50), [("a".to_owned(), 50), ("b".to_owned(), 50)].into());
    let shown = status(&proxy, &a);
    assert_eq!((shown["weight"].as_u64(), shown["weight_by_hand"]["file"].as_u64()), (Some(1), Some(5)));
    assert_eq!(proxy.metric("evenkeel_endpoint_weight", &[a.address()]) as u64, 1);
    assert!(done(&proxy, &["status"]).contains("1 (file: 5)"));
    done(&proxy, &["weight", a.address(), "0"]);
    assert_eq!(load(&proxy.address(), 2, 50), [("b".to_owned(), 100)].into());
    done(&proxy, &["weight", a.address(), "256"]);
    assert_eq!(load(&proxy.address(), 2, 257), [("a".to_owned(), 512), ("b".to_owned(), 2)].into());
    let said = done(&proxy, &["weight", a.address(), "reset"]);
    assert_eq!(said, format!("{} of pool default has weight 5, that of the file\n", a.address()));
    assert_eq!(load(&proxy.address(), 2, 60), [("a".to_owned(), 100), ("b".to_owned(), 20)].into());
}

/// Over a reload that changes the pool, and one that gives it another name; over an upgrade, whose successor ends it.
#[test]
fn reloads_and_upgrades_keep_it() {
    let [a, b, c] = ["a", "b", "c"].map(Endpoint::named);
    let mut proxy = Proxy::to([a.weight(1), b.weight(5), c.weight(1)]).start();
    done(&proxy, &["drain", a.address(), "--for", "10s"]);
    done(&proxy, &["weight", b.address(), "1"]);
    let only_b_and_c = |proxy: &Proxy| {
        assert_eq!(load(&proxy.address(), 2, 20), [("b".to_owned(), 20), ("c".to_owned(), 20)].into());
    };
    let config = proxy.config_text().replace("weight: 5", "weight: 7");
    proxy.write_config(&config);
    done(&proxy, &["reload"]);
    only_b_and_c(&proxy);
    assert_eq!(status(&proxy, &b)["weight_by_hand"]["file"], 7);
    proxy.write_config(&config.replace("  default:", "  renamed:").replace("pool: default", "pool: renamed"));
    done(&proxy, &["reload"]);
    only_b_and_c(&proxy);
    proxy.upgrade();
    // Until then the old process may take a connection, and close it behind its first response.
    proxy.event("the old process stops", |event| event.message() == "listener closed");
    only_b_and_c(&proxy);
    let by = status(&proxy, &a)["drained"]["by"].as_str().map(str::to_owned);
    assert_eq!(by, Some(format!("uid {}", nix::unistd::geteuid())));
    eventually("its end", || status(&proxy, &a)["drained"].is_null().then_some(()));
    assert_eq!(load(&proxy.address(), 2, 45).len(), 3);
    // A restart is a new beginning.
    assert_eq!(status(&proxy, &b)["weight"], 1);
}

/// The last one that can serve goes only by force; then the pool says why it has none.
#[test]
fn the_last_endpoint_is_not_drained_by_mistake() {
    let [a, dead] = [Endpoint::named("a"), nobody_listens()];
    let proxy = Proxy::to([&a, &dead])
        .health_check("type: tcp, interval: 100ms, timeout: 1s, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(dead.address(), "unhealthy");
    proxy.wait_until(a.address(), "healthy");
    let said = refused(&proxy, &["drain", a.address()], 1);
    assert_eq!(
        said,
        format!(
            "error: {} is the last endpoint of pool default that can serve: without it, requests would be answered 503; --force does it all the same\n",
            a.address()
        )
    );
    refused(&proxy, &["weight", a.address(), "0"], 1);
    proxy.get("/").expect(200);
    done(&proxy, &["drain", dead.address()]);
    let said = done(&proxy, &["drain", a.address(), "--force"]);
    assert!(said.ends_with("; none in flight, no other endpoint can serve\n"), "{said}");
    proxy.get("/none").expect(503);
    assert_eq!(proxy.record("/none").skipped(a.address()).as_deref(), Some("draining"));
    done(&proxy, &["undrain", a.address()]);
    proxy.get("/").expect(200);
}

/// A request that waits for an endpoint is served as soon as one is undrained.
#[test]
fn who_waits_is_served_by_an_undrain() {
    let a = Endpoint::named("a");
    let proxy = Proxy::to([&a]).with("when_none_healthy: { wait: 30s, queue: 10 }").start();
    let said = refused(&proxy, &["drain", a.address()], 1);
    assert!(said.contains("held for 30s at most, and then answered 503"), "{said}");
    done(&proxy, &["drain", a.address(), "--force"]);
    let mut client = proxy.client();
    client.send("GET /waits HTTP/1.1\r\nHost: test.example\r\n\r\n");
    proxy.metric_becomes("evenkeel_pool_waiting_requests", 1.0);
    done(&proxy, &["undrain", a.address()]);
    assert_eq!(client.response().expect(200).text(), "a");
}

#[test]
fn an_endpoint_in_several_pools_needs_a_pool() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::config()
        .pool("api", [&a, &b])
        .pool("web", [&a, &b])
        .routes(&["name: api, match: { paths: [/api] }, pool: api", "name: web, pool: web"])
        .start();
    let said = refused(&proxy, &["drain", a.address()], 1);
    assert_eq!(
        said,
        format!(
            "error: {} is in the pools api, web: name one with --pool, or say --all-pools\n",
            a.address()
        )
    );
    done(&proxy, &["drain", a.address(), "--pool", "api"]);
    (0..4).for_each(|_| assert_eq!(proxy.get("/api").expect(200).text(), "b"));
    assert_eq!(load(&proxy.address(), 1, 10).len(), 2, "the other pool has it still");
    let answer: Value =
        serde_json::from_str(&done(&proxy, &["drain", a.address(), "--all-pools", "--json"])).unwrap();
    let endpoints = answer["endpoints"].as_array().expect("a list");
    assert_eq!(endpoints.len(), 2);
    for (endpoint, pool) in endpoints.iter().zip(["api", "web"]) {
        assert_eq!(
            (endpoint["pool"].as_str(), endpoint["address"].as_str()),
            (Some(pool), Some(a.address()))
        );
        assert_eq!(
            (endpoint["changed"].as_bool(), endpoint["others_that_can_serve"].as_u64()),
            (Some(true), Some(1))
        );
        assert!(
            endpoint["drained"]["until"].is_null() && endpoint["drained"]["by"].is_string(),
            "{endpoint}"
        );
    }
    assert_eq!(load(&proxy.address(), 1, 10), [("b".to_owned(), 10)].into());
    done(&proxy, &["undrain", a.address(), "--all-pools"]);
    assert_eq!(load(&proxy.address(), 1, 10).len(), 2);
}

#[test]
fn what_is_wrong_with_an_order_is_said() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).start();
    let said = refused(&proxy, &["drain", "127.0.0.1:1"], 1);
    assert!(said.starts_with("error: no endpoint 127.0.0.1:1 in any pool: there are 127.0.0.1:"), "{said}");
    assert!(said.contains(a.address()) && said.contains(b.address()), "{said}");
    let said = refused(&proxy, &["drain", a.address(), "--pool", "defualt"], 1);
    assert_eq!(said, "error: there is no pool defualt: did you mean `default`?\n");
    for (arguments, expected) in [
        (&["weight", a.address(), "257"][..], "from 0 to 256"),
        (&["weight", a.address(), "many"], "from 0 to 256"),
        (&["weight", a.address(), "reset", "--for", "1m"], "has no `--for`"),
        (&["drain", a.address(), "--for", "10"], "written as 30s"),
        (&["drain", a.address(), "--for", "0s"], "more than none"),
        (&["drain", a.address(), "--pool", "default", "--all-pools"], "cannot be used with"),
        (&["drain"], "required"),
    ] {
        let said = refused(&proxy, arguments, 2);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(proxy.admin("/drain?endpoint=x").status, 405);
    assert!(!proxy.events().iter().any(|event| event.message() == "endpoint drained"));
    assert_eq!(load(&proxy.address(), 1, 10).len(), 2);
}

/// While a successor starts, which has been told already what is known of endpoints, nothing is changed that it would
/// undo.
#[test]
fn during_an_upgrade_nothing_is_changed() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).with_own_binary().start();
    proxy.replace_binary("sleep 2; exec $BINARY \"$@\"");
    proxy.signal(nix::sys::signal::Signal::SIGUSR2);
    proxy.event("the upgrade", |event| event.message() == "upgrading");
    let said = refused(&proxy, &["drain", a.address()], 1);
    assert!(said.contains("an upgrade is under way"), "{said}");
}
