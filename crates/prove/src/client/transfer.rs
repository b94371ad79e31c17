//! Long bodies in both directions, with a length or in chunks, one after the other on one connection.

use std::sync::Arc;

use super::super::content::{Content, splitmix64};
use super::super::endpoint::{PIECE, pace};
use super::super::message::Wire;
use super::super::tally::Mismatch;
use super::{Kind, Load, error_text, expect_answer, expect_content};

/// Transfers of half of these pieces to all of them, one each 10 ms.
const DOWNLOAD_PIECES: u64 = 64;
const UPLOAD_PIECES: u64 = 32;

pub(super) async fn download(load: Arc<Load>) {
    transfers(load, Kind::Download).await;
}

pub(super) async fn upload(load: Arc<Load>) {
    transfers(load, Kind::Upload).await;
}

async fn transfers(load: Arc<Load>, kind: Kind) {
    let mut kept = None;
    while !load.is_over() {
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => match load.connect(kind).await {
                Some(wire) => wire,
                None => continue,
            },
        };
        let id = load.next_id();
        let goes_on = match kind {
            Kind::Upload => load.count(kind, send(&mut wire, id)).await,
            _ => load.count(kind, receive(&mut wire, id)).await,
        };
        match goes_on {
            Some(true) => kept = Some(wire),
            Some(false) => load.tally.announced(),
            None => {}
        }
    }
}

async fn receive(wire: &mut Wire, id: u64) -> Result<bool, Mismatch> {
    let size = pieces(id, DOWNLOAD_PIECES) + splitmix64(id) % 1000;
    let form = if splitmix64(id).is_multiple_of(2) { "chunked" } else { "length" };
    let request = format!("GET /download/{id}/{size}/{form} HTTP/1.1\r\nHost: prove.test\r\n\r\n");
    wire.write(request.as_bytes()).await.map_err(not_taken)?;
    let head = expect_answer(wire, id, "before the download").await?;
    expect_content(wire, &head, id, size).await?;
    Ok(!head.announces_close())
}

async fn send(wire: &mut Wire, id: u64) -> Result<bool, Mismatch> {
    let size = pieces(id, UPLOAD_PIECES);
    let chunked = splitmix64(id).is_multiple_of(2);
    let framing = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {size}"),
    };
    let request = format!("POST /upload/{id} HTTP/1.1\r\nHost: prove.test\r\n{framing}\r\n\r\n");
    wire.write(request.as_bytes()).await.map_err(not_taken)?;
    let mut content = Content::of(id);
    let mut pace = pace();
    for _ in 0..size / PIECE as u64 {
        pace.tick().await;
        let piece = content.next(PIECE);
        let sent = if chunked { wire.write_chunk(&piece).await } else { wire.write(&piece).await };
        sent.map_err(not_taken)?;
    }
    if chunked {
        wire.write_chunk(b"").await.map_err(not_taken)?;
    }
    let head = expect_answer(wire, id, "after the upload").await?;
    let Some(length) = head.length() else { return Err(Mismatch::new("an answer", "one without a length")) };
    let mut answer = Vec::new();
    wire.body(length, |piece| answer.extend_from_slice(piece))
        .await
        .map_err(|error| Mismatch::new("an answer", error_text(&error)))?;
    let (expected, got) = (format!("{size} whole"), String::from_utf8_lossy(&answer).into_owned());
    if got == expected { Ok(!head.announces_close()) } else { Err(Mismatch::new(expected, got)) }
}

/// A size between half of the pieces and all of them.
fn pieces(id: u64, most: u64) -> u64 {
    (most / 2 + splitmix64(id) % (most / 2 + 1)) * PIECE as u64
}

fn not_taken(error: std::io::Error) -> Mismatch {
    Mismatch::new("a connection that takes a request", error_text(&error))
}
