//! The process as a service: how it starts, stops, reloads, logs, and what it survives.

mod clock;
mod commands;
mod faults;
mod ledger;
mod listeners;
mod logs;
mod names;
mod prove;
mod reload;
mod start;
mod stop;
