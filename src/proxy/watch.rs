//! Deadlines for an endpoint, which end by cutting its connection.
//!
//! Pingora's read timeout is for each read: an endpoint that sends one byte a second is never too late for it. A
//! [`Watch`] is a deadline for the whole; when it passes, the connection is shut down and Pingora's read ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;

/// Cuts a connection unless it is dropped or touched in time.
pub struct Watch {
    limit: Duration,
    deadline: Arc<Mutex<Instant>>,
    expired: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Watch {
    /// A limit for the whole, whatever comes meanwhile.
    pub fn total(connection: Arc<Connection>, limit: Duration) -> Self {
        Self::start(connection, limit, |_| false)
    }

    /// A limit for the time in which nothing comes.
    pub fn idle(connection: Arc<Connection>, limit: Duration) -> Self {
        Self::start(connection, limit, Connection::has_unread)
    }

    fn start(connection: Arc<Connection>, limit: Duration, excuse: fn(&Connection) -> bool) -> Self {
        let deadline = Arc::new(Mutex::new(Instant::now() + limit));
        let expired = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (deadline, expired) = (deadline.clone(), expired.clone());
            async move {
                loop {
                    let until = *deadline.lock();
                    if until > Instant::now() {
                        sleep_until(until).await;
                    } else if excuse(&connection) {
                        *deadline.lock() = Instant::now() + limit;
                    } else {
                        break;
                    }
                }
                expired.store(true, Relaxed);
                connection.cut();
            }
        });
        Self { limit, deadline, expired, task: task.abort_handle() }
    }

    /// Something has come: the time starts again.
    pub fn touch(&self) {
        *self.deadline.lock() = Instant::now() + self.limit;
    }

    pub fn has_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
