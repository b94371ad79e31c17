//! What both tools know of HTTP/1.1: as much as their peers in a benchmark send.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Room for a head and whatever comes with it.
pub const ROOM: usize = 16 << 10;

/// The lengths of a head, its empty line included, and of the body that it announces; `None`: the head is not whole.
pub fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let field = |line: &&[u8]| line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:");
    let length = bytes[..head].split(|byte| *byte == b'\n').find(field);
    let length = length.and_then(|line| str::from_utf8(&line[15..]).ok()?.trim().parse().ok());
    Some((head, length.unwrap_or(0)))
}

pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What follows `name` among the arguments.
pub fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// The number that follows `name` among the arguments.
pub fn number(name: &str) -> Option<usize> {
    argument(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {text}")))
}
