//! The limits on client connections, for the process and for each listener, and the pause in accepting at a limit.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::config;
use crate::listener_state::ListenerState;
use crate::net::descriptors::Descriptors;
use crate::os_error;
use crate::permits::Permit;
use crate::snapshot::Snapshot;
use crate::worker::http2_permits;

/// How long accepting pauses before it is tried again; without a pause the loop would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// At most one log line in this time, for each listener.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Descriptors kept back for listening sockets, logs, the admin address and health checks.
const DESCRIPTORS_KEPT: usize = 128;

/// The least limit on client connections, however low the limit of open files.
const CONNECTIONS_MIN: usize = 16;

/// Grants a permit for each client connection.
pub struct ConnectionLimit {
    snapshot: Arc<ArcSwap<Snapshot>>,
    descriptors: Arc<Descriptors>,
    most: usize,
    reported: Mutex<Vec<(Arc<str>, Instant)>>,
}

/// Counts one client connection against both limits until it is dropped.
#[must_use = "the place is free again when this is dropped"]
pub struct ConnectionPermit {
    _in_all: Permit,
    _of_listener: Permit,
}

/// Why accepting pauses.
#[derive(Debug)]
pub enum AcceptPause {
    /// `server.max_connections`.
    InAll(usize),
    /// `limits.connections` of the listener.
    OfListener(usize),
    System(io::Error),
}

/// What the process can serve at a time.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Descriptors that clients' connections and those to endpoints share.
    pub descriptors: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Requests of HTTP/2 clients, beyond one of each connection.
    pub http2: usize,
}

impl Capacity {
    /// Derives the limits from the number of descriptors that the process may open.
    pub fn of(server: &config::Server, descriptors: usize) -> Self {
        let connections = most_connections(server.max_connections, descriptors);
        let descriptors = for_connections(descriptors);
        let http2 = http2_permits::http2_requests(server, Descriptors::new(descriptors).for_http2());
        Self { descriptors, connections, http2 }
    }
}

/// The descriptors that are left for connections of clients and to endpoints.
fn for_connections(descriptors: usize) -> usize {
    descriptors.saturating_sub(DESCRIPTORS_KEPT).max(2 * CONNECTIONS_MIN)
}

/// The limit on client connections; `wanted` is `server.max_connections`.
fn most_connections(wanted: Option<usize>, descriptors: usize) -> usize {
    let for_clients = descriptors.saturating_sub(DESCRIPTORS_KEPT);
    let Some(wanted) = wanted else {
        // Each client may need a second descriptor, for the connection to its endpoint.
        return (for_clients / 2).max(CONNECTIONS_MIN);
    };
    let most = for_clients.max(CONNECTIONS_MIN);
    if wanted > most {
        log::warn!(wanted, most; "max_connections is more than the limit of open files allows");
    }
    wanted.min(most)
}

impl ConnectionLimit {
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, descriptors: Arc<Descriptors>, most: usize) -> Arc<Self> {
        Arc::new(Self { snapshot, descriptors, most, reported: Mutex::default() })
    }

    /// Takes a permit for one connection on this listener, or says which limit is reached.
    pub fn acquire(&self, listener_state: &Arc<ListenerState>) -> Result<ConnectionPermit, AcceptPause> {
        let most =
            listener_state.in_force(&self.snapshot.load()).and_then(|listener| listener.connections.all);
        let most = most.unwrap_or(usize::MAX);
        let of_listener = listener_state.permits.take(most).ok_or(AcceptPause::OfListener(most))?;
        let in_all = self.descriptors.clients.take(self.most).ok_or(AcceptPause::InAll(self.most))?;
        Ok(ConnectionPermit { _in_all: in_all, _of_listener: of_listener })
    }

    /// A permit has been used: a client was accepted.
    pub fn accepted(&self) {
        self.descriptors.client_came();
    }

    /// Returns when accepting may succeed again, and logs the reason for the pause.
    ///
    /// `again`: the previous try failed, too. A first failure is not logged: another worker may hold the last permit
    /// only for the moment of its own accept.
    pub async fn wait(&self, listener_state: &ListenerState, pause: &AcceptPause, again: bool) {
        if !again {
            listener_state.counters.paused(pause.reason());
        }
        if (again || matches!(pause, AcceptPause::System(_))) && self.report_is_due(&listener_state.listener)
        {
            pause.report(&listener_state.listener);
        }
        match pause {
            AcceptPause::InAll(_) => self.descriptors.clients.released(PAUSE).await,
            AcceptPause::OfListener(_) => listener_state.permits.released(PAUSE).await,
            AcceptPause::System(error) => {
                // An idle connection to an endpoint is closed to free a descriptor. If the accept still fails, wait:
                // the descriptor may not be free yet, and closing another connection at once would be one too many.
                let closed = os_error::is_of_descriptors(error) && self.descriptors.close_idle(None);
                if again || !closed {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn report_is_due(&self, listener: &Arc<str>) -> bool {
        let mut reported = self.reported.lock();
        let now = Instant::now();
        match reported.iter_mut().find(|(known, _)| known == listener) {
            Some((_, last)) if now.duration_since(*last) < REPORT_EVERY => return false,
            Some((_, last)) => *last = now,
            None => reported.push((listener.clone(), now)),
        }
        true
    }
}

impl AcceptPause {
    /// The label of the metric and the log line; for a limit, its key in the config.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InAll(_) => "max_connections",
            Self::OfListener(_) => "connections",
            Self::System(_) => "system",
        }
    }

    fn report(&self, listener: &str) {
        match self {
            Self::InAll(most) | Self::OfListener(most) => {
                log::warn!(listener, limit = self.reason(), most; "connection limit reached");
            }
            Self::System(error) => {
                log::error!(listener, reason:% = error; "connections cannot be accepted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::net::descriptors::IdleStore;

    /// Out of descriptors or memory: accepting pauses each time, and few of the pauses are logged.
    #[tokio::test(start_paused = true)]
    async fn a_lack_of_anything_is_waited_out() {
        let (connection_limit, listener_state) = connection_limit(Arc::default());
        let begun = tokio::time::Instant::now();
        for (count, code) in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].into_iter().enumerate()
        {
            connection_limit
                .wait(&listener_state, &AcceptPause::System(io::Error::from_raw_os_error(code)), count > 0)
                .await;
            assert!(begun.elapsed() >= PAUSE * u32::try_from(count + 1).expect("a few"));
        }
        assert_eq!(connection_limit.reported.lock().len(), 1);
        assert!(!connection_limit.report_is_due(&listener_state.listener));
    }

    fn connection_limit(descriptors: Arc<Descriptors>) -> (Arc<ConnectionLimit>, Arc<ListenerState>) {
        let config = crate::config::parse("listen: 127.0.0.1:0\nendpoints: [127.0.0.1:1]", "test");
        let snapshot = Snapshot::build(config.expect("a valid config"), None);
        let connection_limit =
            ConnectionLimit::new(Arc::new(ArcSwap::from_pointee(snapshot)), descriptors, 100);
        let metrics = crate::telemetry::metrics::Metrics::new(std::time::SystemTime::now());
        let listener: Arc<str> = "default".into();
        (connection_limit, ListenerState::new(listener.clone(), metrics.listener(&listener)))
    }

    /// A number of idle connections; closing them does not help.
    struct Idle(AtomicUsize);

    impl IdleStore for Idle {
        fn close_oldest(&self) -> usize {
            usize::from(self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok())
        }

        fn close_all(&self) {
            self.0.store(0, SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_do_not_all_go_at_once_for_a_descriptor() {
        let (descriptors, idle) = (Arc::<Descriptors>::default(), Arc::new(Idle(AtomicUsize::new(9))));
        let store: Arc<dyn IdleStore> = idle.clone();
        descriptors.register_store(Arc::downgrade(&store));
        let (connection_limit, listener_state) = connection_limit(descriptors);
        let begun = tokio::time::Instant::now();
        let pause = AcceptPause::System(io::Error::from_raw_os_error(libc::EMFILE));
        for (again, left, pauses) in [(false, 8, 0), (true, 7, 1), (true, 6, 2)] {
            connection_limit.wait(&listener_state, &pause, again).await;
            assert_eq!(idle.0.load(SeqCst), left);
            assert!(begun.elapsed() >= PAUSE * pauses && (pauses > 0 || begun.elapsed() < PAUSE));
        }
    }

    #[test]
    fn the_descriptors_bound_the_connections() {
        assert_eq!(most_connections(None, 1128), 500);
        assert_eq!(most_connections(None, 64), CONNECTIONS_MIN);
        assert_eq!(most_connections(Some(10), 1128), 10);
        assert_eq!(most_connections(Some(5000), 1128), 1000);
        assert_eq!(most_connections(Some(5000), 64), CONNECTIONS_MIN);
    }
}
