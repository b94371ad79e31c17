//! Runs work that may hang in a file system on a blocking thread, one piece at a time, and abandons it after a time
//! limit: the control thread has to handle signals meanwhile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::file::Progress;
use crate::human;

/// The limit for one file. A working file system answers in milliseconds; a sleeping disk or a slow network takes a
/// second or two.
pub const FILE_LIMIT: Duration = Duration::from_secs(5);

/// The limit for a whole piece of work: the largest config takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// The limit for all files of the state directory together.
pub const KEEP_LIMIT: Duration = Duration::from_secs(10);

const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Leaves at most one hanging thread behind: no work begins before that thread has returned.
#[derive(Default)]
pub struct Offload {
    left_behind: Option<(JoinHandle<()>, Hung)>,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hung {
    #[error(
        "{} was neither read nor written within {}: its file system does not answer; mend that, or name a file elsewhere",
        human::safe(&path.display().to_string()), human::coarse_duration(*limit)
    )]
    File { path: PathBuf, limit: Duration },
    #[error("it was not done within {}", human::coarse_duration(*.0))]
    Working(Duration),
    #[error("what was begun earlier still hangs: {0}")]
    Earlier(Box<Hung>),
    #[error("it panicked: the panic is in the log")]
    Panicked,
}

/// Reads watched files, one read at a time, even if its future is dropped and called again.
pub struct FilePoll<T> {
    thread: Option<JoinHandle<T>>,
    complained: bool,
}

// === impl Offload ===

impl Offload {
    /// Runs `work` and returns its result. If the future is dropped, the work goes on unobserved.
    pub async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hung> {
        self.run_within(FILE_LIMIT, LIMIT, work).await
    }

    pub async fn run_within<T: Send + 'static>(
        &mut self,
        file_limit: Duration,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hung> {
        match self.left_behind.take() {
            Some((thread, why)) if !thread.is_finished() => {
                let earlier = Hung::Earlier(Box::new(why.clone()));
                self.left_behind = Some((thread, why));
                return Err(earlier);
            }
            _ => {}
        }
        let progress = Progress::default();
        let (result, done) = oneshot::channel();
        let noted = progress.clone();
        let thread = spawn_blocking(move || drop(result.send(noted.of(work))));
        tokio::select! {
            done = done => done.map_err(|_| Hung::Panicked),
            why = too_long(&progress, file_limit, limit) => {
                self.left_behind = Some((thread, why.clone()));
                Err(why)
            }
        }
    }
}

/// Returns when a file or the whole work has exceeded its limit.
async fn too_long(progress: &Progress, file_limit: Duration, limit: Duration) -> Hung {
    let begun = Instant::now();
    let mut looks = interval(CHECK_INTERVAL.min(file_limit));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some((path, since)) = progress.current()
            && since.elapsed() >= file_limit
        {
            return Hung::File { path, limit: file_limit };
        }
        if begun.elapsed() >= limit {
            return Hung::Working(limit);
        }
    }
}

// === impl FilePoll ===

impl<T: Send + 'static> FilePoll<T> {
    /// The result of `work`, or of an earlier read that is still running; `None`: it has panicked. Cancel safe.
    pub async fn at(&mut self, what: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let thread = self.thread.get_or_insert_with(|| spawn_blocking(work));
        let found = match timeout(FILE_LIMIT, &mut *thread).await {
            Ok(found) => found,
            Err(_) => {
                if !std::mem::replace(&mut self.complained, true) {
                    log::warn!(what; "files that are watched cannot be read: their file system does not answer");
                }
                thread.await
            }
        };
        (self.thread, self.complained) = (None, false);
        found.ok()
    }
}

impl<T> Default for FilePoll<T> {
    fn default() -> Self {
        Self { thread: None, complained: false }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_nothing_is_begun_beside_it() {
        let mut offload = Offload::default();
        let (release, held) = mpsc::channel::<()>();
        let (ended, end) = oneshot::channel();
        let hangs = move || {
            let _ended: oneshot::Sender<()> = ended;
            held.recv()
        };
        let hung = offload.run_within(NEVER, SOON, hangs).await.expect_err("it hangs");
        assert_eq!(hung, Hung::Working(SOON));
        let again = offload.run_within(NEVER, NEVER, || 1).await.expect_err("the first one still hangs");
        assert_eq!(again, Hung::Earlier(Box::new(hung)));
        drop(release);
        end.await.expect_err("it drops it at its end");
        let result = loop {
            // The thread has to be seen to have ended.
            match offload.run_within(NEVER, NEVER, || 2).await {
                Err(Hung::Earlier(_)) => tokio::task::yield_now().await,
                result => break result,
            }
        };
        assert_eq!(result, Ok(2));
    }

    #[tokio::test]
    async fn the_file_that_is_not_read_is_named() {
        let path = PathBuf::from("/mnt/gone/key.pem");
        let (release, held) = mpsc::channel::<()>();
        let reads = {
            let path = path.clone();
            move || crate::file::access(&path, || held.recv())
        };
        let hung = Offload::default().run_within(SOON, NEVER, reads).await.expect_err("it hangs");
        assert_eq!(hung, Hung::File { path, limit: SOON });
        drop(release);
    }

    #[tokio::test]
    async fn a_look_that_is_given_up_is_taken_up_again() {
        let mut look = FilePoll::default();
        let (release, held) = mpsc::channel::<()>();
        let first = look.at("x", move || {
            let _ = held.recv();
            1
        });
        timeout(SOON, first).await.expect_err("it hangs");
        drop(release);
        assert_eq!(look.at("x", || 2).await, Some(1));
        assert_eq!(look.at("x", || 2).await, Some(2));
    }
}
