//! One request between a client and an endpoint: attempts, bodies both ways, tunnels, local replies. It moves bytes and
//! asks `exchange` for every decision.

// What a client or an endpoint sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

pub mod attempt;
mod local_reply;
mod min_body_rate;
mod pump;
pub mod request;
mod response;
mod tunnel;
mod websocket_frames;
