//! When a request is tried again, and when never.

mod attempts;
mod budget;
mod busy;
mod connect;
mod dead;
mod hedge;
mod policy;
mod reset;
mod shortage;
