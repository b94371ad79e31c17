//! Fault 74: endpoints with names, and a resolver that fails, hangs, or changes its mind.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Proxy, ProxyBuilder, SteadyLoad, eventually, within};

/// A name that does not resolve stops nothing, and delays nothing.
#[test]
fn a_name_that_does_not_resolve() {
    let endpoint = Endpoint::named("a");
    let start = Instant::now();
    let proxy = Proxy::to([endpoint.to_string(), "no-such-host.invalid:80".to_owned()])
        .health_check("type: tcp, interval: 200ms, timeout: 200ms, healthy_after: 1")
        .start();
    assert!(start.elapsed() < Duration::from_secs(5), "ready after {:?}", start.elapsed());
    for _ in 0..6 {
        proxy.get("/x").expect(200);
    }
    assert!(proxy.records_of("/x", 6).iter().all(|record| record.endpoints() == [endpoint.address()]));
}

/// With nothing but such names it runs, answers 503, and says which name it is.
#[test]
fn only_names_that_do_not_resolve() {
    let mut proxy = Proxy::to(["no-such-host.invalid:80"]).start();
    proxy.get("/x").expect(503);
    assert_eq!(proxy.record("/x").cause(), "no_healthy_endpoint");
    proxy.event("the name in the log", |event| event.0.to_string().contains("no-such-host.invalid"));
    assert!(proxy.is_running());
    let health = proxy.command(&["health"]);
    assert_eq!(health.code, Some(1));
    assert!(health.stderr.contains("no-such-host.invalid:80 fails: "), "{}", health.stderr);
}

/// A file of the test's own in the place of one of the machine's, for the proxy alone; `None`, with the reason said,
/// where that cannot be had.
fn instead_of(file: &str, builder: &ProxyBuilder, content: &str) -> Option<(PathBuf, String)> {
    let own = builder.folder().join(file.replace('/', "_"));
    fs::write(&own, content).unwrap();
    let mount = format!("mount --bind '{}' {file}", own.display());
    let tried = Command::new("unshare").args(["-m", "sh", "-c", &mount]).status();
    if tried.is_ok_and(|status| status.success()) {
        return Some((own, mount));
    }
    eprintln!("skipped: no mount namespace of its own");
    None
}

/// A resolver that takes questions and never answers; a free address of it is the test's own.
fn silent_dns_server() -> Option<(UdpSocket, String)> {
    let found = (1..250).find_map(|n| {
        let address = format!("127.0.77.{n}");
        Some((UdpSocket::bind((address.as_str(), 53)).ok()?, address))
    });
    if found.is_none() {
        eprintln!("skipped: port 53 cannot be bound");
    }
    found
}

/// The resolver does not answer at all. Neither the start nor a reload nor the stop waits for it.
#[test]
fn a_resolver_that_does_not_answer() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([endpoint.to_string(), "name-one.example:80".to_owned()]);
    let Some((_server, address)) = silent_dns_server() else { return };
    let resolver = format!("nameserver {address}\noptions timeout:30 attempts:1\n");
    let Some((_, mount)) = instead_of("/etc/resolv.conf", &builder, &resolver) else { return };
    let start = Instant::now();
    let mut proxy = builder.in_mount_namespace(&mount).start();
    assert!(start.elapsed() < Duration::from_secs(5), "ready after {:?}", start.elapsed());
    proxy.get("/x").expect(200);

    let config = proxy.config_text().replace("name-one", "name-two");
    proxy.reload(&config);
    within(Duration::from_secs(4), "the reload", || (proxy.status()["generation"] == 2).then_some(()));
    proxy.get("/x").expect(200);

    proxy.reload(&config.replace("name-two", "name-three"));
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.ended_within(Duration::from_secs(3)).code, Some(0));
}

/// A proxy whose only endpoint is a name, and the hosts file that alone knows it.
fn known_by_file(endpoint: &Endpoint, pool: &str) -> Option<(Proxy, PathBuf)> {
    let builder = Proxy::to([format!("app.test:{}", endpoint.port())]).with(pool);
    let (hosts, mount) = instead_of("/etc/hosts", &builder, "127.0.0.1 app.test\n")?;
    let proxy = builder.in_mount_namespace(&mount).start();
    proxy.get("/first").expect(200);
    Some((proxy, hosts))
}

/// A name that no longer resolves keeps its last good addresses, and a reload meanwhile does not lose them.
#[test]
fn a_name_that_stops_resolving_keeps_its_addresses() {
    let endpoint = Endpoint::named("a");
    let Some((proxy, hosts)) = known_by_file(&endpoint, "resolve: 1s") else { return };
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    proxy.event("a line that says so", |event| {
        event.level() == "warn" && event.0.to_string().contains("app.test")
    });
    for _ in 0..5 {
        proxy.get("/x").expect(200);
    }

    proxy.reload(&proxy.config_text().replace("resolve: 1s", "resolve: 1s\n    timeouts: { connect: 1s }"));
    eventually("the reload", || (proxy.status()["generation"] == 2).then_some(()));
    for _ in 0..5 {
        proxy.get("/after").expect(200);
    }
    assert!(proxy.records_of("/after", 5).iter().all(|record| record.number("generation") == 2));
}

/// The resolver says at once that it does not know the name, as it does when it is out of order, or it says nothing.
fn forgotten(endpoint: &Endpoint, resolver: &str) -> Option<Proxy> {
    let builder = Proxy::to([format!("app.test:{}", endpoint.port())]).with("resolve: 1s");
    let (hosts, mount) = instead_of("/etc/hosts", &builder, "127.0.0.1 app.test\n")?;
    let (_, resolver) = instead_of("/etc/resolv.conf", &builder, resolver)?;
    let proxy = builder.in_mount_namespace(&format!("{mount} && {resolver}")).start();
    proxy.get("/first").expect(200);
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    proxy.event_within(Duration::from_secs(30), "a line that says so", |event| {
        event.message().starts_with("endpoint source fails")
    });
    Some(proxy)
}

fn nothing_is_lost_with(resolver: &str) {
    let endpoint = Endpoint::named("a");
    let Some(mut proxy) = forgotten(&endpoint, resolver) else { return };
    let load = SteadyLoad::start(&proxy.address(), 2);
    proxy.upgrade();
    let name = proxy.status()["pools"][0]["sources"][0].clone();
    assert!(name["answered"].as_f64().is_some(), "it was resolved once: {name}");
    proxy.reload(
        &proxy.config_text().replace("pool: default", "pool: renamed").replace("  default:", "  renamed:"),
    );
    within(Duration::from_secs(10), "the reload", || {
        (proxy.status()["pools"][0]["name"] == "renamed").then_some(())
    });
    proxy.get("/renamed").expect(200);
    let (sent, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {sent}");
}

/// A successor has the addresses of the process before it, and a pool those that were known under another name.
#[test]
fn a_resolver_that_fails_during_an_upgrade_or_a_rename() {
    nothing_is_lost_with("nameserver 127.0.77.255\noptions timeout:1 attempts:1\n");
}

#[test]
fn a_resolver_that_is_silent_during_an_upgrade_or_a_rename() {
    let Some((_server, address)) = silent_dns_server() else { return };
    nothing_is_lost_with(&format!("nameserver {address}\noptions timeout:30 attempts:1\n"));
}

/// The process before it serves the pool, and goes on: what the new config names instead is not there.
#[test]
fn a_successor_without_addresses_does_not_take_over() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).server("threads: 2, upgrade_timeout: 4s").start();
    let config = proxy.config_text().replace(endpoint.address(), "no-such-host.invalid:80");
    fs::write(proxy.config_path(), config).unwrap();
    let refused = proxy.command(&["upgrade"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("pool default has no endpoint: "), "{}", refused.stderr);
    proxy.get("/x").expect(200);
}

/// A port that is free on both addresses. Others may take it before we do, but hardly ever.
fn port_of_two() -> u16 {
    let free = || {
        let first = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        std::net::TcpListener::bind(("127.0.0.9", port)).ok().map(|_| port)
    };
    (0..100).find_map(|_| free()).expect("a port that is free on both addresses")
}

fn on(name: &'static str, ip: [u8; 4], port: u16) -> Endpoint {
    Endpoint::bound(name, (ip, port).into(), move |exchange| exchange.answer(name))
}

/// A name that comes to mean another address is followed, without a restart.
#[test]
fn a_name_that_moves_is_followed() {
    let port = port_of_two();
    let (here, there) = (on("here", [127, 0, 0, 1], port), on("there", [127, 0, 0, 9], port));
    let Some((proxy, hosts)) = known_by_file(&here, "resolve: 1s") else { return };
    fs::write(&hosts, "127.0.0.9 app.test\n").unwrap();
    eventually("the move", || (proxy.get("/x").expect(200).text() == "there").then_some(()));
    let moved = here.count();
    for _ in 0..5 {
        assert_eq!(proxy.get("/x").expect(200).text(), "there");
    }
    assert_eq!(here.count(), moved);
    drop(there);
}

/// A name with several addresses is as many endpoints.
#[test]
fn every_address_of_a_name_is_an_endpoint() {
    let port = port_of_two();
    let (one, two) = (on("one", [127, 0, 0, 1], port), on("two", [127, 0, 0, 9], port));
    let builder = Proxy::to([format!("app.test:{}", one.port())]);
    let content = "127.0.0.1 app.test\n127.0.0.9 app.test\n";
    let Some((_, mount)) = instead_of("/etc/hosts", &builder, content) else { return };
    let proxy = builder.in_mount_namespace(&mount).start();
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
    assert_eq!((one.count(), two.count()), (5, 5));
}
