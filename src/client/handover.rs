//! Hands a connection over to Pingora's engine, once its client is known.

use std::pin::Pin;
use std::sync::Arc;

use crate::client::pipelined::Pipelined;
use crate::exchange::ClientIdentity;
use crate::listener_state::ListenerState;
use crate::net::stream::Stream;
use crate::tls::Secured;

/// What an HTTP/2 client sends first where it knows that the server speaks it (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's connection, and what is known of it.
pub struct Handover {
    pub stream: Stream,
    /// What has been read of it.
    pub ahead: Vec<u8>,
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub secured: Option<Arc<Secured>>,
    pub pipelined: Pipelined,
}

/// The carrier that such connections go to.
pub trait OtherCarrier {
    /// Serves it to its end.
    fn serve(&self, handover: Handover) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preface {
    Whole,
    /// The beginning of it: more bytes are needed.
    Part,
    /// It is something else.
    None,
}

impl Preface {
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Whole
        } else if PREFACE.starts_with(bytes) {
            Self::Part
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_known_by_its_24_bytes() {
        for length in 0..PREFACE.len() {
            assert_eq!(Preface::of(&PREFACE[..length]), Preface::Part);
            let mut other = PREFACE[..=length].to_vec();
            other[length] ^= 1;
            assert_eq!(Preface::of(&other), Preface::None);
        }
        assert_eq!(Preface::of(PREFACE), Preface::Whole);
        assert_eq!(Preface::of(&[PREFACE, b"\0\0\0"].concat()), Preface::Whole);
        assert_eq!(Preface::of(b"POST / HTTP/1.1"), Preface::None);
    }
}
