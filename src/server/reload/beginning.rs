//! The config that a process starts with: that of its file, unless nobody has confirmed it in time.

use std::path::Path;
use std::sync::Arc;

use super::memory::{Found, Memory};
use super::offload::Offload;
use super::trial::Trial;
use super::{EARLIER, ReloadError, shown};
use crate::config::{self, Config, Loaded};
use crate::exchange;

/// What a process that starts knows of the configs before.
#[derive(Default)]
pub struct Beginning {
    pub(super) memory: Memory,
    /// The config that it starts with has not been confirmed.
    pub(super) trial: Option<Trial>,
    /// What the config file says, where another config is to be in force.
    pub(super) instead_of: Option<Config>,
    /// The config before one that waits for its confirmation.
    earlier: Option<Config>,
    /// Why the process cannot start with the config that waits.
    unusable: Option<String>,
    unknown: Option<String>,
}

impl Beginning {
    /// `config` is what `file` says. Returns the config that is to be in force; nothing is written of it.
    pub async fn of(config: Config, file: Option<&Path>) -> (Config, Self) {
        let Some(file) = file else { return (config, Self::default()) };
        let (memory, found) = Memory::of_file(&config.server.state, file, &config.text).await;
        let mut beginning = Self { memory, ..Self::default() };
        let way_back = match found {
            Found::Expired(way_back) => way_back,
            Found::Waits(time, way_back) => {
                beginning.earlier = earlier(way_back.clone()).await.ok().map(|loaded| loaded.config);
                beginning.trial = Some(Trial::waiting(way_back, time));
                return (config, beginning);
            }
            Found::Unknown(reason) => {
                beginning.unknown = Some(reason);
                return (config, beginning);
            }
            Found::Permanent => return (config, beginning),
        };
        match earlier(way_back.clone()).await {
            Ok(earlier) => {
                beginning.instead_of = Some(config);
                (earlier.config, beginning)
            }
            Err(error) => {
                beginning.trial = Some(Trial::refused(way_back, error.to_string()));
                (config, beginning)
            }
        }
    }

    /// The process cannot start with `config`, for this reason. Returns the other config with which it may serve, if there
    /// is one: that of the file, until the earlier one can be put in force, or the earlier one, where that of the file
    /// still waits for its confirmation.
    pub fn fall_back(&mut self, config: Config, reason: String) -> Option<Config> {
        if let Some(of_the_file) = self.instead_of.take() {
            self.trial = Some(Trial::refused(config.text, reason));
            return Some(of_the_file);
        }
        let earlier = self.earlier.take()?;
        self.trial = None;
        self.memory.starts_with(earlier.text.clone());
        self.instead_of = Some(config);
        self.unusable = Some(reason);
        Some(earlier)
    }

    /// Says what is for a person to look at, once it is known which config the process starts with.
    pub fn log(&self, file: Option<&Path>) {
        if let Some(reason) = &self.unusable {
            log::error!(reason = reason.as_str(); "cannot start with the config that waits for its confirmation");
        }
        if self.instead_of.is_some() {
            let file = file.map(shown).unwrap_or_default();
            log::error!(file; "started with the earlier config, because that of the file was not confirmed");
        }
        if let Some(reason) = self.trial.as_ref().and_then(Trial::refusal) {
            log::error!(reason; "started with a config that was not confirmed in time: the earlier one cannot come back");
        }
        if let Some(reason) = &self.unknown {
            log::error!(reason = reason.as_str(); "it is not known whether the config was confirmed, and it is taken to be");
        }
    }
}

/// The config that was in force for good, where `file` says something that is wrong, and that nobody has confirmed: a
/// process that cannot start with the one can serve by the other.
pub fn instead_of_wrong(text: &str, file: &Path) -> Option<Loaded> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let setting = config::state_directory(text);
    let found = runtime.block_on(async {
        let (_, found) = Memory::of_file(&setting, file, &text.into()).await;
        match found {
            Found::Expired(way_back) | Found::Waits(_, way_back) => earlier(way_back).await.ok(),
            Found::Permanent | Found::Unknown(_) => None,
        }
    });
    // A thread may hang in a file system.
    runtime.shutdown_background();
    found
}

async fn earlier(text: Arc<str>) -> Result<Loaded, ReloadError> {
    let compile = move || exchange::tested(config::compile_text(&text, EARLIER)?);
    Ok(Offload::default().run(compile).await??)
}
