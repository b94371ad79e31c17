//! The order that sets the level of the event log, or takes that back.

use std::time::Duration;

use super::adjust::{flag, limit};
use super::query;
use crate::config;

/// The word for the level of the config.
const RESET: &str = "reset";

/// An order, and how it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOrder {
    /// `None`: back to the level of the config.
    pub level: Option<String>,
    /// After that it ends by itself.
    pub limit: Option<Duration>,
    /// Answer with JSON in place of text.
    pub json: bool,
}

impl LogOrder {
    pub(super) const PATH: &str = "/log";

    /// An error says what is wrong with the query.
    pub(super) fn of(query: &str) -> Result<Self, String> {
        let level =
            query::value(query, "level").ok_or("`level` is missing: debug, info, warn, error or reset")?;
        let level = log_level(&level)?;
        let limit = query::value(query, "for").map(|text| limit(&text)).transpose()?;
        if level.is_none() && limit.is_some() {
            return Err("`reset` goes back to the level of the file, and has no `for`".to_owned());
        }
        Ok(Self { level, limit, json: flag(query, "json")? })
    }
}

/// Parses a level, directives such as `info,evenkeel::pool=debug`, or `reset`: `None`.
pub fn log_level(text: &str) -> Result<Option<String>, String> {
    match text {
        RESET => Ok(None),
        level => config::log_level(level).map(Some).map_err(|fault| format!("{fault}, or {RESET}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_from_a_query() {
        let set = |level: &str, limit| Ok(LogOrder { level: Some(level.into()), limit, json: false });
        assert_eq!(LogOrder::of("level=debug&for=5m"), set("debug", Some(Duration::from_secs(300))));
        assert_eq!(
            LogOrder::of("level=info%2Cevenkeel%3A%3Apool%3Ddebug"),
            set("info,evenkeel::pool=debug", None)
        );
        assert_eq!(
            LogOrder::of("level=reset&json=true"),
            Ok(LogOrder { level: None, limit: None, json: true })
        );
        for (query, fault) in [
            ("", "`level` is missing"),
            ("level=loud", "`loud` is not a level"),
            ("level=trace", "or reset"),
            ("level=debug&for=5", "written as 30s"),
            ("level=reset&for=5m", "has no `for`"),
        ] {
            let error = LogOrder::of(query).expect_err(query);
            assert!(error.contains(fault), "{query}: {error}");
        }
    }
}
