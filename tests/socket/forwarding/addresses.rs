//! Every kind of address, on both sides.

use std::net::{Ipv6Addr, TcpStream};

use crate::harness::{Client, Endpoint, Exchange, Proxy};

fn answer(exchange: &mut Exchange) {
    exchange.answer("here");
}

#[test]
fn an_endpoint_on_a_unix_socket() {
    let builder = Proxy::config();
    let endpoint = Endpoint::unix(builder.folder().join("endpoint.sock"), answer);
    let proxy = builder
        .pool("default", [&endpoint])
        .health_check("type: tcp, interval: 200ms, timeout: 1s, healthy_after: 1")
        .start();
    proxy.wait_until(endpoint.address(), "healthy");
    for _ in 0..3 {
        assert_eq!(proxy.get("/x").expect(200).text(), "here");
    }
    assert_eq!(proxy.records_of("/x", 3)[0].endpoints(), [endpoint.address()]);
}

#[test]
fn an_endpoint_on_ipv6() {
    let endpoint = Endpoint::bound("v6", (Ipv6Addr::LOCALHOST, 0).into(), answer);
    assert!(endpoint.address().starts_with("[::1]:"));
    let proxy = Proxy::to([&endpoint]).start();
    assert_eq!(proxy.get("/x").expect(200).text(), "here");
    assert_eq!(proxy.record("/x").endpoints(), [endpoint.address()]);
}

/// A host name is resolved, and the log and the status say which name it was.
#[test]
fn an_endpoint_with_a_name() {
    let endpoint = Endpoint::scripted("named", answer);
    let name = format!("localhost:{}", endpoint.port());
    let proxy = Proxy::to([&name])
        .health_check("type: tcp, interval: 200ms, timeout: 1s, healthy_after: 1, unhealthy_after: 1")
        .start();
    proxy.wait_until(&format!("{name} ({})", endpoint.address()), "healthy");
    assert_eq!(proxy.get("/x").expect(200).text(), "here");
    assert_eq!(proxy.record("/x").endpoints(), [format!("{name} ({})", endpoint.address())]);
}

#[test]
fn a_listener_on_a_unix_socket() {
    let endpoint = Endpoint::scripted("a", answer);
    let builder = Proxy::to([&endpoint]);
    let path = format!("unix:{}", builder.folder().join("listen.sock").display());
    let proxy = builder.listen("local", &path).start();
    let mut client = Client::connect(&path);
    for _ in 0..3 {
        assert_eq!(client.get("/x").expect(200).text(), "here");
    }
    let record = &proxy.records_of("/x", 3)[0];
    assert_eq!((record.text("client"), record.text("listener")), ("unix", "local"));
}

/// A socket file that a process before left behind is no obstacle.
#[test]
fn a_stale_unix_socket_is_taken_over() {
    let endpoint = Endpoint::scripted("a", answer);
    let builder = Proxy::to([&endpoint]);
    let path = builder.folder().join("listen.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _proxy = builder.listen("local", &format!("unix:{}", path.display())).start();
    Client::connect(&format!("unix:{}", path.display())).get("/x").expect(200);
}

#[test]
fn a_listener_on_ipv6() {
    let endpoint = Endpoint::scripted("a", answer);
    let proxy = Proxy::to([&endpoint]).listen("v6", "[::1]:0").start();
    assert!(proxy.address().starts_with("[::1]:"), "{}", proxy.address());
    proxy.get("/x").expect(200);
    assert_eq!(endpoint.seen("/x").header("x-forwarded-for"), Some("::1"));
}

/// `:0` is every address of the machine, of both kinds.
#[test]
fn a_listener_on_every_address() {
    let endpoint = Endpoint::scripted("a", answer);
    let proxy = Proxy::to([&endpoint]).listen("all", ":0").start();
    let port = proxy.address().rsplit(':').next().unwrap().to_owned();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert!(TcpStream::connect(&address).is_ok(), "nobody listens on {address}");
        Client::connect(&address).get("/x").expect(200);
    }
    // A client of IPv4 is one, not an IPv6 address that wraps one.
    let forwarded: Vec<String> =
        endpoint.requests().iter().map(|seen| seen.header("x-forwarded-for").unwrap().to_owned()).collect();
    assert_eq!(forwarded, ["127.0.0.1", "::1"]);
}

#[test]
fn several_listeners_at_once() {
    let endpoint = Endpoint::scripted("a", answer);
    let proxy = Proxy::to([&endpoint]).listen("one", "127.0.0.1:0").listen("two", "127.0.0.1:0").start();
    for listener in ["one", "two"] {
        Client::connect(&proxy.address_of(listener)).get(&format!("/{listener}")).expect(200);
        assert_eq!(proxy.record(&format!("/{listener}")).text("listener"), listener);
    }
}
