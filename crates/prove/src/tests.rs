//! Tests of the clients, without the proxy: against the endpoints, and against servers that misbehave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::client::{Clients, Crowd, Load};
use super::content::{Content, splitmix64};
use super::endpoint::Endpoint;
use super::message::{Length, Wire};

const NONE: Clients =
    Clients { keep_alive: 0, new_connections: 0, http2: 0, downloads: 0, uploads: 0, websockets: 0 };

/// Runs the clients until `least` requests were made or one failed; returns the failures and the number of requests.
async fn complaints(load: &Arc<Load>, clients: &Clients, least: u64) -> (Vec<String>, u64) {
    let crowd = Crowd::start(load, clients);
    let mut requests = 0;
    let counted = async {
        while requests < least && load.tally.failures() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            requests += load.tally.take().requests;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    crowd.stop().await;
    let (failures, _) = load.tally.complaints();
    let complaint = |failure: &super::Failure| format!("{}, not {}", failure.got, failure.expected);
    (failures.iter().map(complaint).collect(), requests + load.tally.take().requests)
}

/// The failure of a keep-alive client that gets this answer to request 1, and then a close.
async fn complaint_of(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let load = Arc::new(Load::new(listener.local_addr().unwrap(), Instant::now()));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let one = Clients { keep_alive: 1, ..NONE };
    complaints(&load, &one, u64::MAX).await.0.remove(0)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn clients_and_endpoints_understand_each_other() {
    let endpoint = Endpoint::start().unwrap();
    let load = Arc::new(Load::new(endpoint.address, Instant::now()));
    let clients =
        Clients { keep_alive: 2, new_connections: 2, downloads: 2, uploads: 4, websockets: 3, ..NONE };
    let (complaints, requests) = complaints(&load, &clients, 50).await;
    assert_eq!(complaints, Vec::<String>::new());
    assert!(requests >= 50, "{requests}");
    assert_eq!(load.tally.websockets(), 0, "all of them have ended");
}

#[tokio::test]
async fn what_is_wrong_with_an_answer_is_said() {
    let size = splitmix64(1) % 8192;
    let own = Content::of(1).next(usize::try_from(size).unwrap());
    let other = Content::of(2).next(usize::try_from(size).unwrap());
    let whole = format!("HTTP/1.1 200 OK\r\nX-Prove-Id: 1\r\nContent-Length: {size}\r\n\r\n");
    let cases = [
        (answer("", b""), "the connection was closed on a new connection, not an answer".to_owned()),
        (answer("HTTP/1.1 200 OK\r\nX-Pro", b""), "the connection was closed within a head".into()),
        (answer("HTTP/1.1 502 Bad Gateway\r\n\r\n", b""), "HTTP/1.1 502 Bad Gateway, not 200".into()),
        (
            answer("HTTP/1.1 200 OK\r\nX-Prove-Id: 2\r\n\r\n", b""),
            "that to request 2, not the answer to request 1".into(),
        ),
        (answer(&whole, &own[1..]), format!("the body was cut after {} of {size} bytes", size - 1)),
        (answer(&whole, &other), format!("other bytes, not {size} bytes of content 1")),
    ];
    for (answer, expected) in cases {
        let complaint = complaint_of(answer).await;
        assert!(complaint.contains(&expected), "{expected}: {complaint}");
    }
}

/// A close between two requests is a failure unless it was announced.
#[tokio::test]
async fn a_close_must_be_announced() {
    let size = splitmix64(1) % 8192;
    let body = Content::of(1).next(usize::try_from(size).unwrap());
    let head =
        |more: &str| format!("HTTP/1.1 200 OK\r\nX-Prove-Id: 1\r\n{more}Content-Length: {size}\r\n\r\n");
    let unannounced = complaint_of(answer(&head(""), &body)).await;
    assert!(unannounced.contains("unannounced, on a connection that was idle for"), "{unannounced}");
    let announced = complaint_of(answer(&head("Connection: close\r\n"), &body)).await;
    // The server of this test takes no second connection.
    assert!(announced.contains("not a connection"), "{announced}");
}

#[tokio::test]
async fn chunks_are_read_to_their_end() {
    let cases: [(&[u8], Result<u64, &str>); 5] = [
        (b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n", Ok(11)),
        (b"0\r\n\r\n", Ok(0)),
        (b"5\r\nhello\r\n", Err("the body was cut between two chunks")),
        (b"5\r\nhellooo\r\n0\r\n\r\n", Err("a chunk that is longer than its size")),
        (b"five\r\nhello\r\n0\r\n\r\n", Err("a chunk without a size")),
    ];
    for (bytes, expected) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, mut wire) = (client.unwrap(), Wire::new(accepted.unwrap().0));
        client.write_all(bytes).await.unwrap();
        drop(client);
        let read = wire.body(Length::Chunked, |_| {}).await.map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned));
    }
}
