//! What a request's head must be, and what is made of it.

use crate::config::Limits;
use crate::exchange::Failure;
use crate::lane::framing::{Framing, Version};
use crate::lane::head::{Parse, Refusal, Request};

pub(super) const LIMITS: Limits =
    Limits { header_bytes: 32 * 1024, header_count: 100, target_bytes: 8 * 1024, body_bytes: None };

fn parse(bytes: &[u8]) -> (Request, Parse) {
    let mut head = Request::default();
    let parse = head.parse(bytes, &LIMITS);
    (head, parse)
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>) -> (Failure, &'static str) {
    match parse(bytes.as_ref()).1 {
        Parse::Refused(Refusal { failure, reason }) => (failure, reason),
        other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes.as_ref())),
    }
}

#[track_caller]
fn bad(bytes: impl AsRef<[u8]>, reason: &str) {
    assert_eq!(
        refused(&bytes),
        (Failure::BadRequest, reason),
        "{:?}",
        String::from_utf8_lossy(bytes.as_ref())
    );
}

/// A head with these fields, Host included.
fn with(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

fn to(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

#[track_caller]
fn accepted(bytes: impl AsRef<[u8]>) -> Request {
    let (head, parse) = parse(bytes.as_ref());
    let length = bytes.as_ref().len();
    assert_eq!(parse, Parse::Complete { length }, "{}", String::from_utf8_lossy(bytes.as_ref()));
    head
}

#[test]
fn a_whole_head_and_its_parts() {
    let bytes = b"POST /a/b?c=d HTTP/1.1\r\nHost: A.example:81\r\nX-One:  1 \r\nx-one:\t\r\n\
                  Content-Length: 7\r\nConnection: X, keep-alive , ,close\r\n\r\n";
    let head = accepted(bytes);
    let view = head.view(bytes);
    assert_eq!((view.method(), view.target(), view.version()), ("POST", "/a/b?c=d", Version::Http11));
    assert_eq!((view.authority(), view.path(), view.query()), ("A.example:81", "/a/b", Some("c=d")));
    assert_eq!(view.framing(), Framing::Length(7));
    assert!(!view.keep_alive());
    assert_eq!(view.connection().collect::<Vec<_>>(), ["X", "keep-alive", "close"]);
    assert_eq!(view.values("x-one").collect::<Vec<_>>(), [&b"1"[..], b""]);
    assert_eq!(view.header("X-ONE"), Some("1"));
    assert_eq!(view.sizes().sum::<usize>(), bytes.len() - "POST /a/b?c=d HTTP/1.1\r\n\r\n".len());
}
