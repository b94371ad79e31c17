//! The config that a process starts with: that of its file, unless nobody has confirmed it in time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::memory::{Found, Memory};
use super::offload::Offload;
use super::{EARLIER, ReloadError, shown};
use crate::config::{self, Config, Loaded};
use crate::exchange;

/// What a process that starts knows of the configs before.
#[derive(Default)]
pub struct Beginning {
    pub(super) memory: Memory,
    /// The config that it starts with waits for its confirmation for so long, and goes back to this one.
    pub(super) waits: Option<(Duration, Arc<str>)>,
    /// What the config file says, where another config is in force.
    pub(super) instead_of: Option<Arc<str>>,
    /// The config that it starts with is wanted for good, and is to be kept once the process serves.
    pub(super) is_settled: bool,
}

/// Something about the config of a start that is for a person to look at.
enum Remark {
    StartedWithEarlier,
    NoWayBack(ReloadError),
    Unknown(String),
}

impl Beginning {
    /// `config` is what `file` says. Returns the config that is to be in force; nothing on the disk changes.
    pub async fn of(config: Config, file: Option<&Path>) -> (Config, Self) {
        let Some(file) = file else { return (config, Self::default()) };
        let (config, beginning, remark) = Self::find(config, file).await;
        if let Some(remark) = remark {
            remark.log(file);
        }
        (config, beginning)
    }

    async fn find(config: Config, file: &Path) -> (Config, Self, Option<Remark>) {
        let (memory, found) = Memory::of_file(&config.server.state, file, &config.text).await;
        let mut beginning = Self { memory, ..Self::default() };
        let before = match found {
            Found::Settled => {
                beginning.is_settled = true;
                return (config, beginning, None);
            }
            Found::Waits(time, before) => {
                beginning.waits = Some((time, before));
                return (config, beginning, None);
            }
            Found::Unknown(reason) => return (config, beginning, Some(Remark::Unknown(reason))),
            Found::Expired(before) => before,
        };
        match earlier(before.clone()).await {
            Ok(earlier) => {
                beginning.instead_of = Some(config.text);
                (earlier, beginning, Some(Remark::StartedWithEarlier))
            }
            // What is kept says so at the next start, too.
            Err(error) => {
                beginning.memory.wants_back(before);
                (config, beginning, Some(Remark::NoWayBack(error)))
            }
        }
    }
}

/// The config that a process has in force that starts now, if the config file says `config`.
pub(super) async fn of_a_start(config: Config, file: &Path) -> Config {
    Beginning::find(config, file).await.0
}

async fn earlier(text: Arc<str>) -> Result<Config, ReloadError> {
    let compile = move || exchange::tested(config::compile_text(&text, EARLIER)?);
    let Loaded { config, .. } = Offload::default().run(compile).await??;
    Ok(config)
}

// === impl Remark ===

impl Remark {
    fn log(&self, file: &Path) {
        match self {
            Self::StartedWithEarlier => {
                let file = shown(file);
                log::error!(file; "started with the earlier config, because that of the file was not confirmed in time");
            }
            Self::NoWayBack(error) => {
                log::error!(reason:% = error; "started with a config that was not confirmed in time: the earlier one cannot come back");
            }
            Self::Unknown(reason) => {
                log::error!(reason = reason.as_str(); "it is not known whether the config was confirmed, and it is taken to be");
            }
        }
    }
}
