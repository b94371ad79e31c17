//! The level of the event log: the config's, or another one that an operator has set for a while.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config;
use crate::pool::status::ByHandStatus;

/// The level in force, for the status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogLevelStatus {
    pub level: String,
    /// Only where the level is not the config's.
    #[serde(flatten)]
    pub by_hand: Option<LevelByHand>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelByHand {
    /// The level in the config.
    pub file: String,
    #[serde(flatten)]
    pub by_hand: ByHandStatus,
}

/// Names one order, so that the end of its time ends no later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LevelOrder(u64);

/// The config's level, and the one that takes its place.
pub(super) struct Levels {
    pub config: config::Log,
    by_hand: Option<OrderedLevel>,
    last: LevelOrder,
}

struct OrderedLevel {
    order: LevelOrder,
    level: String,
    by: String,
    until: Option<SystemTime>,
}

impl LogLevelStatus {
    /// When the level goes back to the config's by itself, in seconds since the Unix epoch.
    pub fn until(&self) -> Option<f64> {
        self.by_hand.as_ref()?.by_hand.until
    }
}

impl Levels {
    pub fn new(config: &config::Log) -> Self {
        Self { config: config.clone(), by_hand: None, last: LevelOrder::default() }
    }

    pub fn in_force(&self) -> &str {
        self.by_hand.as_ref().map_or(&self.config.level, |by_hand| &by_hand.level)
    }

    pub fn set(&mut self, level: &str, by: &str, until: Option<SystemTime>) -> LevelOrder {
        self.last.0 += 1;
        let order = self.last;
        self.by_hand = Some(OrderedLevel { order, level: level.to_owned(), by: by.to_owned(), until });
        order
    }

    /// Goes back to the config's level: whatever is in force, or only if it is of that order. Whether there was something
    /// to end.
    pub fn end(&mut self, order: Option<LevelOrder>) -> bool {
        self.by_hand.take_if(|by_hand| order.is_none_or(|order| by_hand.order == order)).is_some()
    }

    pub fn status(&self) -> LogLevelStatus {
        let by_hand = self.by_hand.as_ref().map(|OrderedLevel { by, until, .. }| {
            let until = until.and_then(|until| until.duration_since(UNIX_EPOCH).ok());
            let by_hand = ByHandStatus { by: by.clone(), until: until.map(|until| until.as_secs_f64()) };
            LevelByHand { file: self.config.level.clone(), by_hand }
        });
        LogLevelStatus { level: self.in_force().to_owned(), by_hand }
    }
}
