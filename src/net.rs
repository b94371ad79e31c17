//! Sockets, TLS streams, read buffers, and the budget of descriptors.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod arrivals;
pub mod buffer;
pub mod descriptors;
pub mod socket;
pub mod stream;
