//! Several requests at a time on one HTTP/2 connection (prior knowledge), until the proxy sends GOAWAY.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::task::JoinSet;

use super::super::content::{Content, splitmix64};
use super::super::tally::Mismatch;
use super::{Kind, LIMIT, Load, SMALL_BYTES_MAX, up_to_ms};

/// Requests at a time.
const STREAMS: usize = 4;

/// The longest pause between two requests.
const PAUSE_MS: u64 = 15;

pub(super) async fn run(load: Arc<Load>) {
    while !load.is_over() {
        let began = Instant::now();
        let Some(stream) = load.stream(Kind::Http2).await else { continue };
        let (sender, connection) = match h2::client::handshake(stream).await {
            Ok(opened) => opened,
            Err(error) => {
                let wrong = Mismatch::new("a connection that takes a request", error.to_string());
                load.failed(Kind::Http2, began, wrong).await;
                continue;
            }
        };
        let driver = tokio::spawn(connection);
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            streams.spawn(requests(load.clone(), sender.clone()));
        }
        drop(sender);
        while streams.join_next().await.is_some() {}
        driver.abort();
    }
}

/// One request after the other, until the connection takes no more.
async fn requests(load: Arc<Load>, mut sender: SendRequest<Bytes>) {
    while !load.is_over() {
        // The proxy has announced that it takes no new requests: none was sent, so nothing is lost.
        sender = match sender.ready().await {
            Ok(sender) => sender,
            Err(_) => return load.tally.announced(),
        };
        let id = load.next_id();
        let response = match ask(&mut sender, id).await {
            Ok(response) => response,
            // The proxy has announced that it did not process this request: the codec opens streams until the last
            // GOAWAY, where RFC 9113 (section 6.8) has clients stop at the first.
            Err(error) if is_goodbye(&error) => return load.tally.announced(),
            Err(error) => Err(Mismatch::new("an answer", error.to_string())),
        };
        let answered = async { whole(response?, id).await };
        if load.count(Kind::Http2, answered).await.is_none() {
            return;
        }
        tokio::time::sleep(up_to_ms(PAUSE_MS, id)).await;
    }
}

fn is_goodbye(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}

/// Sends a small request and waits for its response within [`LIMIT`].
async fn ask(
    sender: &mut SendRequest<Bytes>,
    id: u64,
) -> Result<Result<Response<RecvStream>, Mismatch>, h2::Error> {
    let mut request = Request::new(());
    let target = format!("http://prove.test/bytes/{id}/{}", splitmix64(id) % SMALL_BYTES_MAX);
    match target.parse() {
        Ok(target) => *request.uri_mut() = target,
        Err(error) => return Ok(Err(Mismatch::new("a request", error.to_string()))),
    }
    let (response, _) = sender.send_request(request, true)?;
    match tokio::time::timeout(LIMIT, response).await {
        Ok(response) => response.map(Ok),
        Err(_) => Ok(Err(Mismatch::new("an answer", "none in 30 s"))),
    }
}

/// Checks that a response is the whole answer to request `id`.
async fn whole(response: Response<RecvStream>, id: u64) -> Result<(), Mismatch> {
    let size = splitmix64(id) % SMALL_BYTES_MAX;
    if response.status() != 200 {
        return Err(Mismatch::new("200", response.status().to_string()));
    }
    let answers = response.headers().get("x-prove-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    if answers != id.to_string() {
        return Err(Mismatch::new(
            format!("the answer to request {id}"),
            format!("that to request {answers}"),
        ));
    }
    let (mut content, mut received, mut same) = (Content::of(id), 0, true);
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| Mismatch::new(format!("{size} bytes"), error.to_string()))?;
        let _ = body.flow_control().release_capacity(piece.len());
        received += piece.len() as u64;
        same &= content.matches_next(&piece);
    }
    match received == size && same {
        true => Ok(()),
        false => Err(Mismatch::new(
            format!("{size} bytes of content {id}"),
            format!("{received} bytes, or others"),
        )),
    }
}
