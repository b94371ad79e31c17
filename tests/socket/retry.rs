//! When a request is tried again, and when never.

mod connect;
mod policy;
mod reset;
