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
                (earlier, beginning)
            }
            Err(error) => {
                beginning.trial = Some(Trial::refused(way_back, error.to_string()));
                (config, beginning)
            }
        }
    }

    /// A process cannot start with `config`, for this reason. Returns that of the file, if it is another one: it can serve,
    /// perhaps, until the earlier one can be put in force.
    pub fn without_earlier(&mut self, config: &Config, reason: String) -> Option<Config> {
        let of_the_file = self.instead_of.take()?;
        self.trial = Some(Trial::refused(config.text.clone(), reason));
        Some(of_the_file)
    }

    /// Says what is for a person to look at, once it is known which config the process starts with.
    pub fn log(&self, file: Option<&Path>) {
        if self.instead_of.is_some() {
            let file = file.map(shown).unwrap_or_default();
            log::error!(file; "started with the earlier config, because that of the file was not confirmed in time");
        }
        if let Some(reason) = self.trial.as_ref().and_then(Trial::refusal) {
            log::error!(reason; "started with a config that was not confirmed in time: the earlier one cannot come back");
        }
        if let Some(reason) = &self.unknown {
            log::error!(reason = reason.as_str(); "it is not known whether the config was confirmed, and it is taken to be");
        }
    }
}

async fn earlier(text: Arc<str>) -> Result<Config, ReloadError> {
    let compile = move || exchange::tested(config::compile_text(&text, EARLIER)?);
    let Loaded { config, .. } = Offload::default().run(compile).await??;
    Ok(config)
}
