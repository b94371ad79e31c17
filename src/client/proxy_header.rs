//! Identifies a connection's client before anything else is read: the peer itself, or the client that a load balancer
//! in front names in a PROXY header.

use std::future::poll_fn;
use std::pin::Pin;

use crate::config::{Listener, ProxyProtocol};
use crate::exchange::ClientIdentity;
use crate::http1::proxy_protocol::{Parse, ProxiedSource, parse};
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::telemetry::record::ClientAddress;
use crate::worker::Worker;
use crate::worker::deadline::Timer;

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unidentified {
    /// It has ended or stayed silent, and no header was required.
    Gone,
    Refused {
        /// For the metric.
        reason: &'static str,
        /// For the log.
        detail: &'static str,
    },
}

const UNTRUSTED: Unidentified =
    Unidentified::Refused { reason: "proxy_header_untrusted", detail: "the peer is not in trusted_proxies" };

const MISSING: Unidentified = Unidentified::Refused {
    reason: "proxy_header_missing",
    detail: "the connection begins with something else",
};

const LATE: Unidentified = Unidentified::Refused {
    reason: "proxy_header_timeout",
    detail: "the header did not arrive within timeouts.header",
};

const CUT: Unidentified = Unidentified::Refused {
    reason: "proxy_header_malformed",
    detail: "the connection ended within the header",
};

/// Reads the PROXY header, where the listener expects one and trusts the peer. Bytes after the header stay in `input`.
pub async fn identify(
    worker: &Worker,
    stream: &mut Stream,
    input: &mut Buffer,
    timer: &Timer,
    listener: &Listener,
    peer: ClientAddress,
) -> Result<ClientIdentity, Unidentified> {
    let required = match (listener.proxy_protocol, is_trusted(&peer, listener)) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Accept, false) => return Ok(ClientIdentity::Peer(peer)),
        (ProxyProtocol::Require, false) => return Err(UNTRUSTED),
        (ProxyProtocol::Accept, true) => false,
        (ProxyProtocol::Require, true) => true,
    };
    let header = timer.within(listener.timeouts.header, header(worker, stream, input, required)).await;
    match header {
        Ok(Ok(Some(ProxiedSource::Client(client)))) => {
            Ok(ClientIdentity::Relayed { client: ClientAddress::inet(client), by: peer })
        }
        Ok(Ok(Some(ProxiedSource::Unknown))) => Ok(ClientIdentity::Anonymous { by: peer }),
        Ok(Ok(Some(ProxiedSource::Local) | None)) => Ok(ClientIdentity::Peer(peer)),
        Ok(Err(error)) => Err(error),
        Err(_) if input.is_empty() && !required => Err(Unidentified::Gone),
        Err(_) => Err(LATE),
    }
}

/// The peers of a unix socket are trusted: its permissions have let them in.
fn is_trusted(peer: &ClientAddress, listener: &Listener) -> bool {
    peer.ip().is_none_or(|ip| listener.trusts(ip))
}

/// `None`: there is no header, and none is needed.
async fn header(
    worker: &Worker,
    stream: &mut Stream,
    input: &mut Buffer,
    required: bool,
) -> Result<Option<ProxiedSource>, Unidentified> {
    loop {
        match parse(input.bytes()) {
            Parse::Complete { length, source } => {
                input.consume(length);
                return Ok(Some(source));
            }
            Parse::Absent if required => return Err(MISSING),
            Parse::Absent => return Ok(None),
            Parse::Malformed(detail) => {
                return Err(Unidentified::Refused { reason: "proxy_header_malformed", detail });
            }
            Parse::Partial => {}
        }
        let read = if input.is_empty() {
            worker.memory.first_bytes(stream, input).await
        } else {
            poll_fn(|context| input.poll_read(context, Pin::new(&mut *stream))).await
        };
        match read {
            Ok(1..) => {}
            Ok(0) | Err(_) if input.is_empty() => return Err(Unidentified::Gone),
            Ok(0) | Err(_) => return Err(CUT),
        }
    }
}
