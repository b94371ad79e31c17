//! What is remembered of earlier configs: in the process, and in the state directory where there is one.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::offload::{FILE_LIMIT, Offload};
use super::state_dir::{Environment, Kept, Standing, StateError, Unconfirmed};
use crate::config::StateDirectory;

#[derive(Default)]
pub struct Memory {
    /// The text of the config that was in force before; never the one that is in force now.
    before: Option<Arc<str>>,
    kept: Option<Kept>,
    /// What is kept of a config that nobody has confirmed: it may be in force, or only in the config file.
    unconfirmed: Option<Unconfirmed>,
    /// A disk may be slow, and a file system may hang.
    offload: Offload,
}

/// What earlier processes have left behind: the config that was in force for good, and the one before it.
#[derive(Default)]
pub struct Left {
    in_force: Option<Arc<str>>,
    before: Option<Arc<str>>,
}

/// What the config file of a process that starts stands for.
pub enum Found {
    Settled,
    /// It waits for its confirmation, for so long; without it, the other text comes back.
    Waits(Duration, Arc<str>),
    /// It was not confirmed in time, and this was in force before.
    Expired(Arc<str>),
}

impl Memory {
    /// What is known of earlier configs of this file.
    pub async fn of_file(setting: &StateDirectory, file: &Path) -> (Self, Left) {
        let mut memory = Self::default();
        let (setting, file) = (setting.clone(), file.to_owned());
        let open = move || Kept::open(&setting, &file, &Environment::of_process()).map(read);
        match memory.offload.run_within(FILE_LIMIT, FILE_LIMIT, open).await {
            Ok(Ok((kept, unconfirmed, left))) => {
                (memory.kept, memory.unconfirmed) = (kept, unconfirmed);
                return (memory, left);
            }
            Ok(Err(error)) => cannot_keep(&error),
            Err(hung) => cannot_keep(&hung),
        }
        (memory, Left::default())
    }

    /// What the config file stands for, if it says `text`.
    pub fn find(&self, left: &Left, text: &str) -> Found {
        let (Some(unconfirmed), Some(before)) = (&self.unconfirmed, &left.in_force) else {
            return Found::Settled;
        };
        match unconfirmed.standing(text, before, SystemTime::now()) {
            Standing::Settled => Found::Settled,
            Standing::Waits(left) => Found::Waits(left, before.clone()),
            Standing::Expired => Found::Expired(before.clone()),
        }
    }

    /// The process starts with a config that may go back to the one that was in force for good.
    pub fn start_waiting(&mut self, left: Left) {
        let Left { in_force, before } = left;
        self.before = before.filter(|before| Some(before) != in_force.as_ref());
    }

    /// The process starts with `text`, which is in force for good.
    pub async fn start(&mut self, left: Left, text: &Arc<str>) {
        let Left { in_force, before } = left;
        let differs = |earlier: &Arc<str>| earlier != text;
        self.before = in_force.filter(differs).or_else(|| before.filter(differs));
        self.keep(text.clone(), self.before.clone()).await;
        // What is not in force is still not wanted by the next start.
        if self.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.text == *text) {
            self.keep_unconfirmed(None).await;
        }
    }

    pub fn before(&self) -> Option<Arc<str>> {
        self.before.clone()
    }

    /// `is` has come into force for good, in place of `was`.
    pub async fn remember(&mut self, was: &Arc<str>, is: &Arc<str>) {
        if was != is {
            self.before = Some(was.clone());
            self.keep(is.clone(), Some(was.clone())).await;
        }
        // In this order: interrupted in between, both are the same, and that says that it was confirmed.
        self.keep_unconfirmed(None).await;
    }

    /// The config before is in force again. Going back once more would bring the one that somebody did not want.
    pub async fn went_back(&mut self) {
        if let Some(is) = self.before.take() {
            self.keep(is, None).await;
        }
    }

    /// `text` is about to come into force until somebody confirms it. Returns whether that is known beyond the end of this
    /// process, and what was known of another one.
    pub async fn tries(&mut self, text: Arc<str>, limit: Duration) -> (bool, Option<Unconfirmed>) {
        let until = SystemTime::now() + limit;
        let earlier = self.unconfirmed.take();
        (self.keep_unconfirmed(Some(Unconfirmed { text, until, limit })).await, earlier)
    }

    /// The config that waits was not wanted: the next start must not take it for confirmed, if the file still has it.
    pub async fn rejects(&mut self) {
        let expired = self.unconfirmed.clone().map(Unconfirmed::expired);
        self.keep_unconfirmed(expired).await;
    }

    /// What is known from now on of a config that nobody has confirmed; returns whether it is on the disk.
    pub async fn keep_unconfirmed(&mut self, unconfirmed: Option<Unconfirmed>) -> bool {
        let changes = self.unconfirmed != unconfirmed;
        self.unconfirmed.clone_from(&unconfirmed);
        match changes {
            true => self.write(move |kept| kept.keep_unconfirmed(unconfirmed.as_ref())).await,
            false => self.kept.is_some(),
        }
    }

    async fn keep(&mut self, is: Arc<str>, before: Option<Arc<str>>) {
        self.write(move |kept| kept.keep(&is, before.as_deref())).await;
    }

    /// Returns whether it is written.
    async fn write(&mut self, what: impl FnOnce(&Kept) -> Result<(), StateError> + Send + 'static) -> bool {
        let Some(kept) = self.kept.clone() else { return false };
        match self.offload.run_within(FILE_LIMIT, FILE_LIMIT, move || what(&kept)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => cannot_keep(&error),
            Err(hung) => cannot_keep(&hung),
        }
        false
    }
}

/// What lies in the state directory, where there is one.
fn read(kept: Option<Kept>) -> (Option<Kept>, Option<Unconfirmed>, Left) {
    let Some(kept) = kept else { return Default::default() };
    let unconfirmed = kept.unconfirmed().unwrap_or_else(|error| {
        log::error!(reason:% = error; "it is not known whether the config was confirmed, and it is taken to be");
        None
    });
    let left = Left { in_force: kept.in_force().map(Arc::from), before: kept.before().map(Arc::from) };
    (Some(kept), unconfirmed, left)
}

fn cannot_keep(why: &dyn Display) {
    log::warn!(reason:% = why; "the config in force cannot be kept in the state directory");
}
