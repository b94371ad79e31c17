//! A WebSocket's handshake (RFC 6455, section 1.3).

/// The fields by which a client asks for one.
pub const ASKS_FOR_WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// The head by which an endpoint agrees.
pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
