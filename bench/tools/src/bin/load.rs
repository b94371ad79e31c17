//! A load whose requests are spread over many hosts and paths, as fast as it goes or at a steady rate:
//! `load --address ADDRESS --targets FILE --connections N (--requests N | --seconds N) [--rate N] [--body BYTES]`.
//!
//! The file has a host and a path in each line; requests take them in turns. Every answer must be a 200 with a body of
//! as many bytes, on a connection that stays; anything else ends it all. A request's time is from its last byte sent to
//! the last byte of its answer. Says what it found as one line of JSON.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tools::{ROOM, argument, connect, lengths, number};

/// Connections that are opened at the same time: more would not fit a listener's queue.
const OPENED_AT_ONCE: usize = 64;

struct Load {
    targets: Vec<Vec<u8>>,
    body: usize,
    /// Requests that have begun.
    begun: Cell<usize>,
    requests: usize,
    until: Option<Instant>,
    /// From one request to the next on a connection; `None`: at once.
    pace: Option<Duration>,
    times: RefCell<Vec<Duration>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address: SocketAddr =
        argument("--address").and_then(|text| text.parse().ok()).expect("--address IP:PORT");
    let connections = number("--connections").expect("--connections N");
    let mut streams = Vec::with_capacity(connections);
    while streams.len() < connections {
        let opening =
            (streams.len()..connections).take(OPENED_AT_ONCE).map(|_| tokio::spawn(connect(address)));
        for opened in opening.collect::<Vec<_>>() {
            streams.push(opened.await.expect("no panic").expect("a connection"));
        }
    }
    let started = Instant::now();
    let load = Rc::new(Load {
        targets: targets(&argument("--targets").expect("--targets FILE")),
        body: number("--body").unwrap_or(100),
        begun: Cell::default(),
        requests: number("--requests").unwrap_or(usize::MAX),
        until: number("--seconds").map(|seconds| started + Duration::from_secs(seconds as u64)),
        pace: number("--rate").map(|rate| Duration::from_secs(connections as u64) / rate as u32),
        times: RefCell::default(),
    });
    let local = LocalSet::new();
    for (index, stream) in streams.into_iter().enumerate() {
        // Those with a pace do not come all at once.
        let first = started + load.pace.unwrap_or_default().mul_f64(index as f64 / connections as f64);
        local.spawn_local(load.clone().run(stream, first));
    }
    local.await;
    load.report(started.elapsed());
}

/// The requests, ready to be sent.
fn targets(file: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file).expect("the targets");
    let request = |line: &str| {
        let (host, path) = line.split_once(' ').expect("a host and a path");
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n").into_bytes()
    };
    text.lines().map(request).collect()
}

impl Load {
    async fn run(self: Rc<Self>, mut stream: TcpStream, mut next: Instant) {
        let mut room = vec![0; ROOM];
        while let Some(request) = self.next_request() {
            if let Some(pace) = self.pace {
                tokio::time::sleep_until(next.into()).await;
                next += pace;
            }
            let sent = Instant::now();
            stream.write_all(request).await.expect("the request goes out");
            self.answer(&mut stream, &mut room).await;
            self.times.borrow_mut().push(sent.elapsed());
        }
    }

    fn next_request(&self) -> Option<&[u8]> {
        let begun = self.begun.get();
        if begun == self.requests || self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        self.begun.set(begun + 1);
        self.targets.get(begun % self.targets.len()).map(Vec::as_slice)
    }

    async fn answer(&self, stream: &mut TcpStream, room: &mut [u8]) {
        let mut read = 0;
        loop {
            let more = stream.read(&mut room[read..]).await.expect("an answer");
            assert!(more > 0, "the connection was closed");
            read += more;
            let Some((head, body)) = lengths(&room[..read]) else { continue };
            assert!(room.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&room[..head]));
            assert_eq!(body, self.body, "another length");
            if read >= head + body {
                return;
            }
        }
    }

    fn report(&self, elapsed: Duration) {
        let mut times = self.times.borrow_mut();
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        println!(
            r#"{{"requests": {}, "seconds": {:.6}, "p50_us": {:.1}, "p99_us": {:.1}, "p999_us": {:.1}, "max_us": {:.1}}}"#,
            times.len(),
            elapsed.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        );
    }
}
