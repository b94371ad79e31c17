//! What is remembered of earlier configs: in the process, and in the state directory where there is one.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::offload::{FILE_LIMIT, KEEP_LIMIT, Offload};
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

/// What the config file of a process that starts stands for.
pub enum Found {
    Settled,
    /// It waits for its confirmation, for so long; without it, the other text comes back.
    Waits(Duration, Arc<str>),
    /// It was not confirmed in time, and this was in force before.
    Expired(Arc<str>),
    /// Nobody can tell, because something cannot be read, for this reason.
    Unknown(String),
}

/// What lies in the state directory.
struct Left {
    kept: Kept,
    /// The config that was in force for good.
    in_force: Result<Arc<str>, StateError>,
    before: Option<Arc<str>>,
    unconfirmed: Result<Option<Unconfirmed>, StateError>,
}

impl Memory {
    /// What is known of earlier configs of this file, which says `text`.
    pub async fn of_file(setting: &StateDirectory, file: &Path, text: &Arc<str>) -> (Self, Found) {
        let mut offload = Offload::default();
        let (setting, file) = (setting.clone(), file.to_owned());
        let read = move || Ok(Kept::open(&setting, &file, &Environment::of_process())?.map(Left::read));
        let left = match offload.run_within(FILE_LIMIT, KEEP_LIMIT, read).await {
            Ok(Ok(left)) => left,
            Ok(Err::<_, StateError>(error)) => {
                cannot_keep(&error);
                None
            }
            Err(hung) => {
                cannot_keep(&hung);
                None
            }
        };
        let Some(left) = left else { return (Self { offload, ..Self::default() }, Found::Settled) };
        let Left { kept, in_force, before, unconfirmed } = left;
        let (unconfirmed, found) = match unconfirmed {
            Ok(unconfirmed) => {
                let found = stands_for(text, unconfirmed.as_ref(), in_force.as_ref());
                (unconfirmed, found)
            }
            Err(error) => (None, Found::Unknown(error.to_string())),
        };
        // The one that comes back without a confirmation is none to which a rollback goes afterwards.
        let is = match &found {
            Found::Waits(_, earlier) | Found::Expired(earlier) => earlier,
            Found::Settled | Found::Unknown(_) => text,
        };
        let differs = |earlier: &Arc<str>| earlier != is;
        let before = in_force.ok().filter(differs).or_else(|| before.filter(differs));
        (Self { before, kept: Some(kept), unconfirmed, offload }, found)
    }

    pub fn before(&self) -> Option<Arc<str>> {
        self.before.clone()
    }

    /// The config in force should be `was`, which cannot be put in force: a rollback may try it again.
    pub fn wants_back(&mut self, was: Arc<str>) {
        self.before = Some(was);
    }

    /// The process serves, and `is` has been in force for good since its start.
    pub async fn started(&mut self, is: Arc<str>) {
        // What is not in force is still not wanted by the next start.
        let unwanted = self.unconfirmed.take().filter(|unconfirmed| unconfirmed.text != is);
        self.keep(is, unwanted).await;
    }

    /// `is` has come into force for good, in place of `was`; `false`: the next start may take it for unconfirmed, if that
    /// was so.
    pub async fn remember(&mut self, was: &Arc<str>, is: &Arc<str>) -> bool {
        if was != is {
            self.before = Some(was.clone());
        }
        self.keep(is.clone(), None).await
    }

    /// The config before is in force again. Going back once more would bring the one that somebody did not want.
    pub async fn went_back(&mut self) {
        if let Some(is) = self.before.take() {
            self.keep(is, self.unconfirmed.clone()).await;
        }
    }

    /// `text` is about to come into force in place of `was`, until somebody confirms it. Returns whether that is known
    /// beyond the end of this process, and what was known of another one.
    pub async fn tries(
        &mut self,
        was: Arc<str>,
        text: Arc<str>,
        limit: Duration,
    ) -> (bool, Option<Unconfirmed>) {
        let until = SystemTime::now() + limit;
        let earlier = self.unconfirmed.clone();
        (self.keep(was, Some(Unconfirmed { text, until, limit })).await, earlier)
    }

    /// What was tried did not come into force: `is` still is, and `earlier` was known before.
    pub async fn gives_up(&mut self, is: Arc<str>, earlier: Option<Unconfirmed>) {
        self.keep(is, earlier).await;
    }

    /// The config that waited is not wanted, but `was`, which was in force before: the next start must not take it for
    /// confirmed, if the file still has it.
    pub async fn rejects(&mut self, was: Arc<str>) {
        let expired = self.unconfirmed.clone().map(Unconfirmed::expired);
        self.keep(was, expired).await;
    }

    /// Returns whether both are on the disk: the config that is in force for good, and the one that nobody has confirmed.
    async fn keep(&mut self, in_force: Arc<str>, unconfirmed: Option<Unconfirmed>) -> bool {
        self.unconfirmed.clone_from(&unconfirmed);
        let Some(kept) = self.kept.clone() else { return false };
        let before = self.before.clone();
        let write = move || {
            // In this order: what nobody has confirmed goes back to what is in force for good. Where both are the same, it
            // was confirmed.
            kept.keep(&in_force, before.as_deref())?;
            kept.keep_unconfirmed(unconfirmed.as_ref())
        };
        match self.offload.run_within(FILE_LIMIT, KEEP_LIMIT, write).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => cannot_keep(&error),
            Err(hung) => cannot_keep(&hung),
        }
        false
    }

    /// Whether there is a place on the disk at all.
    pub fn has_place(&self) -> bool {
        self.kept.is_some()
    }
}

impl Left {
    fn read(kept: Kept) -> Self {
        Self {
            in_force: kept.in_force().map(Arc::from),
            // Nothing depends on it but a rollback, which says that there is none.
            before: kept.before().ok().map(Arc::from),
            unconfirmed: kept.unconfirmed(),
            kept,
        }
    }
}

/// What a config file stands for that says `text`.
fn stands_for(
    text: &Arc<str>,
    unconfirmed: Option<&Unconfirmed>,
    in_force: Result<&Arc<str>, &StateError>,
) -> Found {
    let Some(unconfirmed) = unconfirmed.filter(|unconfirmed| unconfirmed.text == *text) else {
        return Found::Settled;
    };
    match in_force {
        Err(error) => Found::Unknown(error.to_string()),
        Ok(before) => match unconfirmed.standing(text, before, SystemTime::now()) {
            Standing::Settled => Found::Settled,
            Standing::Waits(left) => Found::Waits(left, before.clone()),
            Standing::Expired => Found::Expired(before.clone()),
        },
    }
}

fn cannot_keep(why: &dyn Display) {
    log::warn!(reason:% = why; "the config in force cannot be kept in the state directory");
}
