//! The process as a service: how it starts, stops, reloads, logs, and what it survives.

mod by_hand;
mod clock;
mod commands;
mod confirm;
mod faults;
mod idle;
mod ledger;
mod listeners;
mod logs;
mod names;
mod plan;
mod prove;
mod reload;
mod rollback;
mod start;
mod stop;
mod upgrade;
mod watch;
