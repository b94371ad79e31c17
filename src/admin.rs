//! The local address that answers questions about the running process (health, metrics, status) and takes orders for
//! it.
//!
//! It has an accept loop of its own, not one of Pingora's services: those close when a stop begins, and just then
//! somebody wants to know how the draining goes.

mod accept;
pub mod address;
pub mod client;
pub mod operations;
mod query;
pub mod serve;
pub mod socket;
pub mod status;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use operations::{ConfigChange, Operation, OperationOutcome, Verdict};
pub use query::encoded;
pub use serve::Process;
pub use socket::{AdminSocket, BindError, Share};
pub use status::Status;
