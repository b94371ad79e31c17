//! The outputs and levels of logs, and the state directory.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::config::decode::{Fault, Scalar, is_off, shown};
use crate::config::model::{LogOutput, StateDirectory};
use crate::config::scalar::word_fault;

impl Scalar for LogOutput {
    const WHAT: &'static str = "an output";
    const REMEDY: &'static str = "write stdout, stderr, off or /path/to/file";

    fn parse(text: &str) -> Result<LogOutput, Fault> {
        match text {
            "stdout" => Ok(LogOutput::Stdout),
            "stderr" => Ok(LogOutput::Stderr),
            _ if is_off(text) => Ok(LogOutput::Off),
            path if path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') => {
                Ok(LogOutput::File(PathBuf::from(path)))
            }
            path if path.contains('/') => {
                let message = format!("`{}` is not the absolute path of a file", shown(path));
                Err(Fault::new(message, "write a path such as /var/log/evenkeel/access.log"))
            }
            word => {
                let fault = word_fault(word, Self::WHAT, &["stdout", "stderr", "off"]);
                let is_near = fault.remedy.starts_with("did you mean");
                Err(if is_near { fault } else { Self::fault(word) })
            }
        }
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [{ "enum": ["stdout", "stderr", "off", false] }, { "type": "string", "pattern": "^/" }] })
    }
}

impl Scalar for StateDirectory {
    const WHAT: &'static str = "a directory";
    const REMEDY: &'static str = "write an absolute path such as /var/lib/evenkeel, or off";

    fn parse(text: &str) -> Result<StateDirectory, Fault> {
        match text {
            _ if is_off(text) => Ok(StateDirectory::Off),
            path if path.starts_with('/') && !path.contains('\0') => {
                Ok(StateDirectory::At(PathBuf::from(path)))
            }
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [{ "enum": ["off", false] }, { "type": "string", "pattern": "^/" }] })
    }
}

/// A level, or directives as `env_filter` reads them. `trace` is refused: a release has no such events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LevelText(pub(crate) String);

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "off"];

impl Scalar for LevelText {
    const WHAT: &'static str = "a level";
    const REMEDY: &'static str = "write error, warn, info, debug or off";

    fn parse(text: &str) -> Result<LevelText, Fault> {
        if is_off(text) {
            return Ok(LevelText("off".to_owned()));
        }
        for directive in text.split(',') {
            let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
            if !LEVELS.contains(&level.to_lowercase().as_str()) {
                return Err(word_fault(level, Self::WHAT, &LEVELS));
            }
        }
        Ok(LevelText(text.to_owned()))
    }

    fn scalar_schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "examples": ["info", "debug", "info,evenkeel::pool=debug"] },
            { "const": false },
        ] })
    }
}
