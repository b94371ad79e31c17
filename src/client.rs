//! Clients' connections from accept to end: PROXY header, TLS, then the requests of HTTP/1.1 or HTTP/2.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod connection;
mod handshake;
mod http1;
pub mod http2;
mod linger;
mod pipelined;
pub mod preface;
mod proxy_header;
