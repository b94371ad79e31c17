//! What the proxy balances over in the proof: endpoints whose every answer belongs to one request.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;

use super::content::Content;
use super::message::{Head, Length, Wire};
use super::websocket::Frame;
use crate::websocket::accept_key;

/// What a download and an upload consist of, and how long they take for it: so that operations come upon them.
pub(super) const PIECE: usize = 32 * 1024;
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// Nothing longer is asked for.
const DOWNLOAD_BYTES_MAX: usize = 64 << 20;
/// How long to wait when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Opens so many endpoints on free loopback ports; they answer until the runtime ends.
pub(super) async fn start(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(accept(listener));
    }
    Ok(addresses)
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(async {
                // Whoever went away is missed on the other side of the proxy, if it matters.
                let _ = converse(Wire::new(stream)).await;
            })),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(mut wire: Wire) -> io::Result<()> {
    while let Some(head) = wire.head().await? {
        let target = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let path: Vec<&str> = target.split('/').skip(1).collect();
        match *path.as_slice() {
            ["bytes", id, size] => bytes(&mut wire, id, size).await?,
            ["download", id, size, form] => download(&mut wire, id, size, form == "chunked").await?,
            ["upload", id] => upload(&mut wire, &head, id).await?,
            ["echo"] => return echo(wire, &head).await,
            _ => wire.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?,
        }
        if head.announces_close() {
            break;
        }
    }
    Ok(())
}

/// So many bytes of the id's content.
async fn bytes(wire: &mut Wire, id: &str, size: &str) -> io::Result<()> {
    let size = number(size)?;
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nX-Prove-Id: {id}\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    answer.extend(Content::of(number(id)?).next(usize::try_from(size).unwrap_or_default().min(PIECE)));
    wire.write(&answer).await
}

/// The same, more of it and slowly, with a length or in chunks.
async fn download(wire: &mut Wire, id: &str, size: &str, chunked: bool) -> io::Result<()> {
    let size = usize::try_from(number(size)?).unwrap_or_default().min(DOWNLOAD_BYTES_MAX);
    let framing = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {size}"),
    };
    wire.write(format!("HTTP/1.1 200 OK\r\nX-Prove-Id: {id}\r\n{framing}\r\n\r\n").as_bytes()).await?;
    let mut content = Content::of(number(id)?);
    let mut left = size;
    while left > 0 {
        let piece = content.next(left.min(PIECE));
        left -= piece.len();
        match chunked {
            true => wire.write_chunk(&piece).await?,
            false => wire.write(&piece).await?,
        }
        tokio::time::sleep(PAUSE).await;
    }
    if chunked { wire.write_chunk(b"").await } else { Ok(()) }
}

/// Says how much of the id's content has come, and whether it was nothing else.
async fn upload(wire: &mut Wire, head: &Head, id: &str) -> io::Result<()> {
    let mut content = Content::of(number(id)?);
    let mut whole = true;
    let length = head.length().unwrap_or(Length::Known(0));
    let received = wire.body(length, |piece| whole &= content.goes_on_with(piece)).await?;
    let verdict = if whole { "whole" } else { "garbled" };
    let body = format!("{received} {verdict}");
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nX-Prove-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}");
    wire.write(answer.as_bytes()).await
}

/// A WebSocket whose every text comes back.
async fn echo(mut wire: Wire, head: &Head) -> io::Result<()> {
    let accept = accept_key(head.field("sec-websocket-key").unwrap_or_default());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    wire.write(answer.as_bytes()).await?;
    loop {
        match Frame::parse(wire.input()).map_err(io::Error::other)? {
            None if wire.fill().await? == 0 => return Ok(()),
            None => {}
            Some((frame, length)) => {
                wire.used(length);
                match frame {
                    Frame::Text(_) => wire.write(&frame.bytes(None)).await?,
                    Frame::Ping(payload) => wire.write(&Frame::Pong(payload).bytes(None)).await?,
                    Frame::Pong(_) => {}
                    Frame::Close(_) => return wire.write(&frame.bytes(None)).await,
                }
            }
        }
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}
