//! The limits of connections.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::{Client, Endpoint, Proxy, SOON, Stream, eventually, within};

const GET: &str = "GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n";

/// A client with another address of this machine.
fn client_from(source: &str, proxy: &Proxy) -> Client {
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    let target: SocketAddr = proxy.address().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&target.into()).unwrap();
    Client::over(Stream::Tcp(TcpStream::from(socket)))
}

fn is_limit(event: &crate::harness::Event) -> bool {
    event.message() == "connection limit reached"
}

/// Who has begun a request keeps its seat.
fn is_busy(client: &mut Client) {
    client.send("GET /begun HTTP/1.1\r\n");
}

#[track_caller]
fn expect_open(proxy: &Proxy, count: usize) {
    eventually(&format!("{count} open connections"), || {
        let open = proxy.metric("evenkeel_connections", &["listener=\"default\""]) as usize;
        (open == count).then_some(())
    });
}

/// Clients that wait are served as soon as others have gone, in the meantime the operator is; one event says so.
fn one_more_than(proxy: &mut Proxy, endpoint: &Endpoint, most: usize, limit: &str) {
    let mut clients: Vec<_> = (0..most).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/served").expect(200);
        is_busy(client);
    }
    expect_open(proxy, most);
    let mut next = proxy.client();
    next.send(GET);
    let event = proxy.event("the limit", is_limit);
    assert_eq!(
        (event.level(), event.text("limit"), event.0["most"].as_u64()),
        ("warn", limit, Some(most as u64))
    );
    proxy.admin("/livez").expect(200);
    let before = proxy.processor_time();
    thread::sleep(Duration::from_millis(500));
    assert!(proxy.processor_time() - before < Duration::from_millis(200), "it spins");
    assert_eq!(endpoint.count_of("/x"), 0);
    assert!(next.is_open());
    expect_open(proxy, most);
    clients.pop();
    let freed = Instant::now();
    next.response().expect(200);
    assert!(freed.elapsed() < SOON);
    assert_eq!(proxy.events().iter().filter(|event| is_limit(event)).count(), 1);
    assert!(proxy.metric("evenkeel_accept_pauses_total", &[&format!("reason=\"{limit}\"")]) >= 1.0);
    drop((clients, next));
    expect_open(proxy, 0);
    assert_eq!(proxy.metric("evenkeel_connections_total", &[]) as usize, most + 1);
    proxy.is_unharmed(endpoint.open());
}

#[test]
fn beyond_the_limit_of_a_listener_clients_wait() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("limits: { connections: 3 }").start();
    one_more_than(&mut proxy, &endpoint, 3, "connections");
}

#[test]
fn beyond_the_limit_of_all_clients_wait() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, max_connections: 3").start();
    one_more_than(&mut proxy, &endpoint, 3, "max_connections");
}

/// A listener that is full does not concern the others.
#[test]
fn each_listener_has_its_own_limit() {
    let endpoint = Endpoint::named("a");
    let proxy =
        Proxy::to([&endpoint]).listener("limits: { connections: 1 }").listen("other", "127.0.0.1:0").start();
    let mut only = proxy.client();
    only.get("/served").expect(200);
    is_busy(&mut only);
    let mut waits = proxy.client();
    waits.send(GET);
    proxy.event("the limit", is_limit);
    Client::connect(&proxy.address_of("other")).get("/other").expect(200);
    assert_eq!(endpoint.count_of("/x"), 0);
    drop(only);
    waits.response().expect(200);
}

#[test]
fn a_reload_changes_the_limit_of_a_listener() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("limits: { connections: 1 }").start();
    let mut only = proxy.client();
    only.get("/served").expect(200);
    is_busy(&mut only);
    let mut waits = proxy.client();
    waits.send(GET);
    proxy.event("the limit", is_limit);
    proxy.reload(&proxy.config_text().replace("connections: 1", "connections: 2"));
    waits.response().expect(200);
    assert!(only.is_open());
}

/// 503 at once, before anything is read; other clients are served, and so is this one when it has fewer.
#[test]
fn beyond_the_limit_of_a_client_it_is_503() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listener("limits: { connections_per_client: 2 }").start();
    let mut clients = [proxy.client(), proxy.client()];
    for client in &mut clients {
        client.get("/served").expect(200);
    }
    let mut over = proxy.client();
    // It need not say anything.
    let refusal = over.response().expect(503);
    assert_eq!(refusal.head.header("retry-after"), Some("1"));
    assert_eq!(refusal.head.header("connection"), Some("close"));
    over.closed_within(SOON);
    client_from("127.0.0.2", &proxy).get("/neighbour").expect(200);
    let record = eventually("the record", || {
        proxy.records().into_iter().find(|record| record.cause() == "too_many_connections")
    });
    assert_eq!((record.status(), record.text("listener"), record.text("target")), (503, "default", ""));
    assert!(record.text("client").starts_with("127.0.0.1:"), "{record:?}");
    assert!(record.text("detail").contains("connections_per_client"), "{record:?}");
    let refused = ["listener=\"default\"", "reason=\"too_many_connections\""];
    assert_eq!(proxy.metric("evenkeel_connections_refused_total", &refused) as usize, 1);
    drop((clients, over));
    expect_open(&proxy, 0);
    proxy.client().get("/again").expect(200);
    assert_eq!(endpoint.count_of("/x"), 0);
    proxy.is_unharmed(endpoint.open());
}

/// The answer arrives although the client was sending: the connection is not reset.
#[test]
fn a_client_that_sends_meanwhile_reads_its_refusal() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("limits: { connections_per_client: 1 }").start();
    let mut first = proxy.client();
    first.get("/served").expect(200);
    for _ in 0..20 {
        let mut over = proxy.client();
        over.send("POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 40000\r\n\r\n");
        let _ = over.try_send(vec![b'x'; 40_000]);
        over.response().expect(503);
    }
    assert_eq!(endpoint.count_of("/x"), 0);
}

/// A client that is refused again and again and stays holds no more than a few connections, and not for long.
#[test]
fn the_refused_do_not_take_the_places_of_others() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("limits: { connections_per_client: 1 }").start();
    let mut first = proxy.client();
    first.get("/served").expect(200);
    let refused: Vec<_> = (0..200).map(|_| proxy.client()).collect();
    eventually("all to be refused", || {
        (proxy.metric("evenkeel_connections_refused_total", &[]) as usize == refused.len()).then_some(())
    });
    // A connection is counted as refused before it is written to and closed; those that linger do so for 2 s.
    within(Duration::from_millis(1900), "most to be closed at once", || {
        (proxy.metric("evenkeel_connections", &[]) <= 65.0).then_some(())
    });
    eventually("all to be closed", || {
        (proxy.metric("evenkeel_connections", &[]) as usize == 1).then_some(())
    });
    first.get("/still").expect(200);
}

/// A trusted proxy is no client: many are behind it.
#[test]
fn the_connections_of_trusted_proxies_are_not_counted() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .listener("trusted_proxies: [127.0.0.1]")
        .listener("limits: { connections_per_client: 1 }")
        .start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/served").expect(200);
    }
    let mut counted = client_from("127.0.0.2", &proxy);
    counted.get("/counted").expect(200);
    client_from("127.0.0.2", &proxy).response().expect(503);
}

/// More than the descriptors are good for is not promised, and said at the start.
#[test]
fn the_limit_of_open_files_bounds_the_limit_of_all() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint])
        .server("threads: 1, max_connections: 5000")
        .after_shell("ulimit -n 64")
        .start();
    let lowered = proxy.event("the lowered limit", |event| {
        event.message() == "max_connections is more than the limit of open files allows"
    });
    assert_eq!((lowered.0["wanted"].as_u64(), lowered.0["most"].as_u64()), (Some(5000), Some(16)));
    proxy.get("/x").expect(200);
}

/// Faults 46 and 47: there are no descriptors left below the limits of connections. Nothing spins, the operator is
/// answered, and soon after clients have gone all is as before.
#[test]
fn without_descriptors_nothing_spins() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let few = proxy.open_descriptors() + 8;
    let pid = proxy.status()["pid"].to_string();
    let lower = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={few}:")]).status();
    if !lower.is_ok_and(|status| status.success()) {
        eprintln!("skipped: prlimit cannot be run");
        return;
    }
    let clients: Vec<_> = (0..100).map(|_| proxy.client()).collect();
    proxy.event("the lack", |event| event.message() == "connections cannot be accepted");
    let before = proxy.processor_time();
    thread::sleep(Duration::from_secs(1));
    assert!(proxy.processor_time() - before < Duration::from_millis(300), "it spins");
    proxy.admin("/livez").expect(200);
    assert!(proxy.metric("evenkeel_accept_pauses_total", &["reason=\"system\""]) >= 1.0);
    drop(clients);
    eventually("an answer", || {
        let mut client = proxy.client();
        client.try_send(GET).ok()?;
        client.try_response_to("GET").ok().filter(|response| response.status == 200).map(drop)
    });
    proxy.is_unharmed(endpoint.open());
}

/// Fault 47: a thousand clients at once where 256 descriptors are allowed. Those who are busy keep their seats and the
/// others wait; nothing spins, the operator is answered, and once they have gone everybody is served.
#[test]
fn a_thousand_clients_share_256_descriptors() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).after_shell("ulimit -n 256").start();
    let mut clients: Vec<_> = (0..1000).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(GET);
        is_busy(client);
    }
    eventually("connections up to the limit", || {
        (proxy.metric("evenkeel_accept_pauses_total", &[]) >= 1.0).then_some(())
    });
    // Those who are served keep their connections: the others wait, and that costs nothing.
    thread::sleep(Duration::from_millis(500));
    let before = proxy.processor_time();
    thread::sleep(Duration::from_secs(1));
    assert!(proxy.processor_time() - before < Duration::from_millis(300), "it spins");
    assert!(proxy.open_descriptors() < 256);
    proxy.admin("/livez").expect(200);
    let served = endpoint.count();
    assert!((50..256).contains(&served), "{served} were served");
    drop(clients);
    eventually("an answer", || {
        let mut client = proxy.client();
        client.try_send(GET).ok()?;
        client.try_response_to("GET").ok().filter(|response| response.status == 200).map(drop)
    });
    proxy.is_unharmed(endpoint.open());
}
