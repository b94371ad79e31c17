//! How long an HTTP/2 client may pause within a body, for which Pingora has no limit.
//!
//! Pingora makes a request's context itself and waits for the body where no hook of ours is asked. So the limit is set by
//! the hooks, and watched beside the request, which is dropped when it has passed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

tokio::task_local! {
    static UPLOAD: Arc<Upload>;
}

/// The body of one request.
#[derive(Debug, Default)]
pub struct Upload {
    state: Mutex<State>,
    awaited: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Nothing is waited for.
    #[default]
    Still,
    Awaited {
        limit: Duration,
        since: Instant,
    },
    /// It was waited for in vain.
    Late,
}

impl Upload {
    /// That of the request which this task serves.
    pub fn of_task() -> Option<Arc<Self>> {
        UPLOAD.try_with(Arc::clone).ok()
    }

    /// Serves a request unless its body stops coming.
    pub async fn watched(request: impl Future<Output = ()>) {
        let upload = Arc::new(Self::default());
        tokio::select! {
            () = UPLOAD.scope(upload.clone(), request) => {}
            () = upload.is_late() => {}
        }
    }

    /// The next piece has so long to come.
    pub fn awaits(&self, limit: Duration) {
        *self.state.lock() = State::Awaited { limit, since: Instant::now() };
        self.awaited.notify_one();
    }

    /// A piece has come.
    pub fn moves(&self) {
        if let State::Awaited { since, .. } = &mut *self.state.lock() {
            *since = Instant::now();
        }
    }

    /// It is over.
    pub fn ends(&self) {
        *self.state.lock() = State::Still;
    }

    pub fn was_late(&self) -> bool {
        matches!(*self.state.lock(), State::Late)
    }

    async fn is_late(&self) {
        loop {
            let state = *self.state.lock();
            match state {
                State::Late => return,
                State::Still => self.awaited.notified().await,
                State::Awaited { limit, since } if since.elapsed() >= limit => {
                    *self.state.lock() = State::Late
                }
                State::Awaited { limit, since } => sleep_until(since + limit).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_body_that_stops_coming_is_late() {
        let limit = Duration::from_secs(5);
        let begun = Instant::now();
        Upload::watched(async {
            let upload = Upload::of_task().expect("it is served");
            sleep(Duration::from_secs(60)).await;
            upload.awaits(limit);
            for _ in 0..3 {
                advance(Duration::from_secs(4)).await;
                upload.moves();
            }
            upload.ends();
            sleep(Duration::from_secs(60)).await;
            assert!(!upload.was_late());
            upload.awaits(limit);
            std::future::pending().await
        })
        .await;
        assert_eq!(begun.elapsed().as_secs(), 60 + 12 + 60 + 5);
    }

    #[tokio::test]
    async fn a_request_that_ends_is_not_waited_for() {
        Upload::watched(async {}).await;
        assert!(Upload::of_task().is_none());
    }
}
