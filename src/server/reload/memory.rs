//! What is remembered of earlier configs: in the process, and in the state directory where there is one.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::apart::{Apart, FILE_LIMIT};
use super::state_dir::{Environment, Kept};
use crate::config::StateDirectory;

#[derive(Default)]
pub struct Memory {
    /// The text of the config that was in force before; never the one that is in force now.
    before: Option<Arc<str>>,
    kept: Option<Kept>,
    /// A disk may be slow, and a file system may hang.
    apart: Apart,
}

impl Memory {
    /// What is known of earlier configs of this file, at the start with `text`.
    pub async fn of_file(setting: &StateDirectory, file: &Path, text: &Arc<str>) -> Self {
        let mut apart = Apart::default();
        let (setting, file, text) = (setting.clone(), file.to_owned(), text.clone());
        let found =
            move || Kept::open(&setting, &file, &Environment::of_process()).map(|kept| found(kept, &text));
        match apart.run_within(FILE_LIMIT, FILE_LIMIT, found).await {
            Ok(Ok((kept, before))) => Self { before, kept, apart },
            Ok(Err(error)) => {
                cannot_keep(&error);
                Self { apart, ..Self::default() }
            }
            Err(hung) => {
                cannot_keep(&hung);
                Self { apart, ..Self::default() }
            }
        }
    }

    pub fn before(&self) -> Option<Arc<str>> {
        self.before.clone()
    }

    /// `is` has come into force in place of `was`.
    pub async fn remember(&mut self, was: &Arc<str>, is: &Arc<str>) {
        if was == is {
            return;
        }
        self.before = Some(was.clone());
        self.keep(is.clone(), Some(was.clone())).await;
    }

    /// The config before is in force again. Going back once more would bring the one that somebody did not want.
    pub async fn went_back(&mut self) {
        if let Some(is) = self.before.take() {
            self.keep(is, None).await;
        }
    }

    async fn keep(&mut self, is: Arc<str>, before: Option<Arc<str>>) {
        let Some(kept) = self.kept.clone() else { return };
        let keep = move || kept.keep(&is, before.as_deref());
        match self.apart.run_within(FILE_LIMIT, FILE_LIMIT, keep).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => cannot_keep(&error),
            Err(hung) => cannot_keep(&hung),
        }
    }
}

/// The config before, where one is kept; and `text` is kept from now on.
fn found(kept: Option<Kept>, text: &str) -> (Option<Kept>, Option<Arc<str>>) {
    let Some(kept) = kept else { return (None, None) };
    let differs = |earlier: &String| **earlier != *text;
    let before = kept.in_force().filter(differs).or_else(|| kept.before().filter(differs)).map(Arc::from);
    if let Err(error) = kept.keep(text, before.as_deref()) {
        cannot_keep(&error);
    }
    (Some(kept), before)
}

fn cannot_keep(why: &dyn Display) {
    log::warn!(reason:% = why; "the config in force cannot be kept in the state directory");
}
