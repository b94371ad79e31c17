//! Tests of heads, with one table for each rule.

mod requests;
mod responses;
