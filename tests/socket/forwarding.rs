//! What passes through unchanged: connections, framing, interim answers, streams, tunnels.

mod addresses;
mod boundaries;
mod connections;
mod framing;
mod http2;
mod http2_bombs;
mod http2_ends;
mod http2_floods;
mod http2_interim;
mod http2_malformed;
mod http2_permits;
mod http2_responses;
mod http2_times;
mod http2_uploads;
mod http2_websockets;
mod kept;
mod streams;
mod tunnels;
