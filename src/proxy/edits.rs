//! Applies the edits of `exchange` to Pingora's heads.

use http::{HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::exchange::{Action, Edits};

/// What Pingora's two heads can do alike.
pub trait Head {
    fn remove(&mut self, name: &HeaderName);
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;
}

pub fn apply(head: &mut impl Head, edits: &Edits) -> Result<()> {
    for (name, action) in edits.iter() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if !matches!(action, Action::Append(_)) {
            head.remove(&name);
        }
        if let Action::Set(value) | Action::Append(value) = action
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            head.append(name, value)?;
        }
    }
    Ok(())
}

impl Head for RequestHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}

impl Head for ResponseHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}
