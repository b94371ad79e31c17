//! The protocol code and other readers of foreign bytes, against models of their own (`fuzz/src`): with the
//! kept corpus, with generated input, and with an oracle for request smuggling.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a check that does not hold says so by panicking")]
#![allow(clippy::print_stderr, reason = "a judge says how much it has judged")]

#[path = "../../fuzz/src/lib.rs"]
mod checks;
mod corpus;
mod generated;
mod guardian;
