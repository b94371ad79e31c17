//! The TLS handshake with a client.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::AsyncWriteExt;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::tls::{ServerTls, TlsInfo};
use crate::worker::Worker;
use crate::worker::deadline::Timer;

/// The type of a TLS record that carries a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Why a handshake has failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The client has closed the connection without a byte.
    Gone,
    /// The client speaks HTTP without TLS, and can be answered.
    PlainHttp(Stream),
    /// For the reason that the log is to have.
    Failed(String),
    TimedOut,
}

/// Does the handshake within `limit`. `input` may hold bytes that have been read before.
pub async fn accept(
    worker: &Worker,
    mut stream: Stream,
    input: &mut Buffer,
    timer: &Timer,
    tls: &Arc<ServerTls>,
    limit: Duration,
) -> Result<(Stream, Arc<TlsInfo>), HandshakeError> {
    timer.set(limit);
    let accepted = timer.before_deadline(async {
        if input.is_empty() {
            // No memory is held for the client before its first bytes.
            let read = worker.memory.first_bytes(&mut stream, input).await;
            if !read.is_ok_and(|read| read > 0) {
                return Err(HandshakeError::Gone);
            }
        }
        let ahead = input.bytes().to_vec();
        match ahead.first() {
            Some(&HANDSHAKE) => {}
            Some(first) if first.is_ascii_alphabetic() => return Err(HandshakeError::PlainHttp(stream)),
            _ => return Err(failed("the connection begins with something else")),
        }
        input.consume(ahead.len());
        worker.memory.give_back_buffer(input.release());
        let Stream::Plain(socket) = stream else { return Err(failed("TLS within TLS")) };
        let mut refused = None;
        let acceptor = TlsAcceptor::from(tls.config.clone());
        let mut accepting = acceptor.accept_with(socket, |session| refused = feed(session, &ahead).err());
        if let Some(Refused { error, alert }) = refused {
            if let Some(socket) = accepting.get_mut() {
                // On an error the client has gone already.
                let _ = socket.write_all(&alert).await;
            }
            return Err(failed(error.to_string()));
        }
        match accepting.await {
            Ok(stream) => {
                let tls_info = Arc::new(TlsInfo::of(stream.get_ref().1, tls));
                Ok((Stream::Tls(Box::new(TlsStream::Server(stream))), tls_info))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    });
    let accepted = accepted.await;
    timer.clear();
    accepted.unwrap_or(Err(HandshakeError::TimedOut))
}

fn failed(detail: impl Into<String>) -> HandshakeError {
    HandshakeError::Failed(detail.into())
}

/// The client's first bytes are refused.
struct Refused {
    error: rustls::Error,
    /// What tells the client so, as it is sent.
    alert: Vec<u8>,
}

/// Gives the session what was read before it began. After an error it would wait for more bytes before it reports it.
fn feed(session: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), Refused> {
    while !bytes.is_empty() && session.read_tls(&mut bytes).is_ok_and(|read| read > 0) {
        if let Err(error) = session.process_new_packets() {
            let mut alert = Vec::new();
            // Nothing can go wrong in memory.
            let _ = session.write_tls(&mut alert);
            return Err(Refused { error, alert });
        }
    }
    Ok(())
}
