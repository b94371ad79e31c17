//! Hands a connection over to the engine `pingora`, once its client is identified.

use std::pin::Pin;
use std::sync::Arc;

use crate::exchange::ClientIdentity;
use crate::listener_state::ListenerState;
use crate::net::stream::Stream;
use crate::tls::TlsInfo;

/// A client's connection, with all that the other engine needs to know of it.
pub struct Handover {
    pub stream: Stream,
    /// Bytes that have been read from it.
    pub ahead: Vec<u8>,
    pub identity: ClientIdentity,
    pub listener_state: Arc<ListenerState>,
    pub tls_info: Option<Arc<TlsInfo>>,
}

/// The engine that takes over such connections.
pub trait OtherEngine {
    /// Serves the connection to its end; returns its stream where the client may still be sending, so that its last
    /// response has to be waited for.
    fn serve(&self, handover: Handover) -> Pin<Box<dyn Future<Output = Option<Stream>>>>;
}
