//! The commands' client for the admin address of a running process: blocking, one request a connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::address::{Address, RuntimeDirs};
use crate::directory;

/// Time for a whole exchange.
const LIMIT: Duration = Duration::from_secs(5);

/// A request to the admin server.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    method: &'static str,
    path: &'a str,
    body: &'a str,
    limit: Duration,
}

/// The largest response accepted: the status of a hundred thousand endpoints fits.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

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
    #[error("what answers on {0} is not evenkeel's admin server")]
    NotHttp(Address),
}

impl<'a> Question<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, body: "", limit: LIMIT }
    }

    /// An operation, which may take `limit` beyond the usual time.
    pub fn post(path: &'a str, body: &'a str, limit: Duration) -> Self {
        Self { method: "POST", path, body, limit: LIMIT + limit }
    }
}

/// Sends a request to the admin server at an address.
pub fn ask(address: &Address, question: Question<'_>, token: Option<&str>) -> Result<Response, ClientError> {
    match address {
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket).map_err(|source| unreachable(address, source))?;
            check_peer(address, socket, &stream)?;
            let timeouts = |left| {
                stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
            };
            exchange(address, &stream, timeouts, &request(address, question, token), question.limit)
        }
        Address::Tcp(socket) => {
            let stream =
                TcpStream::connect_timeout(socket, LIMIT).map_err(|source| unreachable(address, source))?;
            let timeouts = |left| {
                stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
            };
            exchange(address, &stream, timeouts, &request(address, question, token), question.limit)
        }
    }
}

/// Checks that the listening process belongs to a user who is trusted with the socket's directory, because configs with
/// their tokens are sent to it.
///
/// The kernel says whose process began to listen. The owner of the socket's file proves less: whoever may write to the
/// directory can link anybody's file there.
fn check_peer(address: &Address, socket: &Path, stream: &UnixStream) -> Result<(), ClientError> {
    let broken = |source: nix::Error| ClientError::Broken { address: address.clone(), source: source.into() };
    let user = getsockopt(stream, PeerCredentials).map_err(broken)?.uid();
    let directory = socket.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match directory::trusted_users(directory).contains(&user) {
        true => Ok(()),
        false => Err(ClientError::Stranger { address: address.clone(), user }),
    }
}

/// Sends a request to the first of the default sockets that answers.
pub fn ask_default(question: Question<'_>) -> Result<Response, ClientError> {
    ask_default_in(question, &RuntimeDirs::of_process())
}

pub(super) fn ask_default_in(
    question: Question<'_>,
    runtime_dirs: &RuntimeDirs,
) -> Result<Response, ClientError> {
    let mut forbidden = None;
    for socket in runtime_dirs.sockets() {
        match ask(&Address::Unix(socket), question, None) {
            Err(ClientError::Unreachable { .. }) => {}
            Err(error @ (ClientError::Forbidden { .. } | ClientError::Stranger { .. })) => {
                forbidden = Some(error);
            }
            answer => return answer,
        }
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

fn unreachable(address: &Address, source: io::Error) -> ClientError {
    let address = address.clone();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Forbidden { address, source },
        _ => ClientError::Unreachable { address, source },
    }
}

fn request(address: &Address, question: Question<'_>, token: Option<&str>) -> String {
    let Question { method, path, body, .. } = question;
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
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}{length}Connection: close\r\n\r\n{body}"
    )
}

fn exchange<S>(
    address: &Address,
    mut stream: S,
    timeouts: impl Fn(Duration) -> io::Result<()>,
    request: &str,
    limit: Duration,
) -> Result<Response, ClientError>
where
    S: Read + Write,
{
    let deadline = Instant::now() + limit;
    let broken =
        |source| ClientError::Broken { address: address.clone(), source: name_timeout(source, limit) };
    timeouts(limit).map_err(broken)?;
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut received = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(broken(io::ErrorKind::TimedOut.into()));
        }
        timeouts(left).map_err(broken)?;
        match stream.read(&mut piece).map_err(broken)? {
            0 => break,
            count => received.extend_from_slice(&piece[..count]),
        }
        if received.len() as u64 > RESPONSE_BYTES_MAX {
            return Err(ClientError::NotHttp(address.clone()));
        }
    }
    parse(&received).ok_or_else(|| ClientError::NotHttp(address.clone()))
}

/// Names a timeout, which sockets report as EAGAIN.
fn name_timeout(error: io::Error, limit: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()))
        }
        _ => error,
    }
}

/// The admin server closes after each response and never sends chunks, so the body is all that follows the head.
fn parse(received: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}
