//! Black-box tests: the real binary, a config in a folder of its own, and real sockets on both sides of it.
//!
//! Each module is a theme and each test a scenario. Where a test plays one of the faults that the project promises to
//! survive, its comment says so in words. Nothing here knows how a request is carried: with `EVENKEEL_TEST_ENGINE`
//! set, every proxy of the suite is started with that engine.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::print_stderr, reason = "what a proxy said is printed when its test fails")]

mod harness;

mod access;
mod actions;
mod admin;
mod auth;
mod balance;
mod buffering;
mod chaos;
mod check_against;
mod client_faults;
mod deadlines;
mod discovery;
mod documents;
mod examples;
mod explain;
mod forwarding;
mod gone_clients;
mod headers;
mod health;
mod incidents;
mod limits;
mod mirrors;
mod outliers;
mod paths;
mod proxy_protocol;
mod rate_limits;
mod refusals;
mod response_faults;
mod response_rate;
mod responses;
mod retry;
mod routing;
mod self_test;
mod service;
mod shaping;
mod simulation;
mod slow_clients;
mod tls;
mod to_http2;
mod written;
