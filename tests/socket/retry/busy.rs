//! A unix socket whose backlog is full: whoever listens there is busy, and is waited for.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::{Proxy, eventually};

/// Listens there, with connections that fill the backlog, so that the kernel says EAGAIN to others.
fn busy(path: &Path) -> (UnixListener, Vec<Socket>) {
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(path).unwrap()).unwrap();
    listener.listen(1).unwrap();
    let mut held = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&SockAddr::unix(path).unwrap()) {
            Ok(()) => held.push(socket),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                return (listener.into(), held);
            }
        }
    }
}

fn answer(mut stream: UnixStream) {
    use std::io::{Read, Write};
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
}

fn started(extra: &str) -> (Proxy, PathBuf, UnixListener, Vec<Socket>) {
    let builder = Proxy::config();
    let path = builder.folder().join("busy.sock");
    let (listener, held) = busy(&path);
    let proxy = builder.pool("default", [format!("\"unix:{}\"", path.display())]).with(extra).start();
    (proxy, path, listener, held)
}

/// It is waited for within `timeouts.connect`, and is reached as soon as there is room.
#[test]
fn a_full_backlog_is_waited_for() {
    let (proxy, path, listener, held) = started("timeouts: { connect: 60s }");
    let label = format!("unix:{}", path.display());
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /busy HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    eventually("four attempts", || (proxy.endpoint_status(&label).unwrap()["in_flight"] == 4).then_some(()));
    drop(held);
    let serving = std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(|| answer(stream));
        }
    });
    for client in &mut clients {
        assert_eq!(client.response().expect(200).text(), "ok");
    }
    for record in proxy.records_of("/busy", 4) {
        assert_eq!(record.results(), ["200"]);
    }
    let status = proxy.endpoint_status(&label).unwrap();
    assert_eq!((status["failures"].as_u64(), status["state"].as_str()), (Some(0), Some("healthy")));
    drop((proxy, serving));
}

#[test]
fn a_backlog_that_stays_full_is_a_timeout() {
    let (proxy, _path, _listener, _held) = started("timeouts: { connect: 300ms }\n    retry: off");
    let started = std::time::Instant::now();
    proxy.get("/x").expect(503);
    assert!(started.elapsed() >= Duration::from_millis(290));
    assert_eq!(proxy.record("/x").cause(), "connect_timeout");
}
