//! What to run instead of a command that other programs have, or that is mistyped.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::suggest;

/// Words that people try, and the command that does it.
const COMMANDS: [(&str, &str); 30] = [
    ("demo", "demo"),
    ("run", "run"),
    ("start", "run"),
    ("serve", "run"),
    ("check", "check"),
    ("test", "check"),
    ("validate", "check"),
    ("verify", "check"),
    ("configtest", "check"),
    ("reload", "reload"),
    ("confirm", "confirm"),
    ("rollback", "rollback"),
    ("drain", "drain"),
    ("disable", "drain"),
    ("undrain", "undrain"),
    ("enable", "undrain"),
    ("weight", "weight"),
    ("plan", "plan"),
    ("diff", "plan"),
    ("upgrade", "upgrade"),
    ("status", "status"),
    ("stats", "status"),
    ("top", "status"),
    ("health", "health"),
    ("ready", "health"),
    ("prove", "prove"),
    ("schema", "schema"),
    ("completions", "completions"),
    ("completion", "completions"),
    ("man", "man"),
];

/// Words for a stop, for which there is a signal and no command.
const STOPS: [&str; 4] = ["stop", "quit", "shutdown", "restart"];

const HOW_TO_STOP: &str =
    "`systemctl stop evenkeel` or the signal TERM stops it, `evenkeel upgrade` replaces it";

/// The error, with what to run instead of a command that there is not.
pub fn explained(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand).cloned() else {
        return error;
    };
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    error.remove(ContextKind::SuggestedSubcommand);
    let words = COMMANDS.iter().map(|(word, _)| *word).chain(STOPS);
    let Some(nearest) = suggest::nearest(&word, words) else { return error };
    match COMMANDS.iter().find(|(word, _)| *word == nearest) {
        Some((_, command)) => {
            error
                .insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![(*command).to_owned()]));
        }
        None => {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![HOW_TO_STOP.into()]));
        }
    }
    error
}
