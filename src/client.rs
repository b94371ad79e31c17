//! The clients' side: a connection from accept to end, and its requests, one after the other.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod connection;
pub mod handover;
mod handshake;
mod http1;
pub mod http2;
pub mod pipelined;
mod proxy_header;
