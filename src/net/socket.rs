//! The TCP or unix socket of a connection, without TLS.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, SendFlags};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::permits::Permit;
use crate::pool::{Endpoint, Target};

#[derive(Debug)]
pub struct Socket {
    kernel: Kernel,
    /// Counts the descriptor of a connection to an endpoint until it is closed.
    _descriptor: Option<Permit>,
    /// Counts a connection to an endpoint that may have only so many.
    _of_endpoint: Option<Permit>,
}

#[derive(Debug)]
enum Kernel {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<Kernel> for Socket {
    fn from(kernel: Kernel) -> Self {
        Self { kernel, _descriptor: None, _of_endpoint: None }
    }
}

impl Socket {
    /// Connects to an endpoint.
    ///
    /// `write_limit` is how long written bytes may stay unacknowledged (TCP_USER_TIMEOUT).
    pub async fn connect(endpoint: &Endpoint, write_limit: Duration) -> io::Result<Self> {
        match endpoint.target() {
            Target::Inet(address) => {
                let stream = TcpStream::connect(address).await?;
                let socket = SockRef::from(&stream);
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_keepalive(&keepalive())?;
                socket.set_tcp_user_timeout(Some(write_limit))?;
                Ok(Kernel::Tcp(stream).into())
            }
            Target::Unix(path) => Ok(Kernel::Unix(endpoint.backlog().connect(path).await?).into()),
        }
    }

    /// Counts its descriptor, and the connection at its endpoint, for as long as it is open.
    pub fn holding(self, descriptor: Permit, of_endpoint: Option<Permit>) -> Self {
        Self { _descriptor: Some(descriptor), _of_endpoint: of_endpoint, ..self }
    }

    /// Registers a client's accepted connection with this thread's runtime.
    pub fn accepted(socket: OwnedFd, unix: bool) -> io::Result<Self> {
        let kernel = match unix {
            true => Kernel::Unix(UnixStream::from_std(socket.into())?),
            false => Kernel::Tcp(TcpStream::from_std(socket.into())?),
        };
        Ok(kernel.into())
    }

    /// Whether unread bytes have arrived: asks the kernel, which knows before the runtime does.
    pub fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match &self.kernel {
            Kernel::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Kernel::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        };
        matches!(peeked, Ok(1..))
    }

    /// Whether the peer has closed the connection or its side of it, although bytes before that may be unread.
    pub fn is_closed_by_peer(&self) -> bool {
        self.has_happened(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the connection is over in both directions, although bytes before that may be unread.
    pub fn is_reset_by_peer(&self) -> bool {
        self.has_happened(PollFlags::HUP | PollFlags::ERR)
    }

    fn has_happened(&self, events: PollFlags) -> bool {
        let mut asked = [match &self.kernel {
            Kernel::Tcp(stream) => PollFd::new(stream, events),
            Kernel::Unix(stream) => PollFd::new(stream, events),
        }];
        // An error means that the kernel has no memory for the question.
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    /// Another descriptor of it, registered by itself.
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        match &self.kernel {
            Kernel::Tcp(stream) => Self::accepted(stream.as_fd().try_clone_to_owned()?, false),
            Kernel::Unix(stream) => Self::accepted(stream.as_fd().try_clone_to_owned()?, true),
        }
    }

    /// Ready when something has arrived since it was ready last. For a socket that is never read, because the runtime
    /// takes it for one that has been.
    pub(super) fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let nothing = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
        let cleared = match &self.kernel {
            Kernel::Tcp(stream) => {
                ready!(stream.poll_read_ready(context))?;
                stream.try_io(Interest::READABLE, nothing)
            }
            Kernel::Unix(stream) => {
                ready!(stream.poll_read_ready(context))?;
                stream.try_io(Interest::READABLE, nothing)
            }
        };
        drop(cleared);
        Poll::Ready(Ok(()))
    }

    /// How many unread bytes have arrived.
    pub fn unread(&self) -> usize {
        let unread = match &self.kernel {
            Kernel::Tcp(stream) => rustix::io::ioctl_fionread(stream),
            Kernel::Unix(stream) => rustix::io::ioctl_fionread(stream),
        };
        unread.map_or(0, |unread| usize::try_from(unread).unwrap_or(usize::MAX))
    }

    /// Ready when reading would not block: there are bytes, the end, or an error.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kernel {
            Kernel::Tcp(stream) => stream.poll_read_ready(context),
            Kernel::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    /// Whether an idle connection has become useless: closed, or with bytes that nobody asked for.
    ///
    /// Asks the kernel: what has arrived since the runtime looked last would be taken for the next response.
    pub fn is_stale(&self) -> bool {
        self.has_happened(PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Sets whether a close resets the connection, so that the other side does not take what was sent for complete.
    pub fn set_reset_on_close(&self, reset: bool) {
        if let Kernel::Tcp(stream) = &self.kernel {
            // If this fails, the connection is closed without a reset.
            let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
        }
    }

    /// Writes the last bytes right before a close or a shutdown for writing: the kernel may hold them back (MSG_MORE),
    /// so that they go out in one packet with the end.
    pub fn poll_write_last(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Kernel::Tcp(stream) = &self.kernel else { return Pin::new(self).poll_write(context, bytes) };
        let send = || Ok(net::send(&*stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?);
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if should_retry(&error) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Shuts the connection down for writing.
    pub fn shut_down_write(&self) {
        let _ = match &self.kernel {
            Kernel::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Kernel::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        };
    }
}

fn should_retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Finds out within a minute and a half that the other machine is gone.
pub fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(3)
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match &self.kernel {
            Kernel::Tcp(stream) => stream.as_raw_fd(),
            Kernel::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kernel {
            Kernel::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Kernel::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kernel {
            Kernel::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Kernel::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kernel {
            Kernel::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Kernel::Unix(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kernel {
            Kernel::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Kernel::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// The runtime looks at sockets only between tasks; what has arrived meanwhile must be seen before the connection is
    /// used again.
    #[tokio::test]
    async fn what_has_just_arrived_makes_a_connection_stale() {
        let (near, mut far) = pair().await;
        assert!(!near.is_stale() && !far.is_stale());
        far.write_all(b"a second response").await.expect("it is open");
        assert!(near.is_stale());
        let (near, far) = pair().await;
        drop(far);
        assert!(near.is_stale());
    }

    async fn pair() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).await.expect("it listens");
        let (far, _) = listener.accept().await.expect("a connection");
        (Kernel::Tcp(near).into(), Kernel::Tcp(far).into())
    }

    #[tokio::test]
    async fn the_last_bytes_go_out_with_the_end() {
        let (mut near, mut far) = pair().await;
        let sent = poll_fn(|context| near.poll_write_last(context, b"last")).await.expect("there is room");
        assert_eq!((sent, far.has_unread()), (4, false));
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.expect("a good end");
        assert_eq!(all, b"last");
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_read_whole() {
        let (mut near, mut far) = pair().await;
        let sent = vec![7; 3 << 20];
        let mut received = Vec::new();
        let send = async {
            near.write_all(&sent).await.expect("it is taken");
            near.shut_down_write();
        };
        let receive = async {
            let mut buffer = vec![0; 1000];
            while let read @ 1.. = far.read(&mut buffer).await.expect("it is sent") {
                received.extend_from_slice(&buffer[..read]);
            }
        };
        tokio::join!(send, receive);
        assert!(received == sent);
    }
}
