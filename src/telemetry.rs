//! What is written for people and their tools: access log records, the event log, metrics. Fed from above.

pub mod record;
