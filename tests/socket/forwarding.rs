//! What passes through unchanged: connections, framing, interim answers, streams, tunnels.

mod addresses;
mod boundaries;
mod connections;
mod framing;
mod http2;
mod kept;
mod streams;
mod tunnels;
