//! What a route changes of responses on their way to its clients.

mod compress;
mod cookies;
mod cors;
mod errors;
mod events;
mod fields;
mod location;
