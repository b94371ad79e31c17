//! What is remembered of earlier configs: in the process, and in the state directory where there is one.

use std::path::Path;
use std::sync::Arc;

use super::state_dir::{Environment, Kept, StateError};
use crate::config::StateDirectory;

#[derive(Debug, Default)]
pub struct Memory {
    /// The text of the config that was in force before; never the one that is in force now.
    before: Option<Arc<str>>,
    kept: Option<Kept>,
}

impl Memory {
    /// What is known of earlier configs of this file, at the start with `text`.
    pub fn of_file(setting: &StateDirectory, file: &Path, text: &Arc<str>) -> Self {
        let kept = Kept::open(setting, file, &Environment::of_process()).unwrap_or_else(|error| {
            cannot_keep(&error);
            None
        });
        let mut memory = Self { before: None, kept };
        let Some(kept) = &memory.kept else { return memory };
        let differs = |earlier: &String| **earlier != **text;
        memory.before =
            kept.in_force().filter(differs).or_else(|| kept.before().filter(differs)).map(Arc::from);
        if let Err(error) = kept.keep(text, memory.before.as_deref()) {
            cannot_keep(&error);
        }
        memory
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

    async fn keep(&self, is: Arc<str>, before: Option<Arc<str>>) {
        let Some(kept) = self.kept.clone() else { return };
        // A disk may be slow.
        let written = tokio::task::spawn_blocking(move || kept.keep(&is, before.as_deref())).await;
        if let Ok(Err(error)) = written {
            cannot_keep(&error);
        }
    }
}

fn cannot_keep(error: &StateError) {
    log::warn!(reason:% = error; "the config in force cannot be kept in the state directory");
}
