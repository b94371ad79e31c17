//! Carries out an order about the level of the event log.

use std::time::SystemTime;

use crate::admin::log_level::LogOrder;
use crate::admin::{Caller, OperationOutcome};
use crate::human;
use crate::telemetry::events::{EventLog, LevelByHand, LogLevelStatus};

/// Waits for nothing. Must run within a tokio runtime, which lives as long as the process.
pub(super) fn carry_out(events: &EventLog, order: &LogOrder, caller: &Caller) -> OperationOutcome {
    match &order.level {
        Some(level) => {
            let until = order.limit.map(|limit| SystemTime::now() + limit);
            let of_level = events.set_level(level, caller.as_str(), until);
            if let Some(limit) = order.limit {
                let events = events.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(limit).await;
                    events.reset_level(Some(of_level), "its end");
                });
            }
        }
        None => drop(events.reset_level(None, caller.as_str())),
    }
    let status = events.level();
    OperationOutcome::done(match order.json {
        // Texts and numbers alone: this cannot fail.
        true => serde_json::to_string(&status).unwrap_or_default(),
        false => text(&status),
    })
}

fn text(LogLevelStatus { level, by_hand }: &LogLevelStatus) -> String {
    match by_hand {
        None => format!("the event log's level is {level}, that of the file\n"),
        Some(LevelByHand { file, by_hand }) => {
            let until = by_hand.until.map_or_else(|| "`evenkeel log reset`".to_owned(), human::date);
            format!("the event log's level is {level} (file: {file}) until {until}\n")
        }
    }
}
