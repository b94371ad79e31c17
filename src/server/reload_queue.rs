//! Carries out reloads one at a time, in a task beside the control thread's loop, which handles signals meanwhile.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::task::JoinHandle;

use super::reload::{Due, InitialConfig, Reloads, Trigger};
use super::state::ServerState;
use crate::admin::{ConfigChange, OperationOutcome};

pub struct ReloadQueue(OneTask<Reloads>);

/// A state that one task at a time works on. The state outlives a task that panics: a pending revert and the history of
/// configs are not lost.
struct OneTask<T> {
    state: Arc<Mutex<T>>,
    task: Task,
}

enum Task {
    None,
    Running(JoinHandle<()>),
    /// No task runs, and none will.
    Closed,
}

/// Work for the queue.
pub enum Job {
    /// The process serves from now on.
    Started,
    Due(Due),
    Reload(Trigger),
    Change(ConfigChange, oneshot::Sender<OperationOutcome>),
}

/// An event for the control thread's loop.
pub enum QueueEvent {
    Due(Due),
    /// The running job has ended.
    Done,
}

// === impl ReloadQueue ===

impl ReloadQueue {
    /// Must run within the runtime that will run the jobs.
    pub fn open(shared: Arc<ServerState>, initial_config: InitialConfig) -> Self {
        Self(OneTask::new(Reloads::start(shared, initial_config)))
    }

    /// Whether a job can be begun; if not, [`ReloadQueue::next_event`] returns when one can.
    pub fn is_idle(&self) -> bool {
        matches!(self.0.task, Task::None)
    }

    /// Cancel safe.
    pub async fn next_event(&mut self) -> QueueEvent {
        if self.is_idle() {
            return QueueEvent::Due(self.0.state.lock().await.due().await);
        }
        self.0.ended().await;
        QueueEvent::Done
    }

    /// Begins the job, unless another one runs.
    pub fn begin(&mut self, job: Job) {
        self.0.begin(|reloads| job.carry_out(reloads));
    }

    /// Aborts the running job, and begins no other. A client that waits for its outcome is told of the stop.
    pub fn close(&mut self) {
        self.0.close();
    }
}

// === impl OneTask ===

impl<T: Send + 'static> OneTask<T> {
    fn new(state: T) -> Self {
        Self { state: Arc::new(Mutex::new(state)), task: Task::None }
    }

    /// Begins the work, unless a task runs.
    fn begin<F>(&mut self, work: impl FnOnce(OwnedMutexGuard<T>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        if matches!(self.task, Task::None) {
            let state = self.state.clone();
            self.task = Task::Running(tokio::spawn(async move { work(state.lock_owned().await).await }));
        }
    }

    /// Returns once the running task has ended; never, if there is none. Cancel safe.
    async fn ended(&mut self) {
        let Task::Running(task) = &mut self.task else { return std::future::pending().await };
        // An error is a panic, which is in the log.
        let _ = task.await;
        self.task = Task::None;
    }

    fn close(&mut self) {
        if let Task::Running(task) = std::mem::replace(&mut self.task, Task::Closed) {
            task.abort();
        }
    }
}

// === impl Job ===

impl Job {
    async fn carry_out(self, mut reloads: OwnedMutexGuard<Reloads>) {
        match self {
            Self::Started => reloads.started().await,
            Self::Due(due) => reloads.attend(due).await,
            Self::Reload(by) => drop(reloads.reload(by, None).await),
            // The client that asked may have gone.
            Self::Change(change, reply) => drop(reply.send(reloads.perform(change).await)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_known_outlives_a_task_that_panics() {
        let mut tasks = OneTask::new(1);
        tasks.begin(async |mut number| {
            *number += 1;
            panic!("in a test");
        });
        tasks.ended().await;
        assert!(matches!(tasks.task, Task::None), "another one can be begun");
        tasks.begin(async |mut number| *number += 1);
        tasks.ended().await;
        assert_eq!(*tasks.state.lock().await, 3);
    }
}
