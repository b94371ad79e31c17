//! Responses as the client saw them, down to how their body ended.

use super::request::Head;

/// How a response's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its framing says that it must.
    Whole,
    /// The connection was closed before.
    Closed,
    /// The connection was reset before.
    Reset,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    /// The chunks' content where it was chunked.
    pub body: Vec<u8>,
    pub end: End,
    /// Statuses of interim responses that came before.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The response itself, if it has this status and a whole body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}{}", self.head.raw, String::from_utf8_lossy(&self.body));
        assert_eq!(self.end, End::Whole, "the body was cut after {} bytes", self.body.len());
        self
    }
}
