//! How often a request may be forwarded: a proxy that is its own endpoint would pass it on until every connection is in use.

use http::{HeaderName, StatusCode, header};

use super::edits::Edits;
use super::{Exchange, Failure, LocalReply};
use crate::routing::RequestHead;

/// Counts the times that evenkeel has forwarded a request.
const HOPS: HeaderName = HeaderName::from_static("x-evenkeel-hops");

/// The most times: enough for a chain of proxies, and little for a loop.
const HOPS_MAX: u8 = 10;

/// What a request says of its way.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Hops {
    /// How often it has been forwarded already.
    made: u8,
    /// How often it may still be forwarded (RFC 9110, section 7.6.2).
    left: Option<u64>,
}

impl Hops {
    pub fn of(head: &impl RequestHead) -> Self {
        let number = |name| head.header_text(name)?.parse::<u64>().ok();
        let is_limited = matches!(head.method(), "OPTIONS" | "TRACE");
        Self {
            made: number(&HOPS).map_or(0, |made| u8::try_from(made).unwrap_or(u8::MAX)),
            left: if is_limited { number(&header::MAX_FORWARDS) } else { None },
        }
    }

    /// Makes the edits that count one more.
    pub fn set(self, edits: &mut Edits) {
        edits.set(HOPS, itoa::Buffer::new().format(self.made.saturating_add(1)));
        if let Some(left) = self.left {
            edits.set(header::MAX_FORWARDS, itoa::Buffer::new().format(left.saturating_sub(1)));
        }
    }
}

impl Exchange {
    /// Refuses a request that goes in a circle, and answers one that may not be forwarded.
    pub(super) fn check_hops(&mut self, head: &impl RequestHead) -> Option<Result<LocalReply, Failure>> {
        self.hops = Hops::of(head);
        if self.hops.made >= HOPS_MAX {
            return Some(Err(Failure::Loop));
        }
        match (self.hops.left, head.method()) {
            (Some(0), "OPTIONS") => {}
            // A request is not sent back: it may have credentials that its reader must not see.
            (Some(0), _) => return Some(Err(Failure::MethodNotAllowed)),
            _ => return None,
        }
        self.record.unusual_mut().action = Some("max_forwards");
        let text = &self.record.text;
        Some(Ok(LocalReply::new(StatusCode::OK, None, text.request_id())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_counted() {
        let edited = |method: &str, fields: &[(&str, &str)]| {
            let mut request = http::Request::builder().method(method).uri("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let head = request.body(()).expect("a request").into_parts().0;
            let mut edits = Edits::default();
            Hops::of(&head).set(&mut edits);
            String::from_utf8_lossy(edits.lines()).into_owned()
        };
        assert_eq!(edited("GET", &[("max-forwards", "3")]), "x-evenkeel-hops: 1\r\n");
        assert_eq!(edited("GET", &[("x-evenkeel-hops", "7")]), "x-evenkeel-hops: 8\r\n");
        assert_eq!(edited("GET", &[("x-evenkeel-hops", "x")]), "x-evenkeel-hops: 1\r\n");
        assert_eq!(edited("TRACE", &[("max-forwards", "3")]), "x-evenkeel-hops: 1\r\nmax-forwards: 2\r\n");
        assert_eq!(edited("OPTIONS", &[("max-forwards", "-1")]), "x-evenkeel-hops: 1\r\n");
    }
}
