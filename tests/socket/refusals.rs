//! What is refused, and how: one status, one cause in the log, and a short body that shows nothing of what is behind.

mod bodies;
mod connections;
mod framing;
mod limits;
mod memory;
mod requests;
mod shares;
