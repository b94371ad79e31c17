//! Heads, one table a rule.

mod requests;
mod responses;
