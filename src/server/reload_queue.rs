//! Where reloads are carried out: one at a time, beside the control thread's loop, which sees signals meanwhile.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::reload::{Beginning, By, Due, Reloads};
use super::state::Shared;
use crate::admin::{ConfigChange, Outcome};

pub struct ReloadQueue {
    shared: Arc<Shared>,
    state: State,
}

enum State {
    Idle(Box<Reloads>),
    /// What is being carried out gives it back.
    Busy(JoinHandle<Box<Reloads>>),
    Closed,
}

/// What can be carried out.
pub enum Job {
    /// The process serves from now on.
    Started,
    Due(Due),
    Reload(By),
    Change(ConfigChange, oneshot::Sender<Outcome>),
}

/// Something for the loop to know.
pub enum News {
    Due(Due),
    /// What was being carried out has ended.
    Done,
}

impl ReloadQueue {
    /// Must run within the runtime that will carry things out.
    pub fn open(shared: Arc<Shared>, beginning: Beginning) -> Self {
        let state = State::Idle(Box::new(Reloads::start(shared.clone(), beginning)));
        Self { shared, state }
    }

    /// Whether something can be begun; else, [`ReloadQueue::news`] says when.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    /// May be dropped and called again.
    pub async fn news(&mut self) -> News {
        let given_back = match &mut self.state {
            State::Idle(reloads) => return News::Due(reloads.due().await),
            State::Busy(task) => task.await,
            State::Closed => return std::future::pending().await,
        };
        self.state = match given_back {
            Ok(reloads) => State::Idle(reloads),
            // The panic is in the log, and nothing was put in force.
            Err(_) => State::reopening(self.shared.clone()),
        };
        News::Done
    }

    /// Begins it, where nothing is under way.
    pub fn begin(&mut self, job: Job) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Idle(reloads) => State::Busy(tokio::spawn(job.carry_out(reloads))),
            other => other,
        };
    }

    /// Nothing is begun any more, and what is under way is given up; whoever waits for it hears of the stop.
    pub fn close(&mut self) {
        if let State::Busy(task) = std::mem::replace(&mut self.state, State::Closed) {
            task.abort();
        }
    }
}

impl Job {
    async fn carry_out(self, mut reloads: Box<Reloads>) -> Box<Reloads> {
        match self {
            Self::Started => reloads.started().await,
            Self::Due(due) => reloads.attend(due).await,
            Self::Reload(by) => drop(reloads.reload(by, None).await),
            // Whoever asked may have gone.
            Self::Change(change, reply) => drop(reply.send(reloads.perform(change).await)),
        }
        reloads
    }
}

impl State {
    /// What is in the state directory is read again.
    fn reopening(shared: Arc<Shared>) -> Self {
        Self::Busy(tokio::spawn(async move {
            let beginning = Beginning::again(&shared).await;
            let mut reloads = Box::new(Reloads::start(shared, beginning));
            reloads.started().await;
            reloads
        }))
    }
}
