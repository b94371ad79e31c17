//! The commands' client for the admin address of a running process: blocking, one request a connection.

mod stream;

use std::cmp::Ordering;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::StatusCode;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::{Address, RuntimeDirs};
use super::named_file::FILE;
use super::query::encoded;
use crate::directory;
pub use stream::Sink;

/// Time for a whole exchange.
const LIMIT: Duration = Duration::from_secs(5);

/// A request to the admin server.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    method: &'static str,
    path: &'a str,
    /// The config file that the process must run, or else it refuses.
    file: Option<&'a Path>,
    body: &'a str,
    limit: Duration,
    /// Takes the body of a 200 that goes on.
    sink: Option<Sink<'a>>,
}

/// The largest response accepted: the status of a hundred thousand endpoints fits.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// A response begins with this.
const VERSION: &[u8] = b"HTTP/1.";

/// The end of a response's head.
const END: &[u8] = b"\r\n\r\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

/// Why there is no response; one line, with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no evenkeel answers on {address} ({source}): is it running?")]
    Unreachable { address: Address, source: io::Error },
    #[error("{address} may not be used by this user ({source}): try as root or as evenkeel's user")]
    Forbidden { address: Address, source: io::Error },
    #[error("no evenkeel answers on {0}: is it running? --admin ADDRESS asks elsewhere")]
    NoneFound(String),
    #[error("{address} did not answer: {source}")]
    Broken { address: Address, source: io::Error },
    #[error(
        "a process of user {user} listens on {address}, which may be an evenkeel of root, of this user or of the \
         directory's owner only: nothing was sent to it"
    )]
    Stranger { address: Address, user: u32 },
    #[error("{} is not a directory of this user alone, so what answers there is not asked: remove it, or use --admin ADDRESS", .0.display())]
    Squatted(PathBuf),
    #[error(
        "{0} closed the connection before the end of its response: ask again, the process may have ended"
    )]
    Cut(Address),
    #[error("what answers on {0} is not evenkeel's admin server")]
    NotHttp(Address),
}

// === impl ClientError ===

impl ClientError {
    /// Whether no process has been asked, so that another one may be.
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Forbidden { .. }
            | Self::NoneFound(_)
            | Self::Stranger { .. }
            | Self::Squatted(_) => true,
            Self::Broken { .. } | Self::Cut(_) | Self::NotHttp(_) => false,
        }
    }
}

// === impl Request ===

impl<'a> Request<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, file: None, body: "", limit: LIMIT, sink: None }
    }

    /// An operation, which may take `limit` beyond the usual time.
    pub fn post(path: &'a str, body: &'a str, limit: Duration) -> Self {
        Self { method: "POST", path, file: None, body, limit: LIMIT + limit, sink: None }
    }

    /// A GET whose response goes on until the process or the sink ends it.
    pub fn stream(path: &'a str, sink: Sink<'a>) -> Self {
        Self { sink: Some(sink), ..Self::get(path) }
    }

    /// The same, of the process that runs this file; the path must be absolute.
    pub fn of_file(self, file: &'a Path) -> Self {
        Self { file: Some(file), ..self }
    }

    fn target(&self) -> String {
        let Some(file) = self.file else { return self.path.to_owned() };
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}{FILE}={}", self.path, encoded(&file.to_string_lossy()))
    }
}

/// Sends a request to the admin server at an address.
pub fn send(address: &Address, request: Request<'_>, token: Option<&str>) -> Result<Response, ClientError> {
    let deadline = Instant::now() + request.limit;
    let socket = connect(address, request.limit.min(LIMIT))?;
    if let Address::Unix(path) = address {
        check_peer(address, path, &socket)?;
    }
    let broken = |source| {
        let source = name_timeout(source, || format!("no answer within {} s", request.limit.as_secs()));
        ClientError::Broken { address: address.clone(), source }
    };
    send_text(&socket, &text_of(address, request, token), deadline).map_err(broken)?;
    if let Some(sink) = request.sink {
        return stream::receive(address, &socket, deadline, sink);
    }
    let mut received = Vec::new();
    receive_all(&socket, &mut received, deadline).map_err(broken)?;
    parse(address, &received)
}

fn connect(address: &Address, limit: Duration) -> Result<Socket, ClientError> {
    let connected = match address {
        Address::Unix(path) => connect_unix(path, limit),
        Address::Tcp(address) => connect_tcp(*address, limit),
    };
    connected.map_err(|source| {
        let address = address.clone();
        let busy = || format!("no connection within {limit:?}, so it hangs or is stopped");
        let source = name_timeout(source, busy);
        match source.kind() {
            io::ErrorKind::TimedOut => ClientError::Broken { address, source },
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { address, source },
            _ => ClientError::Unreachable { address, source },
        }
    })
}

/// While the backlog is full, a connect waits for as long as a write may.
fn connect_unix(path: &Path, limit: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn connect_tcp(address: SocketAddr, limit: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    socket.connect_timeout(&address.into(), limit)?;
    Ok(socket)
}

/// Checks that the listening process belongs to a user who is trusted with the socket's directory, because configs with
/// their tokens are sent to it.
///
/// The kernel says whose process began to listen. The owner of the socket's file proves less: whoever may write to the
/// directory can link anybody's file there.
fn check_peer(address: &Address, path: &Path, socket: &Socket) -> Result<(), ClientError> {
    let broken = |source: nix::Error| ClientError::Broken { address: address.clone(), source: source.into() };
    let user = getsockopt(socket, PeerCredentials).map_err(broken)?.uid();
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match directory::trusted_users(directory).contains(&user) {
        true => Ok(()),
        false => Err(ClientError::Stranger { address: address.clone(), user }),
    }
}

/// Sends a request to the first of the default sockets that answers, and whose process runs the file that is asked for.
pub fn send_to_default(request: Request<'_>) -> Result<Response, ClientError> {
    send_to_default_in(request, &RuntimeDirs::of_process())
}

pub(super) fn send_to_default_in(
    request: Request<'_>,
    runtime_dirs: &RuntimeDirs,
) -> Result<Response, ClientError> {
    let (mut forbidden, mut other_file) = (None, None);
    for socket in runtime_dirs.sockets() {
        match send(&Address::Unix(socket), request, None) {
            Err(ClientError::Unreachable { .. }) => {}
            Ok(response) if response.status == StatusCode::MISDIRECTED_REQUEST => {
                other_file = other_file.or(Some(response));
            }
            Err(error @ (ClientError::Forbidden { .. } | ClientError::Stranger { .. })) => {
                forbidden = Some(error);
            }
            answer => return answer,
        }
    }
    if let Some(response) = other_file {
        return Ok(response);
    }
    Err(forbidden.unwrap_or_else(|| {
        let dirs = runtime_dirs.socket_dirs();
        if let Some(squatted) = dirs.iter().find(|dir| dir.is_squatted()) {
            return ClientError::Squatted(squatted.directory.clone());
        }
        let names: Vec<_> =
            dirs.iter().map(|dir| dir.directory.join("admin.sock").display().to_string()).collect();
        ClientError::NoneFound(names.join(", "))
    }))
}

fn text_of(address: &Address, request: Request<'_>, token: Option<&str>) -> String {
    let Request { method, body, .. } = request;
    let target = request.target();
    let host = match address {
        Address::Unix(_) => "localhost".to_owned(),
        Address::Tcp(address) => address.to_string(),
    };
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = match method {
        "GET" => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}{length}Connection: close\r\n\r\n{body}"
    )
}

fn send_text(mut socket: &Socket, request: &str, deadline: Instant) -> io::Result<()> {
    socket.set_write_timeout(Some(until(deadline)?))?;
    socket.write_all(request.as_bytes())
}

/// Adds what is received up to the end of the connection.
fn receive_all(socket: &Socket, received: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    while read_piece(socket, received, deadline)? > 0 {
        if received.len() > RESPONSE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "its response has no end"));
        }
    }
    Ok(())
}

/// Adds what is received next, and returns how many bytes that are.
fn read_piece(mut socket: &Socket, received: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    let mut piece = [0; 16 << 10];
    socket.set_read_timeout(Some(until(deadline)?))?;
    let count = socket.read(&mut piece)?;
    received.extend_from_slice(&piece[..count]);
    Ok(count)
}

/// The time that is left.
fn until(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Names a timeout, which sockets report as EAGAIN.
fn name_timeout(error: io::Error, text: impl FnOnce() -> String) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, text())
        }
        _ => error,
    }
}

/// The admin server closes after each response, and sends the length of each body that does not go on.
fn parse(address: &Address, received: &[u8]) -> Result<Response, ClientError> {
    let not_http = || ClientError::NotHttp(address.clone());
    let cut = || ClientError::Cut(address.clone());
    let is_http = received.iter().zip(VERSION).all(|(received, expected)| received == expected);
    if !is_http {
        return Err(not_http());
    }
    let end = received.windows(END.len()).position(|bytes| bytes == END).ok_or_else(cut)?;
    let (head, body) = (&received[..end], &received[end + END.len()..]);
    let (status, length) = parse_head(&String::from_utf8_lossy(head)).ok_or_else(not_http)?;
    match body.len().cmp(&length) {
        Ordering::Less => Err(cut()),
        Ordering::Equal => Ok(Response { status, body: String::from_utf8_lossy(body).into_owned() }),
        Ordering::Greater => Err(not_http()),
    }
}

/// The status, and the length of the body.
fn parse_head(head: &str) -> Option<(u16, usize)> {
    let status = status_of(head.get(VERSION.len()..)?)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    Some((status, length.trim().parse().ok()?))
}

/// The status in what follows [`VERSION`].
fn status_of(after: &str) -> Option<u16> {
    after.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn address() -> Address {
        Address::Unix("/somewhere".into())
    }

    #[test]
    fn a_response_that_was_cut_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-Length: 5\r\nX: y\r\n\r\nready";
        let response = parse(&address(), whole).expect("it is whole");
        assert_eq!(response, Response { status: 200, body: "ready".into() });
        for length in 0..whole.len() {
            let error = parse(&address(), &whole[..length]).expect_err("it is cut");
            assert!(matches!(error, ClientError::Cut(_)), "{length} bytes: {error}");
        }
        let longer = [&whole[..], b"!"].concat();
        for other in [&longer[..], b"220 mail\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nready"] {
            assert!(matches!(parse(&address(), other), Err(ClientError::NotHttp(_))));
        }
    }

    /// A process that listens, and accepts nobody: its backlog is full.
    fn full_backlog(path: &Path) -> (UnixListener, Vec<Socket>) {
        let socket = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
        let address = SockAddr::unix(path).expect("a short path");
        let listener = socket();
        listener.bind(&address).expect("a free path");
        listener.listen(0).expect("it is bound");
        listener.set_nonblocking(false).expect("an option");
        let connect = |_| Some(socket()).filter(|socket| socket.connect(&address).is_ok());
        let waiting: Vec<Socket> = (0..100).map_while(connect).collect();
        assert!((1..100).contains(&waiting.len()));
        (listener.into(), waiting)
    }

    #[test]
    fn a_process_that_accepts_nobody_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let _hangs = full_backlog(&path);
        let request = Request { limit: Duration::from_millis(100), ..Request::get("/livez") };
        let (sender, answer) = std::sync::mpsc::channel();
        thread::spawn(move || sender.send(send(&Address::Unix(path), request, None)));
        let answer = answer.recv_timeout(Duration::from_secs(60)).expect("it does not hang");
        let error = answer.expect_err("nobody answers");
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
        assert!(error.to_string().contains("no connection within 100ms, so it hangs"), "{error}");
    }

    #[test]
    fn a_process_that_is_slow_to_accept_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let (listener, waiting) = full_backlog(&path);
        let others = waiting.len();
        let slow = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let mut accepted = (0..=others).map(|_| listener.accept().expect("a client").0);
            let mut client = accepted.by_ref().last().expect("the last one");
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").expect("it reads");
            // Unread bytes would make the close a reset.
            let _ = client.read(&mut [0; 1024]).expect("a request");
        });
        let response = send(&Address::Unix(path), Request::get("/livez"), None).expect("an answer");
        assert_eq!((response.status, &*response.body), (200, "ok\n"));
        slow.join().expect("it ends");
        drop(waiting);
    }
}
