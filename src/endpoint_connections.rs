//! One worker's connections to endpoints: opening them, the idle ones of HTTP/1.1, and those of HTTP/2, which requests
//! share.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod connect;
pub mod http2;
pub mod idle_pool;
