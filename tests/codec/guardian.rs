//! An oracle for request smuggling, made by others: what it calls severe or ambiguous is refused, or harmless once it
//! has been written anew.

use evenkeel::http1::head::{Parse, Request};
use evenkeel::http1::write::{self, RequestForm};
use http_desync_guardian::request_analyzer::HttpRequestData;
use http_desync_guardian::{ClassificationReason, RequestSafetyTier};
use proptest::prelude::*;

use crate::checks::request_head::{LIMITS, edits};
use crate::generated;

fn verdict(bytes: &[u8]) -> (RequestSafetyTier, ClassificationReason) {
    let result = HttpRequestData::analyze_raw_request(bytes);
    (result.tier, result.reason)
}

/// What the endpoint would get; `None`: nothing.
fn sent(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut head = Request::default();
    if !matches!(head.parse(bytes, &LIMITS), Parse::Complete { .. }) {
        return None;
    }
    let view = head.view(bytes);
    let edits = edits();
    let form = RequestForm {
        edits: &edits,
        framing: view.framing(),
        upgrade: view.is_upgrade(),
        trailers: view.takes_trailers(),
        host: "a.example",
    };
    let mut out = Vec::new();
    write::request(&mut out, &view, &form);
    Some(out)
}

#[track_caller]
fn is_harmless(bytes: &[u8]) {
    let Some(out) = sent(bytes) else { return };
    let (tier, reason) = verdict(&out);
    // A GET or HEAD with a body is rare and legal, and here its length can be read in one way only.
    let body = matches!(
        reason,
        ClassificationReason::UndefinedContentLengthSemantics
            | ClassificationReason::UndefinedTransferEncodingSemantics
    );
    assert!(
        tier < RequestSafetyTier::Ambiguous || (tier == RequestSafetyTier::Ambiguous && body),
        "{tier:?} {reason:?}: {:?} became {:?}",
        String::from_utf8_lossy(bytes),
        String::from_utf8_lossy(&out)
    );
}

/// Framing fields in every disguise: with each junk at each place of name and value, alone and beside a good one.
#[test]
fn disguised_framing_fields() {
    const JUNK: [&str; 16] = [
        "", " ", "\t", "_", "-", ".", "\0", "\x01", "\x0b", "\x7f", "\r", "\n", "\r\n ", ":", ",", "\u{17f}",
    ];
    let (mut refused, mut passed, mut judged) = (0, 0, 0);
    for (name, value) in [
        ("Content-Length", "5"),
        ("Content-Length", "5, 5"),
        ("Content-Length", "+5"),
        ("Content-Length", "0x5"),
        ("Content-Length", "18446744073709551616"),
        ("Transfer-Encoding", "chunked"),
        ("Transfer-Encoding", "xchunked"),
        ("Transfer-Encoding", "identity"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("TransferEncoding", "chunked"),
    ] {
        for beside in ["", "Content-Length: 5\r\n", "Content-Length: 6\r\n", "Transfer-Encoding: chunked\r\n"]
        {
            for junk in JUNK {
                let middle = name.len() / 2;
                for field in [
                    format!("{junk}{name}: {value}"),
                    format!("{}{junk}{}: {value}", &name[..middle], &name[middle..]),
                    format!("{name}{junk}: {value}"),
                    format!("{name}:{junk}{value}"),
                    format!("{name}: {value}{junk}"),
                    format!("X: y{junk}{name}: {value}"),
                ] {
                    for fields in [format!("{field}\r\n{beside}"), format!("{beside}{field}\r\n")] {
                        let bytes = format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
                        let severe = verdict(bytes.as_bytes()).0 >= RequestSafetyTier::Ambiguous;
                        judged += usize::from(severe);
                        match sent(bytes.as_bytes()) {
                            Some(_) => passed += 1,
                            None => refused += 1,
                        }
                        is_harmless(bytes.as_bytes());
                    }
                }
            }
        }
    }
    assert!(judged > 1000 && refused > 1000 && passed > 100, "{judged} {refused} {passed}");
}

/// What the oracle calls severe and we pass is only made severe by a field that does not go on.
#[test]
fn severe_requests_are_refused() {
    for request in [
        "POST /x HTTP/1.1\r\nContent-Length: 1000\r\nContent-Length: 100",
        "POST /x HTTP/1.1\r\nContent-Length: 1000 1000",
        "POST /x HTTP/1.1\r\nContent-Length: 1e3",
        "POST /x HTTP/1.1\r\nContent-Length: 18446744073709551616",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked, chunked",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\x11",
        "POST /x HTTP/1.1\r\nX: a\0b",
        "POST /x HTTP/1.1\r\nX\0: a",
        "POST /x HTTP/1.1\r\nX\r: a",
        "P\x01ST /x HTTP/1.1\r\nX: a",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n Content-Length: 5",
    ] {
        let bytes = format!("{request}\r\nHost: a.example\r\n\r\n");
        assert!(verdict(bytes.as_bytes()).0 >= RequestSafetyTier::Ambiguous, "{bytes:?}");
        assert_eq!(sent(bytes.as_bytes()), None, "{bytes:?}");
    }
}

/// The corpus of `tests/differential`, whose path is in the environment: `make differential` writes it and runs this.
#[test]
#[ignore = "make differential runs it, with its corpus"]
fn the_differential_corpus_is_harmless() {
    let path = std::env::var("EVENKEEL_CORPUS").unwrap();
    let (mut severe, mut refused, mut passed) = (0, 0, 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let bytes = unhex(line.split(' ').nth(1).unwrap());
        if verdict(&bytes).0 == RequestSafetyTier::Severe {
            severe += 1;
            match sent(&bytes) {
                Some(_) => passed += 1,
                None => refused += 1,
            }
        }
        is_harmless(&bytes);
    }
    eprintln!("{severe} severe payloads: {refused} refused, {passed} passed and made harmless");
    assert!(severe > 1000, "{severe}");
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn generated_requests_are_harmless(bytes in generated::request()) {
        is_harmless(&bytes);
    }
}
