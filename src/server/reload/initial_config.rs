//! Chooses the config that a process starts with: the config file's, unless it was not confirmed in time.

use std::path::Path;
use std::sync::Arc;

use super::config_history::{ConfigHistory, FileStatus};
use super::offload::Offload;
use super::pending_revert::PendingRevert;
use super::{EARLIER, ReloadError, shown};
use crate::config::{self, Config, Loaded};
use crate::exchange;

/// The choice, and the history behind it.
#[derive(Default)]
pub struct InitialConfig {
    pub(super) history: ConfigHistory,
    /// `Some`: the config that the process starts with is unconfirmed.
    pub(super) pending_revert: Option<PendingRevert>,
    /// The config file's config, if the process starts with another one.
    pub(super) file_config: Option<Config>,
    /// The last permanent config, if the process starts with an unconfirmed one.
    earlier: Option<Config>,
    /// Why the process cannot start with the unconfirmed config.
    unusable: Option<String>,
    unknown: Option<String>,
}

impl InitialConfig {
    /// Returns the config to start with; `config` is the one of `file`. Writes nothing.
    pub async fn of(config: Config, file: Option<&Path>) -> (Config, Self) {
        let Some(file) = file else { return (config, Self::default()) };
        let (history, found) = ConfigHistory::of_file(&config.server.state, file, &config.text).await;
        let mut initial_config = Self { history, ..Self::default() };
        let revert_to = match found {
            FileStatus::Expired(revert_to) => revert_to,
            FileStatus::Unconfirmed(time, revert_to) => {
                initial_config.earlier = earlier(revert_to.clone()).await.ok().map(|loaded| loaded.config);
                initial_config.pending_revert = Some(PendingRevert::waiting(revert_to, time));
                return (config, initial_config);
            }
            FileStatus::Unknown(reason) => {
                initial_config.unknown = Some(reason);
                return (config, initial_config);
            }
            FileStatus::Permanent => return (config, initial_config),
        };
        match earlier(revert_to.clone()).await {
            Ok(earlier) => {
                initial_config.file_config = Some(config);
                (earlier.config, initial_config)
            }
            Err(error) => {
                initial_config.pending_revert = Some(PendingRevert::refused(revert_to, error.to_string()));
                (config, initial_config)
            }
        }
    }

    /// The process cannot start with `config`, for this reason. Returns the other config with which it may serve, if
    /// there is one: the config file's, until the revert succeeds, or the last permanent one, if the config file's is
    /// unconfirmed.
    pub fn fall_back(&mut self, config: Config, reason: String) -> Option<Config> {
        if let Some(of_the_file) = self.file_config.take() {
            self.pending_revert = Some(PendingRevert::refused(config.text, reason));
            return Some(of_the_file);
        }
        let earlier = self.earlier.take()?;
        self.pending_revert = None;
        self.history.starts_with(earlier.text.clone());
        self.file_config = Some(config);
        self.unusable = Some(reason);
        Some(earlier)
    }

    /// Logs what an operator has to know, once the choice is final.
    pub fn log(&self, file: Option<&Path>) {
        if let Some(reason) = &self.unusable {
            log::error!(reason = reason.as_str(); "cannot start with the config that waits for its confirmation");
        }
        if self.file_config.is_some() {
            let file = file.map(shown).unwrap_or_default();
            log::error!(file; "started with the earlier config, because that of the file was not confirmed");
        }
        if let Some(reason) = self.pending_revert.as_ref().and_then(PendingRevert::refusal) {
            log::error!(reason; "started with a config that was not confirmed in time: the earlier one cannot come back");
        }
        if let Some(reason) = &self.unknown {
            log::error!(reason = reason.as_str(); "it is not known whether the config was confirmed, and it is taken to be");
        }
    }
}

/// The last permanent config, if the text of `file` is invalid and unconfirmed: the process can serve with it.
pub fn fallback_for_invalid(text: &str, file: &Path) -> Option<Loaded> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let setting = config::state_directory(text);
    let found = runtime.block_on(async {
        let (_, found) = ConfigHistory::of_file(&setting, file, &text.into()).await;
        match found {
            FileStatus::Expired(revert_to) | FileStatus::Unconfirmed(_, revert_to) => {
                earlier(revert_to).await.ok()
            }
            FileStatus::Permanent | FileStatus::Unknown(_) => None,
        }
    });
    // A blocking thread may hang in a file system.
    runtime.shutdown_background();
    found
}

async fn earlier(text: Arc<str>) -> Result<Loaded, ReloadError> {
    let compile = move || exchange::run_config_tests(config::compile_text(&text, EARLIER)?);
    Ok(Offload::default().run(compile).await??)
}
