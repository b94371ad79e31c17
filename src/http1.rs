//! The codec of HTTP/1.1 and of the PROXY header. It knows no socket and no clock: its modules take bytes and say what
//! these mean, so that they can be fuzzed. What it accepts can be read in one way only; what it writes is in one normal
//! form.

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
