//! The config that a process starts with: that of its file, unless nobody has confirmed it in time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::memory::{Found, Memory};
use super::{EARLIER, ReloadError, shown};
use crate::config::{self, Config, Loaded};
use crate::exchange;
use crate::server::state::Shared;

/// What a process that starts knows of the configs before.
#[derive(Default)]
pub struct Beginning {
    pub(super) memory: Memory,
    /// The config that it starts with waits for its confirmation for so long, and goes back to this one.
    pub(super) waits: Option<(Duration, Arc<str>)>,
    /// What the config file says, where another config is in force.
    pub(super) instead_of: Option<Arc<str>>,
}

impl Beginning {
    /// `config` is what `file` says. Returns the config that is to be in force.
    pub async fn of(config: Config, file: Option<&Path>) -> (Config, Self) {
        let Some(file) = file else { return (config, Self::default()) };
        let (memory, left) = Memory::of_file(&config.server.state, file).await;
        let mut beginning = Self { memory, ..Self::default() };
        match beginning.memory.find(&left, &config.text) {
            Found::Settled => {}
            Found::Waits(time, before) => {
                beginning.memory.start_waiting(left);
                beginning.waits = Some((time, before));
                return (config, beginning);
            }
            Found::Expired(before) => match earlier(&before) {
                Ok(earlier) => {
                    let file = shown(file);
                    log::error!(file; "started with the earlier config, because that of the file was not confirmed in time");
                    beginning.memory.start(left, &earlier.text).await;
                    beginning.instead_of = Some(config.text);
                    return (earlier, beginning);
                }
                // As where it cannot come back in a process that runs: it is for a person to look at.
                Err(error) => {
                    log::error!(reason:% = error; "started with a config that was not confirmed in time: the earlier one cannot come back");
                }
            },
        }
        beginning.memory.start(left, &config.text).await;
        (config, beginning)
    }

    /// For what is in force already: what was known in memory is lost.
    pub async fn again(shared: &Shared) -> Self {
        let Some(file) = &shared.file else { return Self::default() };
        let snapshot = shared.snapshot.load_full();
        let config = snapshot.config();
        let (memory, left) = Memory::of_file(&config.server.state, file).await;
        let mut beginning = Self { memory, ..Self::default() };
        match beginning.memory.find(&left, &config.text) {
            Found::Waits(time, before) => {
                beginning.memory.start_waiting(left);
                beginning.waits = Some((time, before));
            }
            Found::Settled | Found::Expired(_) => beginning.memory.start(left, &config.text).await,
        }
        beginning
    }
}

fn earlier(text: &str) -> Result<Config, ReloadError> {
    let Loaded { config, .. } = exchange::tested(config::compile_text(text, EARLIER)?)?;
    Ok(config)
}
