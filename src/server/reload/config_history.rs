//! The texts of earlier and unconfirmed configs, in memory and in the state directory.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::offload::{FILE_LIMIT, Hung, KEEP_LIMIT, Offload};
use super::state_dir::{StateDirs, StateError, StateFiles, Unconfirmed, UnconfirmedStatus};
use crate::config::StateDirectory;

#[derive(Default)]
pub struct ConfigHistory {
    /// The text of the previous permanent config; never the one in force.
    before: Option<Arc<str>>,
    files: Option<StateFiles>,
    /// The unconfirmed config: it is in force, or was and still stands in the config file.
    unconfirmed: Option<Unconfirmed>,
    /// Saved once the process serves: the permanent config, and the unconfirmed one.
    unsaved: Option<(Arc<str>, Option<Unconfirmed>)>,
    /// Writes off the control thread: a disk may be slow, and a file system may hang.
    offload: Offload,
}

/// Whether something was saved for later processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveResult {
    Written,
    /// It was not written, or not completely; the log says why.
    Failed,
    /// There is no state directory.
    Nowhere,
}

/// How a starting process has to treat its config file.
pub enum FileStatus {
    /// Its text is a permanent config.
    Permanent,
    /// Its text is unconfirmed: the time that is left to confirm it, and the text to revert to.
    Unconfirmed(Duration, Arc<str>),
    /// Its text was not confirmed in time: the text of the last permanent config.
    Expired(Arc<str>),
    /// The state directory cannot be read, for this reason.
    Unknown(String),
}

/// The contents of the state directory.
struct Stored {
    kept: StateFiles,
    /// The last permanent config.
    in_force: Result<Arc<str>, StateError>,
    before: Option<Arc<str>>,
    unconfirmed: Result<Option<Unconfirmed>, StateError>,
}

impl ConfigHistory {
    /// Reads the history of this config file, whose text is `text`.
    pub async fn of_file(setting: &StateDirectory, file: &Path, text: &Arc<str>) -> (Self, FileStatus) {
        let mut offload = Offload::default();
        let is_named = matches!(setting, StateDirectory::At(_));
        let (setting, file) = (setting.clone(), file.to_owned());
        let read = move || Ok(StateFiles::open(&setting, &file, &StateDirs::of_process())?.map(Stored::read));
        let (left, found) = opened(offload.run_within(FILE_LIMIT, KEEP_LIMIT, read).await, is_named);
        let Some(left) = left else { return (Self { offload, ..Self::default() }, found) };
        let Stored { kept, in_force, before, unconfirmed } = left;
        let (unconfirmed, found) = match unconfirmed {
            Ok(unconfirmed) => {
                // Both are the same if a confirmation was interrupted between its two writes.
                let is_confirmed = |text: &Arc<str>| in_force.as_ref().is_ok_and(|in_force| in_force == text);
                let unconfirmed = unconfirmed.filter(|unconfirmed| !is_confirmed(&unconfirmed.text));
                let found = file_status(text, unconfirmed.as_ref(), in_force.as_ref());
                (unconfirmed, found)
            }
            Err(error) => (None, FileStatus::Unknown(error.to_string())),
        };
        // A rollback must not go to the config that comes back by itself.
        let is = match &found {
            FileStatus::Unconfirmed(_, earlier) | FileStatus::Expired(earlier) => earlier,
            FileStatus::Permanent | FileStatus::Unknown(_) => text,
        };
        let differs = |earlier: &Arc<str>| earlier != is;
        let before = in_force.ok().filter(differs).or_else(|| before.filter(differs));
        let unsaved = match &found {
            // An unconfirmed config that is not in force must stay unconfirmed for the next start.
            FileStatus::Permanent => {
                Some((text.clone(), unconfirmed.clone().filter(|unconfirmed| unconfirmed.text != *text)))
            }
            FileStatus::Unconfirmed(_, earlier) => {
                Some((earlier.clone(), unconfirmed.clone().map(Unconfirmed::started)))
            }
            FileStatus::Expired(_) | FileStatus::Unknown(_) => None,
        };
        (Self { before, files: Some(kept), unconfirmed, unsaved, offload }, found)
    }

    pub fn before(&self) -> Option<Arc<str>> {
        self.before.clone()
    }

    /// The process serves: saves what it has started with, unless something else has been saved since.
    pub async fn started(&mut self) {
        let Some((in_force, unconfirmed)) = self.unsaved.take() else { return };
        self.keep(in_force, unconfirmed).await;
    }

    /// The process cannot start with the unconfirmed config, and starts with `revert_to` although time is left.
    pub fn starts_with(&mut self, revert_to: Arc<str>) {
        self.unsaved = Some((revert_to, self.unconfirmed.clone().map(Unconfirmed::expired)));
    }

    /// `is` has become the permanent config, after `was`. If that is not written, the next start may take `is` for
    /// unconfirmed, if it was.
    pub async fn keep_permanent(&mut self, was: &Arc<str>, is: &Arc<str>) -> SaveResult {
        if was != is {
            self.before = Some(was.clone());
        }
        self.keep(is.clone(), None).await
    }

    /// The previous config is in force again. There is no second step back: it would restore the config that was just
    /// rejected.
    pub async fn record_rollback(&mut self) -> SaveResult {
        match self.before.take() {
            Some(is) => self.keep(is, self.unconfirmed.clone()).await,
            None => SaveResult::Nowhere,
        }
    }

    /// `text` is about to come into force, unconfirmed; without a confirmation, `revert_to` comes back.
    pub async fn record_unconfirmed(
        &mut self,
        revert_to: Arc<str>,
        text: Arc<str>,
        limit: Duration,
    ) -> SaveResult {
        let until = SystemTime::now() + limit;
        self.keep(revert_to, Some(Unconfirmed { text, until, limit, starts: 0 })).await
    }

    /// The unconfirmed config has expired, and `revert_to` should be in force: the next start must not take the other
    /// one for confirmed if the config file still has it.
    pub async fn record_expiry(&mut self, revert_to: Arc<str>) -> SaveResult {
        let expired = self.unconfirmed.clone().map(Unconfirmed::expired);
        self.keep(revert_to, expired).await
    }

    /// Saves the permanent config and the unconfirmed one.
    async fn keep(&mut self, in_force: Arc<str>, unconfirmed: Option<Unconfirmed>) -> SaveResult {
        self.unsaved = None;
        self.unconfirmed.clone_from(&unconfirmed);
        let Some(kept) = self.files.clone() else { return SaveResult::Nowhere };
        let before = self.before.clone();
        let write = move || {
            // In this order: an unconfirmed config needs a permanent one to revert to. If an interruption leaves both
            // the same, the config was confirmed: see `of_file`.
            kept.keep(&in_force, before.as_deref())?;
            kept.keep_unconfirmed(unconfirmed.as_ref())?;
            kept.prune(SystemTime::now())
        };
        match self.offload.run_within(FILE_LIMIT, KEEP_LIMIT, write).await {
            Ok(Ok(())) => return SaveResult::Written,
            Ok(Err(error)) => cannot_keep(&error),
            Err(hung) => cannot_keep(&hung),
        }
        SaveResult::Failed
    }
}

impl Stored {
    fn read(kept: StateFiles) -> Self {
        Self {
            in_force: kept.in_force().map(Arc::from),
            // Only a rollback needs it, and reports that there is none.
            before: kept.before().ok().map(Arc::from),
            unconfirmed: kept.unconfirmed(),
            kept,
        }
    }
}

/// The contents of the state directory; if there are none, the second value is the status of the config file.
/// `is_named`: the config names the directory.
fn opened(
    read: Result<Result<Option<Stored>, StateError>, Hung>,
    is_named: bool,
) -> (Option<Stored>, FileStatus) {
    match read {
        Ok(Ok(left)) => (left, FileStatus::Permanent),
        Ok(Err(error)) => {
            cannot_keep(&error);
            // A default directory that cannot be used holds nothing.
            (None, if is_named { FileStatus::Unknown(error.to_string()) } else { FileStatus::Permanent })
        }
        Err(hung) => {
            cannot_keep(&hung);
            (None, FileStatus::Unknown(hung.to_string()))
        }
    }
}

/// The status of a config file whose text is `text`.
fn file_status(
    text: &Arc<str>,
    unconfirmed: Option<&Unconfirmed>,
    in_force: Result<&Arc<str>, &StateError>,
) -> FileStatus {
    let unconfirmed = unconfirmed.filter(|unconfirmed| unconfirmed.text == *text);
    match (unconfirmed, in_force) {
        // A text taken for permanent would overwrite the state file that cannot be read.
        (_, Err(error)) if unconfirmed.is_some() || !error.is_missing() => {
            FileStatus::Unknown(error.to_string())
        }
        (Some(unconfirmed), Ok(before)) => match unconfirmed.status(SystemTime::now()) {
            UnconfirmedStatus::Waits(left) => FileStatus::Unconfirmed(left, before.clone()),
            UnconfirmedStatus::Expired => FileStatus::Expired(before.clone()),
        },
        _ => FileStatus::Permanent,
    }
}

fn cannot_keep(why: &dyn Display) {
    log::warn!(reason:% = why; "the config in force cannot be kept in the state directory");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn found(directory: &Path, text: &str) -> (ConfigHistory, FileStatus) {
        let setting = StateDirectory::At(directory.to_owned());
        ConfigHistory::of_file(&setting, Path::new("/etc/a.yaml"), &text.into()).await
    }

    async fn started(directory: &Path, text: &str) -> ConfigHistory {
        let (mut history, found) = found(directory, text).await;
        assert!(matches!(found, FileStatus::Permanent));
        history.started().await;
        history
    }

    fn kept(directory: &Path) -> StateFiles {
        let setting = StateDirectory::At(directory.to_owned());
        let kept = StateFiles::open(&setting, Path::new("/etc/a.yaml"), &StateDirs::default());
        kept.expect("it can be used").expect("it is not off")
    }

    /// The named directory may hold an unconfirmed config.
    #[tokio::test]
    async fn a_place_that_cannot_be_opened_confirms_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("state");
        fs::write(&directory, "").expect("written");
        assert!(matches!(found(&directory, "b").await.1, FileStatus::Unknown(_)));
        for is_named in [true, false] {
            let (_, found) = opened(Err(Hung::Working(KEEP_LIMIT)), is_named);
            assert!(matches!(found, FileStatus::Unknown(_)), "what hangs may hold something");
        }
        assert!(matches!(opened(Ok(Ok(None)), false).1, FileStatus::Permanent), "nothing is to be kept");
    }

    /// Whoever mends it has lost nothing.
    #[tokio::test]
    async fn what_cannot_be_read_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        started(folder.path(), "a").await;
        let files = fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("read").path());
        let mut texts = files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
        let file = texts.next().expect("a file");
        let moved = folder.path().join("moved");
        fs::rename(&file, &moved).expect("moved");
        std::os::unix::fs::symlink(&moved, &file).expect("a symlink");
        let (mut history, found) = found(folder.path(), "b").await;
        assert!(matches!(found, FileStatus::Unknown(_)));
        history.started().await;
        assert!(fs::symlink_metadata(&file).expect("it is there").is_symlink());
    }

    /// A confirmation is written in two steps.
    #[tokio::test]
    async fn a_half_written_confirmation_confirms_for_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = started(folder.path(), "a").await;
        history.record_unconfirmed("a".into(), "b".into(), Duration::from_secs(60)).await;
        kept(folder.path()).keep("b", Some("a")).expect("written");
        // Another text in the config file does not undo it.
        started(folder.path(), "c").await;
        started(folder.path(), "b").await;
        assert_eq!(kept(folder.path()).unconfirmed().expect("nothing is wrong"), None);
    }

    #[tokio::test]
    async fn processes_that_start_with_what_waits_are_counted_once_they_serve() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = started(folder.path(), "a").await;
        history.record_unconfirmed("a".into(), "b".into(), Duration::from_secs(60)).await;
        for serves in [false, true, true] {
            let (mut history, found) = found(folder.path(), "b").await;
            assert!(matches!(found, FileStatus::Unconfirmed(..)));
            if serves {
                history.started().await;
            }
        }
        assert!(
            matches!(found(folder.path(), "b").await.1, FileStatus::Expired(earlier) if &*earlier == "a")
        );
    }

    #[tokio::test]
    async fn what_a_process_cannot_start_with_is_not_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = started(folder.path(), "a").await;
        history.record_unconfirmed("a".into(), "b".into(), Duration::from_secs(60)).await;
        let (mut history, _) = found(folder.path(), "b").await;
        history.starts_with("a".into());
        history.started().await;
        assert!(
            matches!(found(folder.path(), "b").await.1, FileStatus::Expired(earlier) if &*earlier == "a")
        );
    }

    /// A reload may come before the process serves.
    #[tokio::test]
    async fn what_a_process_starts_with_is_not_kept_over_something_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut history, _) = found(folder.path(), "a").await;
        let limit = Duration::from_secs(60);
        assert_eq!(history.record_unconfirmed("a".into(), "b".into(), limit).await, SaveResult::Written);
        history.started().await;
        let unconfirmed = kept(folder.path()).unconfirmed().expect("it can be read").expect("there is one");
        assert_eq!(&*unconfirmed.text, "b");
    }
}
