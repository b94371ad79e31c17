//! How a pool picks an endpoint.

use http::HeaderName;
use serde_json::{Value as Json, json};

use crate::config::decode::{Fault, Scalar, ShortOr};
use crate::config::scalar::{Text, words};
use crate::config::section::section;

/// A balance policy: one word, or `{ hash: ... }`.
pub(crate) type BalanceForm = ShortOr<BalanceWord, BalanceSection>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BalanceWord {
    RoundRobin,
    LeastRequests,
    LeastTime,
    Random,
    /// Only as a key.
    Hash,
}

words!(BalanceWord, "a balance policy" {
    "round_robin" => BalanceWord::RoundRobin,
    "least_requests" => BalanceWord::LeastRequests,
    "least_time" => BalanceWord::LeastTime,
    "random" => BalanceWord::Random,
    "hash" => BalanceWord::Hash,
});

section! {
    /// A balance policy with settings.
    BalanceSection "`balance`" {
        /// Requests with the same key go to the same endpoint: `client` (the address), `path`, `{ header: X-User }`,
        /// `{ cookie: session }` or `{ query: id }`.
        hash: HashForm, required "client";
    }
}

/// What a request is hashed by.
pub(crate) type HashForm = ShortOr<HashWord, HashSection>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashWord {
    Client,
    Path,
}

words!(HashWord, "a key to hash by" {
    "client" => HashWord::Client,
    "path" => HashWord::Path,
});

section! {
    /// A part of the request to hash by: exactly one of these keys.
    HashSection "`hash`" {
        /// The value of this header field; several lines are one value.
        header: HeaderNameText, optional;
        /// The value of this cookie.
        cookie: Text, optional;
        /// The first query parameter of this name, decoded.
        query: Text, optional;
    }
}

/// The name of a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderNameText(pub(crate) HeaderName);

impl Scalar for HeaderNameText {
    const WHAT: &'static str = "the name of a header field";
    const REMEDY: &'static str = "write a name such as X-User";

    fn parse(text: &str) -> Result<HeaderNameText, Fault> {
        HeaderName::from_bytes(text.as_bytes()).map(HeaderNameText).map_err(|_| Self::fault(text))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["X-User"] })
    }
}
