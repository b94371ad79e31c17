//! Sources that name endpoints, while they change, fail and come back.

mod dns;
mod lists;
