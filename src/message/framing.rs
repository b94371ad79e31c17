//! How a body is delimited, and how it is announced on the other side.

/// How a body is delimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    Length(u64),
    /// The body says itself where it ends: by its last chunk, or by the end of its stream over HTTP/2.
    Chunked,
    /// Up to the end of the connection; only responses over HTTP/1.
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// The body of a response to a request with this method.
pub fn of_response(method: &str, status: u16, announced: Framing) -> Framing {
    match (method, status, announced) {
        ("HEAD", ..) | (_, 100..=199 | 204 | 304, _) | ("CONNECT", 200..=299, _) => Framing::None,
        (.., Framing::None) => Framing::UntilClose,
        (.., announced) => announced,
    }
}

/// How a response is sent on to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onward {
    /// What its head says: more than the body has where there is none, as for HEAD and 304.
    pub announced: Framing,
    /// What follows the head.
    pub body: Framing,
}

impl Onward {
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
