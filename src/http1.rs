//! The codec of HTTP/1.1 and of the PROXY header. It uses no socket and no clock, so that it can be fuzzed: bytes in,
//! their meaning out. It refuses ambiguous input, and writes every message in one normal form.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod body;
pub mod chunked;
pub mod fields;
pub mod framing;
pub mod head;
pub mod proxy_protocol;
mod syntax;
pub mod write;
