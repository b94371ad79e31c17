//! Heads of requests and responses: read strictly, kept as places in the buffer, asked through borrowed views.
//!
//! What is refused here is refused because somebody else might read it otherwise. The tables in the tests are the
//! list; the decisions that RFC 9112 leaves open are documented at `target` and `host`.

mod host;
mod request;
mod response;
mod target;

#[cfg(test)]
mod tests;

pub use request::{Request, RequestView};
pub use response::{RESPONSE_BYTES_MAX, RESPONSE_FIELDS_MAX, Response, ResponseView};

use crate::exchange::Failure;

/// What has become of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// More bytes are needed: call again with the same ones and more.
    Partial,
    /// The head is complete and takes so many bytes.
    Complete {
        length: usize,
    },
    Refused(Refusal),
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub failure: Failure,
    /// For the access log's detail.
    pub reason: &'static str,
}

impl Refusal {
    fn bad_request(reason: &'static str) -> Self {
        Self { failure: Failure::BadRequest, reason }
    }

    fn bad_response(reason: &'static str) -> Self {
        Self { failure: Failure::BadResponse, reason }
    }
}
