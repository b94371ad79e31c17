//! Who gets which request: exact shares, weights, backups, and endpoints that come and go.

use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy, SOON, SteadyLoad, load, nobody_listens, silent_network};

/// A TCP check that is quick to notice.
const QUICK: &str = "type: tcp, interval: 200ms, timeout: 200ms, healthy_after: 1, unhealthy_after: 3";

/// Three endpoints and 6,000 requests on twelve connections at once: 2,000 each, not one more.
#[test]
fn three_endpoints_get_a_third_each() {
    let endpoints = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to(&endpoints).health_check("type: tcp").start();
    for endpoint in &endpoints {
        proxy.wait_until(endpoint.address(), "healthy");
    }
    let tally = load(&proxy.address(), 12, 500);
    assert_eq!(tally, [("a", 2000), ("b", 2000), ("c", 2000)].map(|(name, n)| (name.to_owned(), n)).into());
}

/// Weights 5, 1, 1 are mixed smoothly: `a a b a c a a`, again and again. Pingora alone gives `a a a a a b c`.
#[test]
fn weights_are_mixed_smoothly() {
    let [a, b, c] = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to([a.weight(5), b.weight(1), c.weight(1)]).start();
    let mut client = proxy.client();
    let answers: Vec<String> = (0..70).map(|_| client.get("/").expect(200).text().to_owned()).collect();
    for round in answers.chunks(7) {
        assert_eq!(round.concat(), "aabacaa");
    }
}

/// Weights hold exactly over connections and threads too.
#[test]
fn weights_are_exact_under_concurrency() {
    let [a, b, c] = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to([a.weight(5), b.weight(1), c.weight(1)]).start();
    let tally = load(&proxy.address(), 7, 200);
    assert_eq!(tally, [("a", 1000), ("b", 200), ("c", 200)].map(|(name, n)| (name.to_owned(), n)).into());
}

/// A weight of 0 means no traffic, and says so, however healthy the endpoint is. Pingora alone panics where no weight
/// is left.
#[test]
fn weight_zero_gets_nothing() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([a.weight(0), b.weight(1)]).health_check(QUICK).start();
    proxy.wait_until(b.address(), "healthy");
    let tally = load(&proxy.address(), 2, 50);
    assert_eq!(tally, [("b".to_owned(), 100)].into());
    assert_eq!(a.count(), 0);
    assert_eq!(proxy.wait_until(a.address(), "healthy").as_secs(), 0);
    assert_eq!(proxy.endpoint_status(a.address()).unwrap()["expected_share"], 0.0);
}

/// Weight 0 takes no traffic even as the last one that is alive: the others' fault is no reason to override it.
#[test]
fn weight_zero_is_no_last_resort() {
    let a = Endpoint::named("a");
    let dead = nobody_listens();
    let mut proxy = Proxy::to([a.weight(0), dead.weight(1)]).start();
    proxy.get("/x").expect(503);
    assert_eq!(a.count(), 0);
    assert!(proxy.is_running());
}

/// A backup gets traffic only while no other endpoint is healthy.
#[test]
fn backups_wait_until_they_are_needed() {
    let [mut a, mut b, spare] = ["a", "b", "spare"].map(Endpoint::named);
    let proxy = Proxy::to([a.to_string(), b.to_string(), spare.backup()]).health_check(QUICK).start();
    for endpoint in [&a, &b, &spare] {
        proxy.wait_until(endpoint.address(), "healthy");
    }
    assert_eq!(load(&proxy.address(), 2, 50), [("a".to_owned(), 50), ("b".to_owned(), 50)].into());

    a.stop();
    proxy.wait_until(a.address(), "unhealthy");
    assert_eq!(load(&proxy.address(), 2, 20), [("b".to_owned(), 40)].into());

    b.stop();
    proxy.wait_until(b.address(), "unhealthy");
    assert_eq!(load(&proxy.address(), 2, 20), [("spare".to_owned(), 40)].into());

    a.start();
    proxy.wait_until(a.address(), "healthy");
    assert_eq!(load(&proxy.address(), 2, 20), [("a".to_owned(), 40)].into());
}

/// An endpoint that stops leaves within `interval` x `unhealthy_after` and one timeout, and no GET fails meanwhile; it
/// comes back and gets its share again (the endpoint's end of fault 1).
#[test]
fn a_stopped_endpoint_leaves_without_a_failed_get_and_comes_back() {
    let [a, mut b, c] = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b, &c]).health_check(QUICK).start();
    for endpoint in [&a, &b, &c] {
        proxy.wait_until(endpoint.address(), "healthy");
    }
    let steady = SteadyLoad::start(&proxy.address(), 3);
    b.wait_for_requests(20);
    let stopped = Instant::now();
    b.stop();
    proxy.event("the endpoint to leave", |event| {
        event.message() == "endpoint is unhealthy" && event.text("endpoint") == b.address()
    });
    assert!(stopped.elapsed() < SOON, "left after {:?}", stopped.elapsed());

    let (a_before, c_before) = (a.count(), c.count());
    a.wait_for_requests(a_before + 50);
    c.wait_for_requests(c_before + 50);
    let gone = b.count();
    b.start();
    proxy.wait_until(b.address(), "healthy");
    b.wait_for_requests(gone + 50);
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());

    let tally = load(&proxy.address(), 3, 100);
    assert_eq!(tally, [("a", 100), ("b", 100), ("c", 100)].map(|(name, n)| (name.to_owned(), n)).into());
}

/// After it has left, nothing is tried at it any more: no request pays for it.
#[test]
fn an_unhealthy_endpoint_gets_no_attempts() {
    let [a, mut b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).health_check(QUICK).start();
    proxy.wait_until(b.address(), "healthy");
    b.stop();
    proxy.wait_until(b.address(), "unhealthy");
    for _ in 0..20 {
        proxy.get("/after-it-left").expect(200);
    }
    for record in proxy.records_of("/after-it-left", 20) {
        assert_eq!(record.endpoints(), [a.address()]);
        assert_eq!(record.skipped(b.address()).as_deref(), Some("unhealthy"));
    }
}

/// At the start nothing is sent to an endpoint that is dead while another one is up, whether it refuses or swallows
/// connections; not even by a client that is there before the first check. Pingora alone takes every endpoint for
/// healthy until a check has failed.
#[test]
fn the_start_sends_nothing_to_the_dead() {
    let refusing = nobody_listens();
    let silent = silent_network();
    // Its check takes long enough for clients to come first.
    let up = Endpoint::scripted("up", |exchange| {
        if exchange.target() == "/healthz" {
            std::thread::sleep(Duration::from_millis(300));
        }
        exchange.answer("up");
    });
    let proxy = Proxy::to([refusing.to_string(), silent.to_string(), up.to_string()])
        .health_check("type: http, path: /healthz, interval: 5s, timeout: 2s")
        .spawn();
    // It listens before it is ready: who comes then waits in the socket's queue.
    for _ in 0..30 {
        proxy.get("/start").expect(200);
    }
    for record in proxy.records_of("/start", 30) {
        assert_eq!(record.endpoints(), [up.address()]);
    }
}

/// One of three holds its requests: with `least_requests` the others get all that come meanwhile.
#[test]
fn least_requests_goes_around_who_is_slow() {
    let slow = Endpoint::scripted("slow", |exchange| {
        std::thread::sleep(Duration::from_millis(400));
        exchange.answer("slow");
    });
    let others = ["b", "c"].map(Endpoint::named);
    let proxy = Proxy::to([slow.address(), others[0].address(), others[1].address()])
        .with("balance: least_requests")
        .start();
    let load = SteadyLoad::start(&proxy.address(), 6);
    std::thread::sleep(Duration::from_secs(2));
    let (sent, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
    // It has two at a time at most, each for 0.4 s.
    assert!(sent > 100 && slow.count() <= 16, "{} of {sent}", slow.count());
    assert_eq!(proxy.status()["pools"][0]["balance"], "least_requests");
}

#[test]
fn least_time_prefers_who_answers_first() {
    // Slower than the fast one ever is on a busy machine.
    let slow = Endpoint::scripted("slow", |exchange| {
        std::thread::sleep(Duration::from_millis(300));
        exchange.answer("slow");
    });
    let fast = Endpoint::named("fast");
    let proxy = Proxy::to([slow.address(), fast.address()]).with("balance: least_time").start();
    let tally = load(&proxy.address(), 1, 1_000);
    assert!(tally["slow"] <= 20, "{tally:?}");
    let seconds = proxy.endpoint_status(slow.address()).expect("a member")["response_seconds"].as_f64();
    assert!(seconds >= Some(0.3), "{seconds:?}");
}

/// The same key goes to the same endpoint over both protocols, connections and a reload; without one it is a turn, and
/// the line says so.
#[test]
fn requests_with_one_key_go_to_one_endpoint() {
    let endpoints = ["a", "b", "c", "d", "e"].map(Endpoint::named);
    let proxy = Proxy::to(&endpoints).with("balance: { hash: { header: X-User } }").start();
    let of = |user: &str| {
        let mut client = proxy.client();
        client.request("GET", "/", &format!("X-User: {user}\r\n")).expect(200).text().to_owned()
    };
    let users: Vec<String> = (0..40).map(|number| format!("user-{number}")).collect();
    let homes: Vec<String> = users.iter().map(|user| of(user)).collect();
    assert_eq!(users.iter().map(|user| of(user)).collect::<Vec<_>>(), homes);
    let distinct: std::collections::BTreeSet<_> = homes.iter().collect();
    assert_eq!(distinct.len(), 5, "{homes:?}");
    proxy.write_config(&format!("{}\n# the same\n", proxy.config_text()));
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert_eq!(users.iter().map(|user| of(user)).collect::<Vec<_>>(), homes);
    let turns: std::collections::BTreeSet<String> =
        (0..5).map(|_| proxy.get("/without").expect(200).text().to_owned()).collect();
    assert_eq!(turns.len(), 5);
    assert_eq!(proxy.records_of("/without", 5)[0].0["unkeyed"], true);
}

#[test]
fn random_reaches_all_of_them() {
    let endpoints = ["a", "b", "c"].map(Endpoint::named);
    let proxy = Proxy::to(&endpoints).with("balance: random").start();
    let tally = load(&proxy.address(), 4, 300);
    assert!(tally.values().all(|count| (300..=500).contains(count)), "{tally:?}");
}

/// A client stays where it was first answered: over connections, a reload and a restart; and moves once when its
/// endpoint is gone.
#[test]
fn a_cookie_keeps_a_client_at_its_endpoint() {
    let mut endpoints = ["a", "b", "c"].map(Endpoint::named);
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("sticky.key");
    std::fs::write(&key, "01".repeat(32)).expect("a key file");
    let sticky = format!("sticky: {{ cookie: session, key: {}, ttl: 1h, path: /shop }}", key.display());
    let mut proxy = Proxy::to(&endpoints).with(&sticky).health_check(QUICK).start();
    for endpoint in &endpoints {
        proxy.wait_until(endpoint.address(), "healthy");
    }
    let first = proxy.get("/first").expect(200);
    let home = first.text().to_owned();
    let set = first.header("set-cookie").expect("a cookie").to_owned();
    let (cookie, attributes) = set.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/shop; HttpOnly; SameSite=Lax; Max-Age=3600");
    assert!(cookie.len() < 40 && !cookie.contains("127"), "{cookie}");
    let with = |proxy: &Proxy, cookie: &str| {
        let mut client = proxy.client();
        client.request("GET", "/again", &format!("Cookie: x=1; {cookie}\r\n")).expect(200)
    };
    for _ in 0..10 {
        let again = with(&proxy, cookie);
        assert_eq!((again.text(), again.header("set-cookie")), (&*home, None));
    }
    assert_eq!(proxy.record("/first").text("sticky"), "new");
    proxy.write_config(&format!("{}\n# the same\n", proxy.config_text()));
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    proxy = proxy.restarted();
    for endpoint in &endpoints {
        proxy.wait_until(endpoint.address(), "healthy");
    }
    assert_eq!(with(&proxy, cookie).text(), home);
    let gone = endpoints.iter_mut().find(|endpoint| endpoint.address() == home_of(&proxy, "/again"));
    gone.expect("one of them").stop();
    let moved = with(&proxy, cookie);
    let new =
        moved.header("set-cookie").expect("another cookie").split("; ").next().expect("a pair").to_owned();
    assert!(new != cookie && moved.text() != home);
    for _ in 0..10 {
        let again = with(&proxy, &new);
        assert_eq!((again.text(), again.header("set-cookie")), (moved.text(), None));
    }
    // What nobody has signed is no cookie.
    assert!(with(&proxy, "session=AAAAAAAAAAAAAAAAAAAAAA").header("set-cookie").is_some());
}

/// The endpoint that answered the last request for the target.
fn home_of(proxy: &Proxy, target: &str) -> String {
    proxy.records_of(target, 1).last().expect("a line").endpoints().swap_remove(0)
}
