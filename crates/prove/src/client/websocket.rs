//! A WebSocket to an echo endpoint. It must survive reloads; when its process ends, it gets a close frame with the code
//! 1001, and connects again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};

use super::super::content::splitmix64;
use super::super::message::Wire;
use super::super::tally::Mismatch;
use super::super::websocket::{Frame, GOING_AWAY, accept_key};
use super::{Kind, LIMIT, Load, error_text, up_to_ms};

/// The longest pause between two messages.
const PAUSE_MS: u64 = 200;

/// The expectation that a failure names.
const ON: &str = "a WebSocket that goes on";

/// How a WebSocket ended.
enum End {
    /// The other side sent a close frame.
    Closed(Option<u16>),
    /// The load is over.
    Over,
}

pub(super) async fn run(load: Arc<Load>) {
    while !load.is_over() {
        let Some(mut wire) = load.connect(Kind::WebSocket).await else { continue };
        let began = Instant::now();
        let opened = tokio::time::timeout(LIMIT, open(&mut wire, load.next_id())).await;
        if let Err(wrong) = opened.unwrap_or_else(|_| Err(Mismatch::new("101", "nothing for 30 s"))) {
            load.failed(Kind::WebSocket, began, wrong).await;
            continue;
        }
        load.tally.websocket_opened();
        let ended = converse(&load, &mut wire).await;
        load.tally.websocket_ended();
        let wrong = match ended {
            Ok(End::Over) => continue,
            Ok(End::Closed(Some(GOING_AWAY))) if load.stage.permits_going_away() => {
                let _ = wire.write(&Frame::Close(Some(GOING_AWAY)).bytes(Some(mask(load.next_id())))).await;
                load.tally.told();
                continue;
            }
            Ok(End::Closed(code)) => {
                let code = code.map_or("no code".to_owned(), |code| format!("the code {code}"));
                Mismatch::new(ON, format!("a close frame with {code}"))
            }
            Err(wrong) => wrong,
        };
        load.tally.cut();
        load.failed(Kind::WebSocket, began, wrong).await;
    }
}

async fn open(wire: &mut Wire, id: u64) -> Result<(), Mismatch> {
    let key = BASE64_STANDARD.encode([splitmix64(id).to_be_bytes(), splitmix64(!id).to_be_bytes()].concat());
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: prove.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    wire.write(request.as_bytes()).await.map_err(|error| Mismatch::new("101", error_text(&error)))?;
    let head = match wire.head().await {
        Ok(Some(head)) => head,
        Ok(None) => return Err(Mismatch::new("101", "the connection was closed")),
        Err(error) => return Err(Mismatch::new("101", error_text(&error))),
    };
    if head.status() != Some(101) {
        return Err(Mismatch::new("101", head.line));
    }
    let expected = accept_key(&key);
    match head.field("sec-websocket-accept") {
        Some(got) if got == expected => Ok(()),
        got => Err(Mismatch::new(format!("Sec-WebSocket-Accept: {expected}"), format!("{got:?}"))),
    }
}

/// Sends and receives until one side ends it.
async fn converse(load: &Load, wire: &mut Wire) -> Result<End, Mismatch> {
    loop {
        let id = load.next_id();
        let sent = Frame::Text(format!("{id} {}", "x".repeat((splitmix64(id) % 300) as usize)).into_bytes());
        let began = Instant::now();
        if let Err(error) = wire.write(&sent.bytes(Some(mask(id)))).await {
            // A close frame may have arrived before the write failed.
            return match frame(wire, Duration::from_millis(100)).await {
                Ok(Some(Frame::Close(code))) => Ok(End::Closed(code)),
                _ => Err(Mismatch::new(ON, error_text(&error))),
            };
        }
        match frame(wire, LIMIT).await? {
            Some(Frame::Close(code)) => return Ok(End::Closed(code)),
            Some(frame) if frame == sent => load.tally.answered(Kind::WebSocket, began.elapsed()),
            Some(_) => return Err(Mismatch::new("the same text", "something else")),
            None => return Err(Mismatch::new("the same text", "nothing for 30 s")),
        }
        if load.is_over() {
            let _ = wire.write(&Frame::Close(Some(1000)).bytes(Some(mask(id)))).await;
            return Ok(End::Over);
        }
        match frame(wire, up_to_ms(PAUSE_MS, id)).await? {
            None => {}
            Some(Frame::Close(code)) => return Ok(End::Closed(code)),
            Some(_) => return Err(Mismatch::new("silence", "a frame that nobody asked for")),
        }
    }
}

/// The next frame, if it comes within that time.
async fn frame(wire: &mut Wire, limit: Duration) -> Result<Option<Frame>, Mismatch> {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match Frame::parse(wire.input()) {
            Err(what) => return Err(Mismatch::new("a frame", what)),
            Ok(Some((frame, length))) => {
                wire.used(length);
                return Ok(Some(frame));
            }
            Ok(None) => {}
        }
        match tokio::time::timeout_at(deadline, wire.fill()).await {
            Err(_) => return Ok(None),
            Ok(Ok(0)) => return Err(Mismatch::new(ON, "closed without a close frame")),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Mismatch::new(ON, error_text(&error))),
        }
    }
}

fn mask(id: u64) -> [u8; 4] {
    (splitmix64(id) as u32).to_be_bytes()
}
