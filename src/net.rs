//! Connections as the kernel and TLS have them, their buffers, and the descriptors that they take.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod buffer;
pub mod descriptors;
pub mod socket;
pub mod stream;
