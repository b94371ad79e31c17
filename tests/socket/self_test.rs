//! The harness tried on itself: client against scripted endpoint, with nothing between them.

use std::time::Duration;

use crate::harness::{Client, End, Endpoint, nobody_listens, silent_network};

#[test]
fn a_client_reads_lengths_and_chunks_on_one_connection() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
        "/chunked" => {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            exchange.chunk("one");
            exchange.chunk("two");
            exchange.send("0\r\n\r\n");
        }
        _ => exchange.answer("hello"),
    });
    let mut client = Client::connect(endpoint.address());
    assert_eq!(client.get("/length").expect(200).text(), "hello");
    assert_eq!(client.get("/chunked").expect(200).text(), "onetwo");
    assert_eq!(client.upload("POST", "/upload", b"body").expect(200).text(), "hello");
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(endpoint.seen("/upload").body, b"body");
    assert!(endpoint.seen("/upload").whole);
}

#[test]
fn a_client_tells_how_a_body_ended() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        match exchange.target() {
            "/reset" => exchange.reset(),
            _ => exchange.close(),
        }
    });
    let end_of = |target: &str| Client::connect(endpoint.address()).get(target).end;
    assert_eq!(end_of("/close"), End::Closed);
    assert_eq!(end_of("/reset"), End::Reset);
}

#[test]
fn an_endpoint_reads_chunked_bodies() {
    let endpoint = Endpoint::named("a");
    let mut client = Client::connect(endpoint.address());
    client.send(
        "POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    client.response().expect(200);
    assert_eq!(endpoint.seen("/up").body, b"abcde");
}

#[test]
fn an_endpoint_stops_and_starts_on_its_port() {
    let mut endpoint = Endpoint::named("a");
    let mut client = Client::connect(endpoint.address());
    client.get("/").expect(200);
    endpoint.stop();
    client.closed_within(Duration::from_secs(1));
    assert!(std::net::TcpStream::connect(endpoint.address()).is_err());
    endpoint.start();
    Client::connect(endpoint.address()).get("/").expect(200);
}

#[test]
fn refusing_and_silent_addresses_are_what_they_say() {
    let refusing = nobody_listens();
    let error = std::net::TcpStream::connect(refusing.address()).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    let silent = silent_network();
    let address = silent.address.parse().unwrap();
    let error =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).expect_err("silence");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

/// Every test that `docs/faults.md` names is there, and every fault that is promised has one.
#[test]
fn the_table_of_faults_is_true() {
    let table = include_str!("../../docs/faults.md");
    let mut faults = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| # ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        faults.extend(cells[1].parse::<u8>());
        let named: Vec<&str> = cells[4].split(", ").map(|name| name.trim_matches('`')).collect();
        assert!(named.iter().all(|name| name.contains("::")), "{row}");
        for name in named {
            assert!(is_test(name), "docs/faults.md names {name}, which is no test");
        }
    }
    // They stand by theme; a new one has a number that no other has.
    faults.sort_unstable();
    assert!(faults.windows(2).all(|pair| pair[0] < pair[1]), "each has a number of its own: {faults:?}");
    let promised: Vec<u8> = (1..=63).collect();
    assert!(faults.starts_with(&promised), "{faults:?}");
}

/// Whether `module::name` is a test of this suite.
fn is_test(path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").expect("a path with a module");
    let file = format!("{}/tests/socket/{}.rs", env!("CARGO_MANIFEST_DIR"), module.replace("::", "/"));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == format!("fn {name}() {{"));
    at.is_some_and(|at| lines[at.saturating_sub(3)..at].contains(&"#[test]"))
}
