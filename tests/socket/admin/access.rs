//! Fault 63: the admin address is closed to strangers, to the network, and to web pages.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Client, Endpoint, Proxy, Response, eventually};

/// A GET at a TCP admin address, with this Host and these fields.
fn ask(address: &str, path: &str, host: &str, fields: &str) -> Response {
    Client::connect(address).send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).response()
}

/// Where the admin server says that it is bound over TCP.
fn admin_address(proxy: &Proxy) -> String {
    eventually("the admin server's address", || {
        let events = proxy.events().into_iter().filter(|event| event.message() == "admin address open");
        let mut addresses = events.map(|event| event.text("address").to_owned());
        addresses.find(|address| !address.starts_with("unix:"))
    })
}

#[test]
fn the_questions_that_it_answers() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    assert_eq!(proxy.admin("/livez").expect(200).text().trim(), "ok");
    proxy.admin("/readyz").expect(200);
    let metrics = proxy.admin("/metrics").expect(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    let status = proxy.admin("/status").expect(200);
    assert!(status.header("content-type").unwrap().starts_with("application/json"));
    for path in ["/", "/nothing", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/livez/.."] {
        let response = proxy.admin(path);
        assert!([400, 404].contains(&response.status), "{path}: {}", response.status);
    }
}

/// The socket is for its owner and group alone, and gone when the proxy is.
#[test]
fn the_socket_is_not_for_everybody() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let socket = proxy.folder().join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    proxy.ended();
    assert!(!socket.exists());
}

#[test]
fn only_questions_are_answered() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let socket = format!("unix:{}", proxy.folder().join("admin.sock").display());
    for method in ["POST", "PUT", "DELETE"] {
        let mut client = Client::connect(&socket);
        client.send(format!("{method} /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
        client.response().expect(405);
    }
}

/// Whoever may open the socket may give orders, by POST alone.
#[test]
fn orders_are_posts() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let socket = format!("unix:{}", proxy.folder().join("admin.sock").display());
    for method in ["GET", "HEAD", "PUT"] {
        let mut client = Client::connect(&socket);
        client.send(format!("{method} /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.response_to(method).expect(405).header("allow"), Some("POST"));
    }
    assert_eq!(proxy.status()["generation"], 1);
    let mut client = Client::connect(&socket);
    client.send("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    client.response().expect(200);
    assert_eq!(proxy.status()["generation"], 2);
}

/// Fault 63: over TCP, orders need a token, loopback or not: a web page in the browser of somebody on this machine could
/// send a POST, too.
#[test]
fn orders_over_tcp_need_a_token() {
    let endpoint = Endpoint::named("a");
    let reload = |proxy: &Proxy, fields: &str| {
        let mut client = Client::connect(&admin_address(proxy));
        client.send(format!("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: 0\r\n\r\n"));
        client.response()
    };
    let open = Proxy::to([&endpoint]).admin("listen: '127.0.0.1:0'").start();
    reload(&open, "").expect(403);
    reload(&open, "Origin: http://127.0.0.1:8080\r\n").expect(403);
    let closed = Proxy::to([&endpoint]).admin("listen: '127.0.0.1:0', token: a-secret-of-the-test").start();
    reload(&closed, "").expect(401);
    reload(&closed, "Authorization: Bearer wrong!\r\n").expect(401);
    reload(&closed, "Authorization: Bearer a-secret-of-the-test\r\n").expect(200);
}

/// Who has given an order over TCP is an address: the kernel knows no user of it.
#[test]
fn an_order_over_tcp_has_the_address_it_came_from() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).admin("listen: '127.0.0.1:0', token: a-secret-of-the-test").start();
    let address = admin_address(&proxy);
    let drain = |fields: &str| {
        let path = format!("/drain?endpoint={}&json=true", a.address());
        Client::connect(&address)
            .send(format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n{fields}\r\n"))
            .response()
    };
    drain("").expect(401);
    let answer = drain("Authorization: Bearer a-secret-of-the-test\r\n").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.text().contains(r#""drained":{"by":"127.0.0.1","until":null}"#), "{}", answer.text());
}

/// On loopback no token is needed, but the Host must be an address or localhost: a web page whose own name leads to
/// this machine is kept out.
#[test]
fn a_tcp_address_checks_the_host() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).admin("listen: '127.0.0.1:0'").start();
    let address = admin_address(&proxy);
    for host in [address.as_str(), "localhost", "127.0.0.1:1", "[::1]:9900"] {
        ask(&address, "/status", host, "").expect(200);
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""] {
        let response = ask(&address, "/status", host, "");
        assert!([400, 403, 421].contains(&response.status), "{host}: {}", response.status);
        assert!(!response.text().contains(endpoint.address()));
    }
}

/// Open to the network, every question that tells something needs the token.
#[test]
fn a_network_address_needs_a_token() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).admin("listen: '0.0.0.0:0', token: s3cret-s3cret-s3cret").start();
    let port = admin_address(&proxy).rsplit(':').next().unwrap().to_owned();
    let address = format!("127.0.0.1:{port}");
    for path in ["/status", "/metrics", "/api/v1/explain?url=http%3A%2F%2Fa.example%2F"] {
        for fields in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer s3cre\r\n",
            "Authorization: s3cret-s3cret-s3cret\r\n",
        ] {
            let response = ask(&address, path, "balancer.example", fields).expect(401);
            assert!(response.head.has("www-authenticate"));
            assert!(!response.text().contains(endpoint.address()));
        }
        ask(&address, path, "balancer.example", "Authorization: Bearer s3cret-s3cret-s3cret\r\n").expect(200);
    }
}

/// Without a token such a config is refused.
#[test]
fn a_network_address_without_a_token_is_refused() {
    let endpoint = Endpoint::named("a");
    let ended = Proxy::to([&endpoint]).admin("listen: '0.0.0.0:0'").start_and_fail();
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("token"), "{}", ended.stderr);
}

/// The proxy's own addresses do not answer the admin's questions.
#[test]
fn clients_do_not_reach_it() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    for path in ["/status", "/metrics", "/livez"] {
        assert_eq!(proxy.get(path).expect(200).text(), "a");
    }
}

#[test]
fn it_can_be_off() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).admin("listen: off").start();
    proxy.get("/").expect(200);
    assert!(!proxy.folder().join("admin.sock").exists());
}

/// A socket that a killed process left behind is no obstacle; one of a living process is.
#[test]
fn a_stale_socket_is_taken_over_and_a_living_one_is_not() {
    let endpoint = Endpoint::named("a");
    let first = Proxy::to([&endpoint]).start();
    let socket = first.folder().join("admin.sock");
    let shared = format!("listen: \"unix:{}\"", socket.display());

    let refused = Proxy::to([&endpoint]).admin(&shared).start_and_fail();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("admin.sock"), "{}", refused.stderr);

    first.signal(nix::sys::signal::Signal::SIGKILL);
    let mut first = first;
    first.ended();
    assert!(socket.exists());
    let _second = Proxy::to([&endpoint]).admin(&shared).start();
    Client::connect(&format!("unix:{}", socket.display()))
        .send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .response()
        .expect(200);
}

/// Who says nothing has a place only until somebody else needs it.
#[test]
fn silent_connections_shut_nobody_out() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).admin("listen: '127.0.0.1:0', token: a-secret-of-the-test").start();
    let address = admin_address(&proxy);
    let mut silent = Vec::new();
    for half in ["", "GET /livez HTTP/1.1\r\n"] {
        for _ in 0..150 {
            let mut client = Client::connect(&address);
            client.send(half);
            silent.push(client);
        }
        assert_eq!(ask(&address, "/livez", "x", "").status, 200);
        assert_eq!(ask(&address, "/readyz", "x", "").status, 200);
        assert_eq!(
            ask(&address, "/status", "x", "Authorization: Bearer a-secret-of-the-test\r\n").status,
            200
        );
    }
}
