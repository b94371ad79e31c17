//! What moving requests and answers costs on its own, in the way evenkeel does it: `forwarder ADDRESS FILE`, which
//! has an origin in each line.
//!
//! One thread; kept connections; heads are read to their end and sent on as they came. Nothing is checked, changed,
//! counted, timed or logged, so this is no proxy: it is the floor under one. Bodies of requests are not for it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tools::{ROOM, connect, lengths};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Origin {
    address: Option<SocketAddr>,
    kept: RefCell<Vec<TcpStream>>,
}

struct Forwarder {
    origins: Vec<Origin>,
    turn: Cell<usize>,
    /// Used by whoever has something to read, as in evenkeel.
    spare: RefCell<Vec<Vec<u8>>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, origins] = arguments.as_slice() else { panic!("usage: forwarder ADDRESS FILE") };
    let origin = |text: &str| Origin { address: text.parse().ok(), ..Origin::default() };
    let forwarder = Rc::new(Forwarder {
        origins: std::fs::read_to_string(origins)?.lines().map(origin).collect(),
        turn: Cell::default(),
        spare: RefCell::default(),
    });
    let listener = TcpListener::bind(address).await?;
    let local = LocalSet::new();
    local
        .run_until(async {
            loop {
                let (client, _) = listener.accept().await?;
                client.set_nodelay(true)?;
                tokio::task::spawn_local(forwarder.clone().serve(client));
            }
        })
        .await
}

impl Forwarder {
    /// Until the client goes, or anything goes wrong.
    async fn serve(self: Rc<Self>, mut client: TcpStream) {
        while client.readable().await.is_ok() {
            let mut room = self.spare.borrow_mut().pop().unwrap_or_else(|| vec![0; ROOM]);
            let forwarded = self.forward(&mut client, &mut room).await;
            self.spare.borrow_mut().push(room);
            if forwarded.is_err() {
                return;
            }
        }
    }

    async fn forward(&self, client: &mut TcpStream, room: &mut [u8]) -> io::Result<()> {
        let (request, _, _) = head(client, room).await?;
        let turn = self.turn.replace(self.turn.get() + 1);
        let origin = &self.origins[turn % self.origins.len()];
        let kept = origin.kept.borrow_mut().pop();
        let mut stream = match kept {
            Some(stream) => stream,
            None => connect(origin.address.ok_or(io::ErrorKind::AddrNotAvailable)?).await?,
        };
        stream.write_all(&room[..request]).await?;
        let (mut read, head, body) = head(&mut stream, room).await?;
        client.write_all(&room[..read]).await?;
        let mut rest = (head + body).saturating_sub(read);
        while rest > 0 {
            read = stream.read(room).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            client.write_all(&room[..read]).await?;
            rest = rest.saturating_sub(read);
        }
        origin.kept.borrow_mut().push(stream);
        Ok(())
    }
}

/// Reads until there is a whole head: bytes read, and the lengths of head and body.
async fn head(stream: &mut TcpStream, room: &mut [u8]) -> io::Result<(usize, usize, usize)> {
    let mut read = 0;
    loop {
        let more = stream.read(&mut room[read..]).await?;
        if more == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read += more;
        if let Some((head, body)) = lengths(&room[..read]) {
            return Ok((read, head, body));
        }
    }
}
