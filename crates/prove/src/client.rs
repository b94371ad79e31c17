//! The clients. None of them retries anything, so that every loss is counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::content::{Content, splitmix64};
use super::message::{Head, Wire};
use super::stage::Stage;
use super::tally::{Kind, Mismatch, Tally};

mod http2;
mod keep_alive;
mod new_connection;
mod transfer;
mod websocket;

/// Time for one whole exchange; longer ones are failures.
const LIMIT: Duration = Duration::from_secs(30);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(20);
/// The size limit of small answers.
const SMALL_BYTES_MAX: u64 = 8 * 1024;

/// The state that all clients share.
#[derive(Debug)]
pub(super) struct Load {
    /// The listener that must never fail.
    pub(super) target: SocketAddr,
    pub(super) stage: Stage,
    pub(super) tally: Tally,
    over: AtomicBool,
    ids: AtomicU64,
}

/// How many clients of each kind there are.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    pub keep_alive: usize,
    pub new_connections: usize,
    /// Connections, each with a few requests at a time.
    pub http2: usize,
    pub downloads: usize,
    pub uploads: usize,
    pub websockets: usize,
}

/// The running clients.
pub(super) struct Crowd {
    load: Arc<Load>,
    tasks: JoinSet<()>,
}

// === impl Load ===

impl Load {
    pub(super) fn new(target: SocketAddr, began: Instant) -> Self {
        Self {
            target,
            stage: Stage::default(),
            tally: Tally::new(began),
            over: AtomicBool::new(false),
            ids: AtomicU64::new(1),
        }
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    async fn connect(&self, kind: Kind) -> Option<Wire> {
        self.stream(kind).await.map(Wire::new)
    }

    /// Connects. On failure it counts that, pauses, and returns `None`.
    async fn stream(&self, kind: Kind) -> Option<TcpStream> {
        let began = Instant::now();
        let got = match tokio::time::timeout(LIMIT, TcpStream::connect(self.target)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => Mismatch::new("a connection", error_text(&error)),
            Err(_) => Mismatch::new("a connection", format!("nothing for {} s", LIMIT.as_secs())),
        };
        if self.stage.had_a_gap_since(began) {
            self.tally.refused();
            tokio::time::sleep(PAUSE).await;
        } else {
            self.failed(kind, began, got).await;
        }
        None
    }

    /// Counts a failure and pauses.
    async fn failed(&self, kind: Kind, began: Instant, wrong: Mismatch) {
        self.tally.failed(kind, began, wrong, &self.stage);
        tokio::time::sleep(PAUSE).await;
    }

    /// Runs one exchange within [`LIMIT`] and counts its result.
    async fn count<T>(&self, kind: Kind, exchange: impl Future<Output = Result<T, Mismatch>>) -> Option<T> {
        let began = Instant::now();
        let result = tokio::time::timeout(LIMIT, exchange).await;
        match result.unwrap_or_else(|_| Err(Mismatch::new("a whole answer", "not all of it in 30 s"))) {
            Ok(done) => {
                self.tally.answered(kind, began.elapsed());
                Some(done)
            }
            Err(wrong) => {
                self.failed(kind, began, wrong).await;
                None
            }
        }
    }
}

// === impl Crowd ===

impl Crowd {
    pub(super) fn start(load: &Arc<Load>, clients: &Clients) -> Self {
        let mut tasks = JoinSet::new();
        for _ in 0..clients.keep_alive {
            tasks.spawn(keep_alive::run(load.clone()));
        }
        for _ in 0..clients.new_connections {
            tasks.spawn(new_connection::run(load.clone()));
        }
        for _ in 0..clients.http2 {
            tasks.spawn(http2::run(load.clone()));
        }
        for _ in 0..clients.downloads {
            tasks.spawn(transfer::download(load.clone()));
        }
        for _ in 0..clients.uploads {
            tasks.spawn(transfer::upload(load.clone()));
        }
        for _ in 0..clients.websockets {
            tasks.spawn(websocket::run(load.clone()));
        }
        Self { load: load.clone(), tasks }
    }

    /// Waits until each client has finished what it has begun.
    pub(super) async fn stop(mut self) {
        self.load.over.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Reads a response's head, which must be a 200 to request `id`. `before` describes the circumstances for a failure.
async fn expect_answer(wire: &mut Wire, id: u64, before: &str) -> Result<Head, Mismatch> {
    let head = match wire.head().await {
        Ok(Some(head)) => head,
        Ok(None) => return Err(Mismatch::new("an answer", format!("the connection was closed {before}"))),
        Err(error) => return Err(Mismatch::new("an answer", format!("{}, {before}", error_text(&error)))),
    };
    if head.status() != Some(200) {
        return Err(Mismatch::new("200", head.line));
    }
    match head.field("x-prove-id") {
        Some(got) if got == id.to_string() => Ok(head),
        Some(got) => {
            Err(Mismatch::new(format!("the answer to request {id}"), format!("that to request {got}")))
        }
        None => Err(Mismatch::new(format!("the answer to request {id}"), "one that is to no request")),
    }
}

/// Reads the body of an answer, which must be `size` bytes of the content of `id`.
async fn expect_content(wire: &mut Wire, head: &Head, id: u64, size: u64) -> Result<(), Mismatch> {
    let expected = || format!("{size} bytes of content {id}");
    let Some(length) = head.length() else {
        return Err(Mismatch::new(expected(), "a body without a length"));
    };
    let mut content = Content::of(id);
    let mut same = true;
    let received = wire.body(length, |piece| same &= content.matches_next(piece)).await;
    match received {
        Err(error) => Err(Mismatch::new(expected(), error_text(&error))),
        Ok(received) if received != size => Err(Mismatch::new(expected(), format!("{received} bytes"))),
        Ok(_) if !same => Err(Mismatch::new(expected(), "other bytes")),
        Ok(_) => Ok(()),
    }
}

/// Sends a request for a few kilobytes and checks the answer; returns whether the connection stays open.
async fn request_small(wire: &mut Wire, id: u64, fields: &str, before: &str) -> Result<bool, Mismatch> {
    let size = splitmix64(id) % SMALL_BYTES_MAX;
    let request = format!("GET /bytes/{id}/{size} HTTP/1.1\r\nHost: prove.test\r\n{fields}\r\n");
    if let Err(error) = wire.write(request.as_bytes()).await {
        return Err(Mismatch::new(
            "a connection that takes a request",
            format!("{}, {before}", error_text(&error)),
        ));
    }
    let head = expect_answer(wire, id, before).await?;
    expect_content(wire, &head, id, size).await?;
    Ok(!head.announces_close())
}

/// A duration of 0 to `most` milliseconds, different for each id.
fn up_to_ms(most: u64, id: u64) -> Duration {
    Duration::from_millis(splitmix64(!id) % (most + 1))
}

/// The text of an error, without the operating system's error number.
fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
