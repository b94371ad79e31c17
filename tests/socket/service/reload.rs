//! Reloading: a whole new config or nothing, and no request that notices.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGHUP, SIGTERM};

use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{
    ASKS_FOR_WEBSOCKET, Endpoint, Engine, Event, Gate, Proxy, SWITCHING, SteadyLoad, engine, eventually,
    nobody_listens, silent_network,
};

/// Reloads, and waits until this generation is in force.
#[track_caller]
fn reload_to(proxy: &Proxy, config: &str, generation: u64) {
    proxy.reload(config);
    eventually(&format!("generation {generation}"), || {
        (proxy.status()["generation"] == generation).then_some(())
    });
}

/// Reloads, and waits until it has been refused for the n-th time.
#[track_caller]
fn reload_in_vain(proxy: &Proxy, config: &str, times: usize) -> Event {
    proxy.reload(config);
    let refusals = || {
        let mut errors = proxy.events();
        errors.retain(|event| event.level() == "error" && event.message().contains("reload"));
        errors
    };
    eventually("a refusal", || (refusals().len() >= times).then_some(()));
    refusals().pop().unwrap()
}

/// A good config takes effect for the next request, on old connections too; what is in flight ends as it began.
#[test]
fn a_good_config_takes_effect() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let old = Endpoint::scripted("old", move |exchange| {
        if exchange.target() == "/held" {
            opened.wait();
        }
        exchange.answer("old");
    });
    let new = Endpoint::named("new");
    let proxy = Proxy::to([&old]).start();
    let mut idle = proxy.client();
    assert_eq!(idle.get("/1").expect(200).text(), "old");
    let mut held = proxy.client();
    held.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    old.wait_for_requests(2);

    reload_to(&proxy, &proxy.config_text().replace(old.address(), new.address()), 2);
    assert_eq!(idle.get("/2").expect(200).text(), "new");
    assert_eq!(proxy.get("/3").expect(200).text(), "new");
    gate.open();
    assert_eq!(held.response().expect(200).text(), "old");
    let generation = |target: &str| proxy.record(target).number("generation");
    assert_eq!([generation("/1"), generation("/held"), generation("/2")], [1, 1, 2]);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_successful", &[]) as u64, 1);
    assert!(proxy.endpoint_status(old.address()).is_none());
}

/// Fault 52: an invalid config changes nothing, and the log says what is wrong with it and where.
#[test]
fn a_bad_config_changes_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let good = proxy.config_text().to_owned();
    let bad = good.replace("health_check: off", "health_check: off\n    balanse: round_robin");
    let line = bad.lines().position(|line| line.contains("balanse")).unwrap() + 1;
    let refusal = reload_in_vain(&proxy, &bad, 1).0.to_string();
    assert!(refusal.contains("balanse") && refusal.contains(&format!("evenkeel.yaml:{line}:")), "{refusal}");
    proxy.get("/x").expect(200);
    assert_eq!(proxy.status()["generation"], 1);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_successful", &[]) as u64, 0);

    reload_to(&proxy, &good, 2);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_successful", &[]) as u64, 1);
    proxy.is_unharmed(endpoint.open());
}

/// Nobody writes to the pipe that has taken the place of the file: nothing waits for that, least of all a stop.
#[test]
fn a_pipe_in_the_place_of_the_config_holds_up_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let path = proxy.config_path();
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    proxy.signal(SIGHUP);
    let refusal = proxy.event("a refusal", |event| event.message().contains("reload refused"));
    assert!(refusal.0["reason"].to_string().contains("it is a pipe"), "{}", refusal.0);
    assert_eq!(proxy.admin("/livez").status, 200);
    proxy.get("/x").expect(200);
    proxy.signal(SIGTERM);
    assert_eq!(proxy.ended().code, Some(0));
}

/// A stop does not wait for what a reload waits for, and what was to be put in force is not.
#[test]
fn a_stop_comes_before_a_reload_that_waits() {
    let gate = Gate::closed();
    let closed = gate.clone();
    let old = Endpoint::named("old");
    let new = Endpoint::scripted("new", move |_| closed.wait());
    let mut proxy =
        Proxy::to([&old]).health_check("type: http, path: /, interval: 30s, timeout: 20s").start();
    proxy.reload(&proxy.config_text().replace(old.address(), new.address()));
    new.wait_for_requests(1);
    proxy.signal(SIGTERM);
    let ended = proxy.ended();
    gate.open();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains("config reloaded"), "{}", ended.stderr);
}

/// Fault 53: so does a file that is only half written, empty, gone, or no file.
#[test]
fn a_half_written_config_changes_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let good = proxy.config_text().to_owned();
    reload_in_vain(&proxy, &good[..good.len() - 40], 1);
    reload_in_vain(&proxy, "", 2);
    reload_in_vain(&proxy, "{[", 3);
    std::fs::remove_file(proxy.config_path()).unwrap();
    proxy.signal(SIGHUP);
    eventually("a fourth refusal", || {
        (proxy.events().iter().filter(|event| event.level() == "error").count() >= 4).then_some(())
    });
    proxy.get("/x").expect(200);
    assert_eq!(proxy.status()["generation"], 1);
    proxy.is_unharmed(endpoint.open());
}

/// A config whose own tests fail is refused like any other bad one.
#[test]
fn a_config_whose_tests_fail_changes_nothing() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let test = "tests:\n  - request: GET http://x.example/\n    expect: { route: other }\n";
    let refusal = reload_in_vain(&proxy, &format!("{}{test}", proxy.config_text()), 1).0.to_string();
    assert!(refusal.contains("other"), "{refusal}");
    assert_eq!(proxy.status()["generation"], 1);
    proxy.get("/x").expect(200);
}

/// What needs a restart is refused with its name, and nothing of the rest is applied.
#[test]
fn what_needs_a_restart_is_refused() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).start();
    let moved = proxy.config_text().replace(a.address(), b.address());
    for (count, (old, new, key)) in
        [("threads: 2", "threads: 1", "server"), ("admin.sock", "other.sock", "admin")]
            .into_iter()
            .enumerate()
    {
        let refusal = reload_in_vain(&proxy, &moved.replace(old, new), count + 1).0.to_string();
        assert!(refusal.contains(key), "{refusal}");
        assert_eq!(proxy.get("/x").expect(200).text(), "a");
    }
}

/// Live state belongs to the endpoint, not to the config: what is unhealthy stays so, and counts go on.
#[test]
fn states_and_counts_survive() {
    let well = Endpoint::named("well");
    let dead = nobody_listens();
    let proxy = Proxy::to([&well, &dead])
        .health_check("type: tcp, interval: 2s, timeout: 1s, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(well.address(), "healthy");
    proxy.wait_until(dead.address(), "unhealthy");
    for _ in 0..5 {
        proxy.get("/before").expect(200);
    }
    proxy.records_of("/before", 5);
    let before = proxy.endpoint_status(well.address()).unwrap();
    proxy.event("both changes", |_| proxy.changes_of("127.0.0.1").len() == 2);

    let config =
        proxy.config_text().replace("    endpoints:", "    timeouts: { response: 7s }\n    endpoints:");
    reload_to(&proxy, &config, 2);
    for _ in 0..10 {
        proxy.get("/after").expect(200);
    }
    for record in proxy.records_of("/after", 10) {
        assert_eq!(record.endpoints(), [well.address()], "an attempt at a dead endpoint");
    }
    let after = proxy.endpoint_status(well.address()).unwrap();
    assert_eq!((after["requests"].as_u64(), &after["since"]), (Some(15), &before["since"]));
    assert_eq!(proxy.endpoint_status(dead.address()).unwrap()["state"], "unhealthy");
    assert_eq!(proxy.changes_of("127.0.0.1").len(), 2, "a reload is no change of state");
}

/// An endpoint that is new, in a pool where others are healthy, gets nothing before it has passed a check.
#[test]
fn a_new_endpoint_is_checked_first() {
    let well = Endpoint::named("well");
    let dead = nobody_listens();
    let proxy = Proxy::to([&well])
        .health_check("type: tcp, interval: 1s, timeout: 1s, healthy_after: 1, unhealthy_after: 3")
        .start();
    proxy.wait_until(well.address(), "healthy");
    let added = format!("      - {well}\n      - {dead}\n");
    let config = proxy.config_text().replace(&format!("      - {well}\n"), &added);
    reload_to(&proxy, &config, 2);
    for _ in 0..10 {
        proxy.get("/after").expect(200);
    }
    for record in proxy.records_of("/after", 10) {
        assert_eq!(record.endpoints(), [well.address()]);
    }
}

/// A changed weight takes effect, and does not make the endpoint a stranger.
#[test]
fn a_changed_weight_takes_effect() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([a.weight(1), b.weight(1)])
        .health_check("type: tcp, interval: 20s, timeout: 1s, healthy_after: 1")
        .start();
    proxy.wait_until(a.address(), "healthy");
    proxy.wait_until(b.address(), "healthy");
    reload_to(&proxy, &proxy.config_text().replace(&b.weight(1), &b.weight(3)), 2);
    assert_eq!(
        crate::harness::load(&proxy.address(), 1, 40),
        [("a".to_owned(), 10), ("b".to_owned(), 30)].into()
    );
}

/// Fault 51: a storm of reloads under load fails no request.
#[test]
fn a_storm_of_reloads_fails_nothing() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let mut proxy = Proxy::to([&a, &b]).health_check("type: tcp, interval: 300ms, timeout: 1s").start();
    let steady = SteadyLoad::start(&proxy.address(), 3);
    for _ in 0..100 {
        proxy.signal(SIGHUP);
        thread::sleep(Duration::from_millis(10));
    }
    eventually("the last reload", || {
        let generation = proxy.status()["generation"].as_u64()?;
        (generation > 1).then_some(())
    });
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());
    proxy.is_unharmed(a.open() + b.open());
}

/// A reload that moves everything, under load: no request fails.
#[test]
fn a_reload_under_load_fails_nothing() {
    let endpoints = ["a", "b", "c", "d"].map(Endpoint::named);
    let [a, b, c, d] = &endpoints;
    let proxy = Proxy::to([a, b]).start();
    let (one, two) = (
        proxy.config_text().to_owned(),
        proxy.config_text().replace(a.address(), c.address()).replace(b.address(), d.address()),
    );
    let steady = SteadyLoad::start(&proxy.address(), 4);
    for generation in 2..12 {
        reload_to(&proxy, if generation % 2 == 0 { &two } else { &one }, generation);
    }
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());
    assert!(endpoints.iter().all(|endpoint| endpoint.count() > 0));
}

/// `evenkeel reload` waits, and says what has changed; the log line says the same as fields.
#[test]
fn a_reload_says_what_it_changed() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let old = Endpoint::scripted("old", move |exchange| {
        if exchange.target() == "/held" {
            opened.wait();
        }
        exchange.answer("old");
    });
    let [kept, new] = ["kept", "new"].map(Endpoint::named);
    let proxy = Proxy::to([&old, &kept]).health_check("type: tcp, interval: 20s, timeout: 1s").start();
    proxy.wait_until(old.address(), "healthy");
    let held: Vec<_> = (0..4)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
            client
        })
        .collect();
    eventually("two held requests", || {
        (proxy.endpoint_status(old.address())?["in_flight"] == 2).then_some(())
    });
    proxy.write_config(&proxy.config_text().replace(old.address(), new.address()));
    let said = proxy.command(&["reload"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        said.stdout,
        format!(
            "generation 2 is in force\nlisteners: 1 kept\nroutes: 1 kept\npools: 1 changed\n  \
             ~ default: endpoints, its round robin starts over\nendpoints: 1 added, 1 removed, 1 kept\n  \
             + {} of default, healthy: a probe passed\n  - {} of default, drains: 2 requests\n",
            new.address(),
            old.address()
        )
    );
    let line = proxy.event("the reload", |event| event.message() == "config reloaded");
    assert_eq!(line.text("by"), "command");
    for (field, count) in [
        ("generation", 2),
        ("endpoints_kept", 1),
        ("endpoints_added", 1),
        ("endpoints_removed", 1),
        ("pools_changed", 1),
        ("pools_kept", 0),
        ("routes_kept", 1),
        ("listeners_kept", 1),
        ("listeners_removed", 0),
    ] {
        assert_eq!(line.0[field], count, "{field}");
    }
    assert_eq!(proxy.metric("evenkeel_config_reloads_total", &["done"]) as u64, 1);
    let same = proxy.command(&["reload"]);
    assert!(same.stdout.starts_with("generation 3 is in force\nnothing has changed\n"), "{}", same.stdout);
    gate.open();
    for mut client in held {
        client.response().expect(200);
    }
}

/// The whole report comes back, with its exit code; what is merely impossible has another one.
#[test]
fn a_refused_reload_says_why() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let good = proxy.config_text().to_owned();
    proxy.write_config(&good.replace("health_check: off", "health_chek: off"));
    let said = proxy.command(&["reload"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""));
    for part in ["health_chek", "evenkeel.yaml:", "did you mean `health_check`?", "1 error in "] {
        assert!(said.stderr.contains(part), "{part} is not in {}", said.stderr);
    }
    proxy.write_config(&good.replace("threads: 2", "threads: 1, watch: on"));
    let said = proxy.command(&["reload"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.stderr,
        "error: a change of `server.threads` and `server.watch` needs `evenkeel upgrade` or \
         a restart\n"
    );
    std::fs::remove_file(proxy.config_path()).unwrap();
    let said = proxy.command(&["reload"]);
    assert_eq!(said.code, Some(78));
    assert!(said.stderr.contains("there is no config file "), "{}", said.stderr);
    assert_eq!(proxy.metric("evenkeel_config_reloads_total", &["refused"]) as u64, 3);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_successful", &[]) as u64, 0);
    proxy.is_unharmed(endpoint.open());
}

/// An endpoint that is dead from the beginning is known to be dead before the first request could go there.
#[test]
fn a_new_endpoint_is_probed_before_it_is_used() {
    let well = Endpoint::named("well");
    let (dead, silent) = (nobody_listens(), silent_network());
    let proxy = Proxy::to([&well]).health_check("type: tcp, interval: 20s, timeout: 1s").start();
    proxy.wait_until(well.address(), "healthy");
    let more = format!("{well}\n      - {dead}\n      - {silent}");
    let config = proxy
        .config_text()
        .replace(&well.to_string(), &more)
        .replace("    endpoints:", "    retry: off\n    endpoints:");
    proxy.write_config(&config);
    let said = proxy.command(&["reload"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let begins = format!("  + {} of default, unhealthy: ", dead.address());
    let line = said.stdout.lines().find(|line| line.starts_with(&begins));
    assert!(line.is_some_and(|line| line.ends_with("connection refused")), "{}", said.stdout);
    // One probe takes half of the time that a reload has for all of it.
    let expected = format!("  + {} of default, 1 of 3 probes failed, ", silent.address);
    assert!(said.stdout.contains(&expected), "{}", said.stdout);
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
}

/// What was bound for a reload that fails later is closed again.
#[test]
fn a_refused_reload_leaves_no_socket_behind() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!(
        "  - {{ name: free, address: \"{free}\" }}\n  - {{ name: taken, address: \"{}\" }}\nroutes:",
        taken.local_addr().unwrap()
    );
    proxy.write_config(&proxy.config_text().replace("routes:", &more));
    let said = proxy.command(&["reload"]);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("listener taken cannot listen on"), "{}", said.stderr);
    std::net::TcpListener::bind(free).expect("it is free again");
    assert_eq!(proxy.status()["generation"], 1);
}

/// A hundred signals while a reload is under way are one more reload after it, and no other.
#[test]
fn signals_during_a_reload_are_one_more_reload() {
    let (well, silent) = (Endpoint::named("well"), silent_network());
    let mut proxy = Proxy::to([&well]).health_check("type: tcp, interval: 20s, timeout: 1s").start();
    proxy.wait_until(well.address(), "healthy");
    let steady = SteadyLoad::start(&proxy.address(), 2);
    // The first reload waits a second for its probe.
    proxy.reload(&proxy.config_text().replace(&well.to_string(), &format!("{well}\n      - {silent}")));
    for _ in 0..100 {
        proxy.signal(SIGHUP);
        thread::sleep(Duration::from_millis(2));
    }
    eventually("the second reload", || (proxy.status()["generation"] == 3).then_some(()));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(proxy.status()["generation"], 3);
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());
    proxy.is_unharmed(well.open());
}

/// Without `--admin`, the address is in the config file, even if the rest of that is wrong; where nothing of it can be
/// read, the report and the exit code are those of a check.
#[test]
fn a_broken_file_still_says_whom_to_ask() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let run = |command: &str| {
        let file = proxy.config_path();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args([command, "-c", file.to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    proxy.write_config(&proxy.config_text().replace("health_check: off", "health_chek: off"));
    assert_eq!(run("health"), (Some(0), String::new()));
    let (code, stderr) = run("reload");
    assert_eq!(code, Some(78));
    assert!(stderr.contains("did you mean `health_check`?"), "{stderr}");
    proxy.event("the process was asked", |event| event.level() == "error" && event.text("by") == "command");
    proxy.write_config("admin: [\n");
    let (code, stderr) = run("reload");
    assert_eq!(code, Some(78));
    assert!(stderr.contains("evenkeel.yaml:") && stderr.contains("--admin ADDRESS"), "{stderr}");
}

/// New names have their addresses when the config comes into force, and those that have none are named.
#[test]
fn new_names_are_resolved_first() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).start();
    let (_, port) = b.address().rsplit_once(':').unwrap();
    let names = format!("- localhost:{port}\n      - nowhere.invalid:80");
    let next = proxy.config_text().replace(&format!("- {a}"), &names);
    proxy.write_config(&next);
    let plan = proxy.command(&["plan", proxy.config_path().to_str().unwrap()]);
    assert_eq!(plan.code, Some(3), "{}", plan.stderr);
    assert!(
        plan.stdout.contains("  + nowhere.invalid:80 of default, names no endpoint\n"),
        "{}",
        plan.stdout
    );
    let said = proxy.command(&["reload"]);
    assert!(said.stdout.contains(&format!("  + localhost:{port} of default\n")), "{}", said.stdout);
    assert!(
        said.stdout.contains("  + nowhere.invalid:80 of default, names no endpoint yet\n"),
        "{}",
        said.stdout
    );
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
}

/// Nothing was sent for requests that wait: what repairs a pool, or takes another one, is for them, too.
#[test]
fn requests_that_wait_are_decided_anew() {
    let dead = nobody_listens();
    let well = Endpoint::named("well");
    let wait = "when_none_healthy: { wait: 60s }";
    for renamed in [false, true] {
        let proxy = Proxy::to([&dead]).with(wait).start();
        let mut clients: Vec<_> = (0..6).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| {
            client.send("POST /held HTTP/1.1\r\nHost: test.example\r\nContent-Length: 4\r\n\r\nonce");
        });
        eventually("six that wait", || (proxy.status()["pools"][0]["waiting"] == 6).then_some(()));
        let mut repaired = proxy.config_text().replace(dead.address(), well.address());
        if renamed {
            repaired = repaired.replace("  default:\n", "  other:\n").replace("pool: default", "pool: other");
        }
        let served = well.count_of("/held");
        reload_to(&proxy, &repaired, 2);
        for client in &mut clients {
            assert_eq!(client.response().expect(200).text(), "well");
        }
        assert_eq!(well.count_of("/held") - served, 6, "each arrives once");
        for record in proxy.records_of("/held", 6) {
            assert_eq!((record.number("generation"), record.status()), (2, 200));
            assert_eq!(record.0["pool"], if renamed { "other" } else { "default" });
            assert!(record.seconds("waited_seconds") > 0.0);
        }
        let books = &proxy.status()["listeners"][0]["requests"];
        assert_eq!((books["accepted"].as_u64(), books["answered"].as_u64()), (Some(6), Some(6)));
    }
}

/// The pool that they are for now may be of endpoints that speak HTTP/2.
#[test]
fn requests_that_wait_are_carried_to_who_speaks_http2_now() {
    let dead = nobody_listens();
    if engine() == Engine::Pingora {
        // HTTP/1.1 goes Pingora's own way there, and stays with the protocol that it began with.
        return;
    }
    let well = Http2Endpoint::named("h2");
    let proxy = Proxy::to([&dead]).with("when_none_healthy: { wait: 60s }").start();
    let mut client = proxy.client();
    client.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    eventually("one that waits", || (proxy.status()["pools"][0]["waiting"] == 1).then_some(()));
    let repaired = proxy.config_text().replace(dead.address(), &well.to_string());
    reload_to(&proxy, &repaired.replace("health_check: off", "health_check: off\n    protocol: h2"), 2);
    client.response().expect(200);
    assert_eq!(proxy.record("/held").number("generation"), 2);
}

/// A response may take hours, and then its request holds nothing of the config that was in force when it came: not in a
/// body that goes on, not in a tunnel, nor on a connection that waits for its next request.
#[test]
fn a_long_response_keeps_no_config() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/ws" => {
            exchange.send(SWITCHING);
            opened.wait();
            exchange.send(b"\x81\x03end");
            exchange.close();
        }
        "/long" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin");
            opened.wait();
            exchange.send("-end.");
        }
        _ => exchange.answer("short"),
    });
    let proxy = Proxy::to([&endpoint]).start();
    let text = proxy.config_text().to_owned();
    let (mut long, mut idle, mut tunnels) = (Vec::new(), Vec::new(), Vec::new());
    for generation in 2..6 {
        let mut client = proxy.client();
        client.send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n").until(b"begin");
        long.push(client);
        let mut client = proxy.client();
        client.get("/short").expect(200);
        idle.push(client);
        let mut client = proxy.client();
        client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
        assert_eq!(client.head_only().word(1), "101");
        tunnels.push(client);
        // Both the pool and the routes are others each time.
        let pool = format!("health_check: off\n    retry: {{ limit: {generation} }}");
        reload_to(&proxy, &text.replacen("health_check: off", &pool, 1), generation);
    }
    eventually("only one config", || {
        (proxy.metric("evenkeel_config_snapshots", &[]) as u64 == 1).then_some(())
    });
    gate.open();
    for mut client in long {
        client.until(b"-end.");
    }
    for mut client in tunnels {
        client.until(b"end");
    }
    for mut client in idle {
        client.get("/short").expect(200);
    }
    let generation = |record: &crate::harness::Record| record.number("generation");
    assert_eq!(proxy.records_of("/long", 4).iter().map(generation).sum::<u64>(), 1 + 2 + 3 + 4);
}

/// Tools are told what people are, and by the same exit codes.
#[test]
fn orders_are_answered_in_json_where_that_is_asked_for() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let json = |command: &str| {
        let ended = proxy.command(&[command, "--json"]);
        let said: serde_json::Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}: {} {}", ended.stdout, ended.stderr));
        (ended.code, said)
    };
    let (code, said) = json("health");
    assert_eq!((code, &said["ready"]), (Some(0), &true.into()), "{said}");
    let (code, said) = json("reload");
    assert_eq!((code, &said["result"]), (Some(0), &"done".into()), "{said}");
    assert!(said["said"].as_str().is_some_and(|text| text.contains("generation 2 is in force")), "{said}");
    let (code, said) = json("confirm");
    assert_eq!((code, &said["result"]), (Some(1), &"refused".into()), "{said}");
    std::fs::write(proxy.config_path(), "listen: nowhere\n").unwrap();
    let (code, said) = json("reload");
    assert_eq!((code, &said["result"]), (Some(78), &"invalid".into()), "{said}");
}
