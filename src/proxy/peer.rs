//! The one place that tells Pingora how to reach an endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::protocols::l4::ext::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;

use super::connection::{Connections, Dial, Slot};
use crate::exchange::Exchange;
use crate::pool::Target;

/// The peer for the attempt under way, and where the second handle of its connection will be.
pub fn build(
    exchange: &Exchange,
    connections: &Arc<Connections>,
    now: Instant,
) -> Option<(Box<HttpPeer>, Slot)> {
    let timeouts = &exchange.pool()?.spec().timeouts;
    let left = exchange.deadline().map(|deadline| deadline.saturating_duration_since(now));
    let connect = left.map_or(timeouts.connect, |left| left.min(timeouts.connect));
    let mut peer = match exchange.endpoint()?.target() {
        Target::Inet(address) => HttpPeer::new(address, false, String::new()),
        Target::Unix(path) => HttpPeer::new_uds(path.to_str()?, false, String::new()).ok()?,
    };
    let options = &mut peer.options;
    // Pingora has one limit for every read, and what would be kept idle costs it a timer: see `watch`.
    options.read_timeout = exchange.is_upgrade().then_some(timeouts.tunnel);
    options.write_timeout = Some(timeouts.write);
    options.total_connection_timeout = Some(connect);
    options.tcp_keepalive = Some(keepalive(timeouts.write));
    if exchange.speaks_http2() {
        options.set_http_version(2, 2);
    }
    let tls = exchange.endpoint()?.expected(&exchange.pool()?.spec().tls);
    if tls.is_some() {
        // Pingora tells connections apart by their descriptors, and sees none here: it must not keep any.
        options.idle_timeout = Some(Duration::from_millis(1));
        peer.group_key = connections.alone();
    }
    let dial = Dial::new(exchange.endpoint()?.clone(), connect, tls, connections.clone());
    let (slot, options) = (dial.slot(), &mut peer.options);
    options.tracer = Some(dial.tracer());
    options.custom_l4 = Some(Arc::new(dial));
    Some((Box::new(peer), slot))
}

/// Finds out within a minute and a half that a silent endpoint's machine is gone, and that it does not take what it is
/// sent: Pingora notices a write that takes too long, but then waits for an answer all the same.
fn keepalive(write: Duration) -> TcpKeepalive {
    TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: write,
    }
}
