//! The admin server: a local address that answers about the running process (health, metrics, status) and takes
//! operations for it.
//!
//! It has its own accept loop and is no Pingora service, because Pingora closes its services when a stop begins, and
//! the drain must remain observable.

mod accept;
pub mod address;
pub mod adjust;
pub mod client;
pub mod explain;
pub mod incident;
pub mod log_level;
mod named_file;
pub mod operations;
mod query;
pub mod serve;
pub mod socket;
pub mod status;
pub mod tap;
#[cfg(test)]
mod tests;

pub use accept::Caller;
pub use address::Address;
pub use adjust::Adjust;
pub use explain::ExplainRequest;
pub use log_level::LogOrder;
pub use operations::{ConfigChange, Operation, OperationOutcome, Verdict};
pub use query::encoded;
pub use serve::Process;
pub use socket::{AdminSocket, BindError, Share};
pub use status::Status;
pub use tap::TapOrder;
