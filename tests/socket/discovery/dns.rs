//! Host names and SRV records, by a real dnsmasq.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::dnsmasq::{Dnsmasq, TTL};
use crate::harness::{Client, Endpoint, Proxy, SteadyLoad, eventually, lacks, within};

/// Two endpoints with the same port.
fn two() -> (Endpoint, Endpoint) {
    let free = || {
        let first = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        TcpListener::bind(("127.0.0.9", port)).ok().map(|_| port)
    };
    let port = (0..100).find_map(|_| free()).expect("a port that is free on both addresses");
    let on = |name: &'static str, ip: [u8; 4]| {
        Endpoint::bound(name, (ip, port).into(), move |exchange| exchange.answer(name))
    };
    (on("one", [127, 0, 0, 1]), on("nine", [127, 0, 0, 9]))
}

fn source(proxy: &Proxy) -> Value {
    proxy.status()["pools"][0]["sources"][0].clone()
}

fn labels(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let endpoints = status["pools"][0]["endpoints"].as_array().unwrap().clone();
    endpoints.iter().map(|endpoint| endpoint["address"].as_str().unwrap().to_owned()).collect()
}

/// The name moves to and fro under load: each time the new address has the requests within the TTL and a second, and
/// none is lost.
#[test]
fn a_change_is_in_force_within_its_ttl() {
    let (one, _nine) = two();
    let Some(dns) = Dnsmasq::start("127.0.0.1 app.test\n", &[]) else { return };
    let proxy = Proxy::to([format!("app.test:{}", one.port())]).with(&dns.resolve()).start();
    let load = SteadyLoad::start(&proxy.address(), 4);
    let mut took = Vec::new();
    for (address, name) in [("127.0.0.9", "nine"), ("127.0.0.1", "one"), ("127.0.0.9", "nine")] {
        // A change may come just after an answer, or just before the next question.
        std::thread::sleep(Duration::from_millis(300));
        let changed = Instant::now();
        dns.set_hosts(&format!("{address} app.test\n"));
        eventually("the change", || (proxy.get("/x").expect(200).text() == name).then_some(()));
        took.push(changed.elapsed());
        for _ in 0..5 {
            assert_eq!(proxy.get("/x").expect(200).text(), name, "nobody else has requests");
        }
    }
    let (sent, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {sent}");
    // On a machine that has much else to do, one of them may be late.
    took.sort();
    assert!(took[1] < Duration::from_secs(TTL + 1), "{took:?}");
    let line = proxy.event("the change in the log", |event| event.message() == "endpoint source has changed");
    assert_eq!(line.text("source"), format!("app.test:{}", one.port()));
}

/// An address that comes is an endpoint with its own state; one that stays keeps its counts; one that goes finishes what
/// it has.
#[test]
fn a_name_with_more_and_fewer_addresses() {
    let (one, nine) = two();
    let Some(dns) = Dnsmasq::start("127.0.0.1 app.test\n", &[]) else { return };
    let proxy = Proxy::to([format!("app.test:{}", one.port())])
        .health_check("type: tcp, interval: 200ms, timeout: 200ms")
        .with(&dns.resolve())
        .start();
    proxy.get("/x").expect(200);
    dns.set_hosts("127.0.0.1 app.test\n127.0.0.9 app.test\n");
    let second = format!("app.test:{0} (127.0.0.9:{0})", one.port());
    proxy.wait_until(&second, "healthy");
    assert_eq!(labels(&proxy), [format!("app.test:{0} (127.0.0.1:{0})", one.port()), second]);
    let before = (one.count(), nine.count());
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
    assert_eq!((one.count(), nine.count()), (before.0 + 5, before.1 + 5));
    dns.set_hosts("127.0.0.9 app.test\n");
    eventually("the first to go", || (labels(&proxy).len() == 1).then_some(()));
    let gone = one.count();
    for _ in 0..5 {
        assert_eq!(proxy.get("/x").expect(200).text(), "nine");
    }
    assert_eq!(one.count(), gone);
}

/// Nothing is sent any more over the idle connections to an address that has gone, and they are closed at once.
#[test]
fn idle_connections_to_an_address_that_has_gone() {
    if lacks("connections to endpoints") {
        return;
    }
    let (one, _nine) = two();
    let Some(dns) = Dnsmasq::start("127.0.0.1 app.test\n", &[]) else { return };
    let proxy = Proxy::to([format!("app.test:{}", one.port())]).with(&dns.resolve()).start();
    proxy.get("/x").expect(200);
    let open = || proxy.metric("evenkeel_endpoint_connections", &[]);
    assert_eq!(open(), 1.0);
    dns.set_hosts("127.0.0.9 app.test\n");
    eventually("the idle connection to be closed", || (open() == 0.0).then_some(()));
}

/// The name server says that there is no such name, and then it says nothing: the last answer stays, over a reload and
/// an upgrade, too, until it answers again.
#[test]
fn the_last_answer_stays_whatever_happens_to_the_name_server() {
    let (one, _nine) = two();
    let Some(dns) = Dnsmasq::start("127.0.0.1 app.test\n", &[]) else { return };
    let mut proxy = Proxy::to([format!("app.test:{}", one.port())]).with(&dns.resolve()).start();
    let load = SteadyLoad::start(&proxy.address(), 2);
    dns.set_hosts("127.0.0.1 other.test\n");
    let line =
        proxy.event("a line that says so", |event| event.message().starts_with("endpoint source fails"));
    assert_eq!((line.text("reason"), &line.0["kept"]), ("no such name (NXDOMAIN)", &1.into()));
    dns.signal(Signal::SIGSTOP);
    within(Duration::from_secs(20), "the silence to be noticed", || {
        let failing = source(&proxy)["failing"].as_str()?.to_owned();
        (failing != "no such name (NXDOMAIN)").then_some(())
    });
    proxy.reload(&proxy.config_text().replace("interval: 60s", "interval: 50s"));
    eventually("the reload", || (proxy.status()["generation"] == 2).then_some(()));
    proxy.get("/reloaded").expect(200);
    proxy.upgrade();
    proxy.get("/upgraded").expect(200);
    let known = within(Duration::from_secs(20), "the silence to be noticed again", || {
        Some(source(&proxy)).filter(|known| !known["failing"].is_null())
    });
    assert!(known["answered"].as_f64().is_some() && known["endpoints"] == 1, "{known}");
    let shown = proxy.command(&["status"]).stdout;
    assert!(shown.contains(&format!("from app.test:{}: 1 endpoint kept, answered ", one.port())), "{shown}");
    dns.signal(Signal::SIGCONT);
    dns.set_hosts("127.0.0.9 app.test\n");
    within(Duration::from_secs(20), "the name server to be asked again", || {
        (proxy.get("/x").expect(200).text() == "nine").then_some(())
    });
    assert!(source(&proxy)["failing"].is_null());
    let (sent, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {sent}");
}

/// The name server answers only after the start: requests wait for it, if the pool says so.
#[test]
fn a_start_without_an_answer() {
    let (one, _nine) = two();
    let Some(dns) = Dnsmasq::start("127.0.0.1 app.test\n", &[]) else { return };
    dns.signal(Signal::SIGSTOP);
    let proxy = Proxy::to([format!("app.test:{}", one.port())])
        .with(&dns.resolve())
        .with("when_none_healthy: { wait: 20s }")
        .start();
    let client = std::thread::spawn({
        let address = proxy.address();
        move || {
            let mut client = Client::connect(&address).patient_for(Duration::from_secs(30));
            client.get("/waits").status
        }
    });
    eventually("the request to wait", || (proxy.status()["pools"][0]["waiting"] == 1).then_some(()));
    dns.signal(Signal::SIGCONT);
    assert_eq!(client.join().unwrap(), 200);
}

/// SRV records say ports, weights, and who is a backup of whom.
#[test]
fn srv_records_have_their_weights_and_priorities() {
    let [heavy, light, backup] = ["heavy", "light", "backup"].map(Endpoint::named);
    let record = |host: &str, endpoint: &Endpoint, rest: &str| {
        format!("--srv-host=_http._tcp.api.test,{host}.test,{},{rest}", endpoint.port())
    };
    let hosts = "127.0.0.1 heavy.test\n127.0.0.1 light.test\n127.0.0.1 backup.test\n";
    let records = [
        record("heavy", &heavy, "10,30"),
        record("light", &light, "10,10"),
        record("backup", &backup, "20,50"),
    ];
    let Some(mut dns) = Dnsmasq::start(hosts, &records) else { return };
    let proxy = Proxy::to(["srv:_http._tcp.api.test"]).with(&dns.resolve()).start();
    for _ in 0..40 {
        proxy.get("/x").expect(200);
    }
    assert_eq!((heavy.count(), light.count(), backup.count()), (30, 10, 0));
    assert!(labels(&proxy).contains(&format!("heavy.test:{0} (127.0.0.1:{0})", heavy.port())));

    // The weights change.
    dns.restart(&[
        record("heavy", &heavy, "10,10"),
        record("light", &light, "10,10"),
        record("backup", &backup, "20,50"),
    ]);
    let weight_of_heavy = || {
        let status = proxy.endpoint_status(&format!("heavy.test:{0} (127.0.0.1:{0})", heavy.port()))?;
        status["weight"].as_u64()
    };
    eventually("the new weights", || (weight_of_heavy() == Some(1)).then_some(()));
    let before = (heavy.count(), light.count());
    for _ in 0..10 {
        proxy.get("/x").expect(200);
    }
    assert_eq!((heavy.count() - before.0, light.count() - before.1), (5, 5));

    // The first two go: the backup has their requests.
    drop((heavy, light));
    for _ in 0..5 {
        assert_eq!(proxy.get("/x").expect(200).text(), "backup");
    }
}

/// Addresses of both families are endpoints, but for those that this machine cannot reach.
#[test]
fn addresses_of_both_families() {
    let connects =
        |address: &str| UdpSocket::bind(("::", 0)).is_ok_and(|socket| socket.connect((address, 80)).is_ok());
    let (one, _nine) = two();
    let hosts = "127.0.0.1 app.test\n::1 app.test\n2001:db8::1 app.test\n";
    let Some(dns) = Dnsmasq::start(hosts, &[]) else { return };
    let proxy = Proxy::to([format!("app.test:{}", one.port())]).with(&dns.resolve()).start();
    let port = one.port();
    let mut expected = vec![format!("app.test:{port} (127.0.0.1:{port})")];
    for address in ["::1", "2001:db8::1"].into_iter().filter(|address| connects(address)) {
        expected.push(format!("app.test:{port} ([{address}]:{port})"));
    }
    assert_eq!(labels(&proxy), expected);
    if connects("2001:db8::1") {
        eprintln!("skipped: this machine has a route to every address");
    }
}
