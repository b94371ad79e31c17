//! A secret value that is never printed.

use std::fmt;
use std::hint::black_box;

use serde_json::Value as Json;

use super::decode::{Fault, Scalar};
use super::scalar::Text;

/// A token: compared in constant time, and never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token itself, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is valid in a header field as it is.
    pub(super) fn is_sendable(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Takes a time that may reveal the length, but not how much of a guess is right.
    pub fn matches(&self, guess: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let differences = secret.iter().zip(guess).fold(0, |all, (a, b)| all | (a ^ b));
        secret.len() == guess.len() && black_box(differences) == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(***)")
    }
}

impl Scalar for Secret {
    const WHAT: &'static str = "a token";
    const REMEDY: &'static str = Text::REMEDY;

    fn parse(text: &str) -> Result<Self, Fault> {
        Ok(Self::new(text))
    }

    fn scalar_schema() -> Json {
        Text::scalar_schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_compared_and_not_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(***) Some(Secret(***))");
        assert!(secret.matches(b"hunter2") && secret == Secret::new("hunter2"));
        for guess in ["", "hunter", "hunter3", "hunter22", "Hunter2"] {
            assert!(!secret.matches(guess.as_bytes()), "{guess}");
        }
    }
}
