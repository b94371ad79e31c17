//! How a body is delimited, and how that is announced to the other side.

/// How a body is delimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    Length(u64),
    /// The body marks its own end: by its last chunk, or over HTTP/2 by the end of its stream.
    Chunked,
    /// Up to the end of the connection; only for responses over HTTP/1.
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// How the body of a response to a request with this method is delimited.
pub fn of_response(method: &str, status: u16, announced: Framing) -> Framing {
    match (method, status, announced) {
        ("HEAD", ..) | (_, 100..=199 | 204 | 304, _) | ("CONNECT", 200..=299, _) => Framing::None,
        (.., Framing::None) => Framing::UntilClose,
        (.., announced) => announced,
    }
}

/// How a response is forwarded to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onward {
    /// The framing in its head; for HEAD and 304, that of the body which is not sent.
    pub announced: Framing,
    /// The framing of the body that follows.
    pub body: Framing,
}

impl Onward {
    /// The length of the body, as far as it is known; that of one which is not sent, in answer to HEAD, too.
    pub fn length(&self, is_head: bool) -> Option<u64> {
        match (self.announced, self.body) {
            (Framing::Length(length), _) => Some(length),
            (Framing::None, Framing::None) if !is_head => Some(0),
            _ => None,
        }
    }

    /// `announced` and `body` are those of the endpoint's response, `client` is the version of the request.
    pub fn new(announced: Framing, body: Framing, status: u16, client: Version) -> Self {
        let suited = |framing| match (framing, client) {
            (Framing::Chunked, Version::Http10) => Framing::UntilClose,
            (Framing::UntilClose, Version::Http11 | Version::Http2) => Framing::Chunked,
            (framing, _) => framing,
        };
        let announced = match (body, status) {
            // RFC 9110, section 8.6, and RFC 9112, section 6.1.
            (Framing::None, 100..=199 | 204) => Framing::None,
            (Framing::None, _) => match suited(announced) {
                Framing::UntilClose => Framing::None,
                announced => announced,
            },
            (body, _) => suited(body),
        };
        Self { announced, body: suited(body) }
    }
}
