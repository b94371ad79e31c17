//! The endpoints that the tested proxy balances over. Each of their answers belongs to one request.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Interval;

use super::content::Content;
use super::message::{Head, Length, Wire};
use super::websocket::{Frame, accept_key};

/// The size of one piece of a download or upload, and the time for it: slow enough that operations happen meanwhile.
pub(super) const PIECE: usize = 32 * 1024;
const PIECE_TIME: Duration = Duration::from_millis(10);
/// More than any client asks for.
const DOWNLOAD_BYTES_MAX: usize = 64 << 20;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BACKLOG: i32 = 1024;

/// One endpoint. It listens while this exists, except between [`Endpoint::go`] and [`Endpoint::come_back`].
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// A bound socket that never listens, to reserve the port.
    _reserved: Socket,
    listens: watch::Sender<bool>,
    accepts: Mutex<Option<JoinHandle<()>>>,
}

// === impl Endpoint ===

impl Endpoint {
    /// Starts an endpoint on a free loopback port.
    pub(super) fn start() -> io::Result<Self> {
        let reserved = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reserved.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (listens, _) = watch::channel(true);
        let endpoint = Self { address, _reserved: reserved, listens, accepts: Mutex::default() };
        endpoint.come_back()?;
        Ok(endpoint)
    }

    /// Stops listening. On open connections, the next response is the last one.
    pub(super) async fn go(&self) {
        self.listens.send_replace(false);
        let accepts = self.accepts.lock().take();
        if let Some(accepts) = accepts {
            let _ = accepts.await;
        }
    }

    /// Listens again.
    pub(super) fn come_back(&self) -> io::Result<()> {
        let listener = listen(self.address)?;
        self.listens.send_replace(true);
        *self.accepts.lock() = Some(tokio::spawn(accept(listener, self.listens.subscribe())));
        Ok(())
    }
}

async fn accept(listener: TcpListener, mut listening: watch::Receiver<bool>) {
    loop {
        let going = listening.clone();
        let accepted = tokio::select! {
            // Waiting connections are served first, because a closed socket resets them.
            biased;
            accepted = listener.accept() => accepted,
            _ = listening.wait_for(|listens| !*listens) => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(async {
                // The client on the other side of the proxy notices an error, if it matters.
                let _ = converse(Wire::new(stream), going).await;
            })),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(mut wire: Wire, listening: watch::Receiver<bool>) -> io::Result<()> {
    while let Some(head) = wire.head().await? {
        let target = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let path: Vec<&str> = target.split('/').skip(1).collect();
        let is_last = !*listening.borrow() || head.announces_close();
        let ok = match is_last {
            true => "HTTP/1.1 200 OK\r\nConnection: close\r\n",
            false => "HTTP/1.1 200 OK\r\n",
        };
        match *path.as_slice() {
            ["bytes", id, size] => bytes(&mut wire, ok, id, size).await?,
            ["download", id, size, form] => download(&mut wire, ok, id, size, form == "chunked").await?,
            ["upload", id] => upload(&mut wire, ok, &head, id).await?,
            ["echo"] => return echo(wire, &head).await,
            _ => wire.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?,
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Answers with `size` bytes of the id's content.
async fn bytes(wire: &mut Wire, ok: &str, id: &str, size: &str) -> io::Result<()> {
    let size = number(size)?;
    let mut answer = format!("{ok}X-Prove-Id: {id}\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    answer.extend(Content::of(number(id)?).next(usize::try_from(size).unwrap_or_default().min(PIECE)));
    wire.write(&answer).await
}

/// Answers as [`bytes`], but with more and slowly, with a length or in chunks.
async fn download(wire: &mut Wire, ok: &str, id: &str, size: &str, chunked: bool) -> io::Result<()> {
    let size = usize::try_from(number(size)?).unwrap_or_default().min(DOWNLOAD_BYTES_MAX);
    let framing = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {size}"),
    };
    wire.write(format!("{ok}X-Prove-Id: {id}\r\n{framing}\r\n\r\n").as_bytes()).await?;
    let mut content = Content::of(number(id)?);
    let mut left = size;
    let mut pace = pace();
    while left > 0 {
        pace.tick().await;
        let piece = content.next(left.min(PIECE));
        left -= piece.len();
        match chunked {
            true => wire.write_chunk(&piece).await?,
            false => wire.write(&piece).await?,
        }
    }
    if chunked { wire.write_chunk(b"").await } else { Ok(()) }
}

/// Ticks when the pieces of a body are due. On a busy machine, late pieces do not delay the next ones, or long bodies
/// would outlast the proxy's drain.
pub(super) fn pace() -> Interval {
    tokio::time::interval(PIECE_TIME)
}

/// Answers with the length of the received body, and whether it was the id's content.
async fn upload(wire: &mut Wire, ok: &str, head: &Head, id: &str) -> io::Result<()> {
    let mut content = Content::of(number(id)?);
    let mut whole = true;
    let length = head.length().unwrap_or(Length::Known(0));
    let received = wire.body(length, |piece| whole &= content.matches_next(piece)).await?;
    let verdict = if whole { "whole" } else { "garbled" };
    let body = format!("{received} {verdict}");
    let length = body.len();
    let answer = format!("{ok}X-Prove-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}");
    wire.write(answer.as_bytes()).await
}

/// Echoes the texts of a WebSocket.
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

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Binds with SO_REUSEADDR: several sockets may have the port as long as only one listens.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}
