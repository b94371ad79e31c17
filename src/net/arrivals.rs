//! Notices what arrives on a socket without reading it.

use std::io;
use std::task::{Context, Poll};

use crate::net::socket::Socket;

/// A second descriptor of a socket, registered by itself: the runtime tells of a socket once, and then only after a read,
/// so that nobody would hear of a FIN behind bytes that nobody reads.
#[derive(Debug)]
pub struct Arrivals(Socket);

impl Arrivals {
    pub fn of(socket: &Socket) -> io::Result<Self> {
        socket.duplicate().map(Self)
    }

    /// Ready when something has arrived since it was ready last: bytes, a FIN, or a reset.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_arrival(context)
    }

    /// The peer has closed its side, after which it is ready for ever.
    pub fn is_over(&self) -> bool {
        self.0.is_closed_by_peer()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const A_MOMENT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_fin_behind_unread_bytes_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
        let socket = listener.accept().expect("accepted").0;
        socket.set_nonblocking(true).expect("a flag");
        let socket = Socket::accepted(socket.into(), false).expect("registered");
        let mut arrivals = Arrivals::of(&socket).expect("registered, too");
        peer.write_all(b"unread").expect("sent");
        let next = async |arrivals: &mut Arrivals| poll_fn(|context| arrivals.poll_next(context)).await;
        timeout(SOON, next(&mut arrivals)).await.expect("bytes").expect("no error");
        timeout(A_MOMENT, next(&mut arrivals)).await.expect_err("nothing more");
        assert!(!arrivals.is_over());
        peer.shutdown(Shutdown::Write).expect("a FIN");
        timeout(SOON, next(&mut arrivals)).await.expect("the FIN").expect("no error");
        assert!(arrivals.is_over());
    }
}
