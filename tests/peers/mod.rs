//! A client and an endpoint with the least that they can do, so that what is counted is the proxy's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// Answers every request on every connection with the same. It allocates nothing once it is warm.
pub fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut request = [0; 4096];
                let mut length = 0;
                while let Some(read @ 1..) = request.get_mut(length..).and_then(|rest| stream.read(rest).ok())
                {
                    length += read;
                    if request[..length].ends_with(b"\r\n\r\n") {
                        length = 0;
                        if stream.write_all(ANSWER).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Somebody else may take it in between; then the proxy does not start, and says so.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port")
}

/// A whole response with a body of 100 bytes.
pub fn response(stream: &mut TcpStream, memory: &mut [u8; 4096]) {
    let mut length = 0;
    loop {
        let read = stream.read(&mut memory[length..]).expect("a response");
        assert!(read > 0, "the connection was closed");
        length += read;
        let head = memory[..length].windows(4).position(|end| end == b"\r\n\r\n");
        if head.is_some_and(|head| length >= head + 4 + 100) {
            assert!(memory.starts_with(b"HTTP/1.1 200 "));
            return;
        }
    }
}
