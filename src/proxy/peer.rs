//! Tells Pingora how to connect to an endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::protocols::l4::ext::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;

use super::connection::Dial;
use crate::exchange::Exchange;
use crate::pool::Target;

/// The peer for the current attempt. `number` is a new one for each attempt.
pub fn build(exchange: &Exchange, number: u64, now: Instant) -> Option<Box<HttpPeer>> {
    let timeouts = &exchange.pool()?.config().timeouts;
    let left = exchange.deadline().map(|deadline| deadline.saturating_duration_since(now));
    let limit = exchange.connect_limit();
    let connect = left.map_or(limit, |left| left.min(limit));
    let mut peer = match exchange.endpoint()?.target() {
        Target::Inet(address) => HttpPeer::new(address, false, String::new()),
        Target::Unix(path) => HttpPeer::new_uds(path.to_str()?, false, String::new()).ok()?,
    };
    let tls = exchange.endpoint()?.tls_target(&exchange.pool()?.config().tls);
    let options = &mut peer.options;
    // `exchange` removes what the client's `Connection` names.
    options.http_upstream_request_policy.strip_connection_nominated = false;
    options.idle_timeout = Some(timeouts.keep_alive);
    if tls.is_some() {
        // Pingora identifies idle connections by their descriptors, and sees none under TLS: it must not keep any.
        options.idle_timeout = Some(Duration::from_millis(1));
        peer.group_key = number;
    }
    // Not for responses: Pingora has a single limit for every read; see `watch`.
    options.read_timeout = exchange.is_upgrade().then_some(timeouts.tunnel);
    options.write_timeout = Some(timeouts.write);
    options.total_connection_timeout = Some(connect);
    options.tcp_keepalive = Some(keepalive(timeouts.write));
    if exchange.speaks_http2() {
        options.set_http_version(2, 2);
    }
    options.custom_l4 = Some(Arc::new(Dial { endpoint: exchange.endpoint()?.clone(), limit: connect, tls }));
    Some(Box::new(peer))
}

/// TCP keepalive that detects a dead peer within 90 s, and unacknowledged data within `write`: Pingora notices a slow
/// write itself, but then still waits for a response.
fn keepalive(write: Duration) -> TcpKeepalive {
    TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: write,
    }
}
