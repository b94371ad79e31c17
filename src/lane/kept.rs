//! Idle connections to endpoints, kept by each worker for its next requests.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::stream::Stream;
use crate::pool::Endpoint;

/// Of one endpoint and worker; the oldest goes when there are more.
const PER_ENDPOINT_MAX: usize = 1024;

/// However busy it is, so that what moves behind an address is noticed.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// An open connection to an endpoint.
pub struct Connection {
    pub stream: Stream,
    pub opened: Instant,
    /// It has served a request before.
    pub reused: bool,
}

struct Idle {
    stream: Stream,
    opened: Instant,
    until: Instant,
}

/// The endpoint stands beside its connections so that its address, which is the key, is nobody else's.
type OfEndpoint = (Arc<Endpoint>, VecDeque<Idle>);

#[derive(Default)]
pub struct KeptConnections(RefCell<AHashMap<usize, OfEndpoint>>);

impl KeptConnections {
    /// The one used last: it is the least likely to have been closed.
    pub fn take(&self, endpoint: &Arc<Endpoint>, now: Instant) -> Option<Connection> {
        let mut all = self.0.borrow_mut();
        let (_, kept) = all.get_mut(&key(endpoint))?;
        while let Some(Idle { stream, opened, until }) = kept.pop_back() {
            if until > now && !stream.is_stale() {
                return Some(Connection { stream, opened, reused: true });
            }
        }
        None
    }

    pub fn keep(&self, endpoint: &Arc<Endpoint>, connection: Connection, idle: Duration, now: Instant) {
        let Connection { stream, opened, .. } = connection;
        if now.duration_since(opened) >= AGE_MAX {
            return;
        }
        let mut all = self.0.borrow_mut();
        let (_, kept) = all.entry(key(endpoint)).or_insert_with(|| (endpoint.clone(), VecDeque::new()));
        if kept.len() >= PER_ENDPOINT_MAX {
            kept.pop_front();
        }
        kept.push_back(Idle { stream, opened, until: now + idle });
    }

    /// Closes those that are over their time, and those that the endpoint has closed.
    pub fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, (_, kept)| {
            kept.retain(|idle| idle.until > now && !idle.stream.is_stale());
            !kept.is_empty()
        });
    }
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint).addr()
}
