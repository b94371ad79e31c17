//! Applies the edits of `exchange` to Pingora's heads.

use http::{HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::exchange::Edit;

/// What Pingora's two heads can do alike.
pub trait Head {
    fn remove(&mut self, name: &HeaderName);
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;
}

pub fn apply(head: &mut impl Head, edits: Vec<Edit>) -> Result<()> {
    for edit in edits {
        match edit {
            Edit::Remove(name) => head.remove(&name),
            Edit::Set(name, value) => head.set(name, value)?,
            Edit::Append(name, value) => head.append(name, value)?,
        }
    }
    Ok(())
}

impl Head for RequestHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}

impl Head for ResponseHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}
