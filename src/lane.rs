//! The carrier of HTTP/1.1 to HTTP/1.1, on the acceptor's own streams.
//!
//! It moves bytes and asks `exchange` for every decision. The modules that read and write the protocol know no socket
//! and no clock: they take bytes and say what these mean, so that they can be fuzzed.

// What comes from a client or an endpoint must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]


mod answer;
pub mod attempt;
pub mod buffer;
mod caller;
mod carry;
pub mod connection;
pub mod deadline;
mod deliver;
pub mod descriptors;
pub mod door;
mod guests;
pub mod handover;
mod handshake;
pub mod kept;
pub mod owed;
mod pace;
pub mod pins;
pub mod places;
mod pump;
pub mod socket;
pub mod stream;
mod tunnel;
mod websocket;
pub mod worker;
