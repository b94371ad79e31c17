//! Request heads: every way of arriving gives one verdict, the verdict is the model's, and what goes on is read by
//! others as what was read here.

use evenkeel::config::Limits;
use evenkeel::exchange::{Edits, Failure};
use evenkeel::http1::head::{Parse, Request, RequestView};
use evenkeel::http1::write::{self, RequestForm};
use evenkeel::message::{Framing, Version};
use http::HeaderName;

use super::model;

pub const LIMITS: Limits =
    Limits { header_bytes: 4096, header_count: 20, target_bytes: 1024, body_bytes: None, body_rate: None };

/// Limits that bite in the middle of small heads.
const TIGHT: Limits =
    Limits { header_bytes: 48, header_count: 3, target_bytes: 8, body_bytes: None, body_rate: None };

pub fn check(bytes: &[u8]) {
    arrives_in_pieces(bytes, &TIGHT, Request::default().parse(bytes, &TIGHT));
    let mut head = Request::default();
    let verdict = head.parse(bytes, &LIMITS);
    arrives_in_pieces(bytes, &LIMITS, verdict);
    let view = head.view(bytes);
    match (verdict, model::request(bytes)) {
        (Parse::Complete { length }, Some(model)) => {
            assert_eq!(meaning(view, length), model);
            goes_on(view, &model);
        }
        (Parse::Complete { .. }, None) => panic!("accepted against the model"),
        (Parse::Partial, Some(model)) => panic!("waits for more of {model:?}"),
        (Parse::Refused(refusal), Some(model)) => {
            let limited = [Failure::HeadersTooLarge, Failure::TargetTooLong, Failure::MethodNotAllowed];
            assert!(limited.contains(&refusal.failure), "refused for {refusal:?}: {model:?}");
        }
        (Parse::Partial | Parse::Refused(_), None) => {}
    }
}

/// Bytes that come one by one, or seven at a time, are judged as if they came together; nothing that is refused is
/// waited for longer than need be.
fn arrives_in_pieces(bytes: &[u8], limits: &Limits, verdict: Parse) {
    for step in [1, 7] {
        let mut head = Request::default();
        let ends = (0..bytes.len()).step_by(step).chain([bytes.len()]);
        let mut verdicts = ends.map(|end| head.parse(&bytes[..end], limits));
        let first = verdicts.find(|verdict| *verdict != Parse::Partial).unwrap_or(Parse::Partial);
        assert_eq!(first, verdict, "in steps of {step}");
    }
}

fn meaning(view: RequestView<'_>, length: usize) -> model::Request {
    model::Request {
        method: view.method().into(),
        authority: view.authority().into(),
        path: view.path().into(),
        query: view.query().map(Into::into),
        http11: view.version() == Version::Http11,
        fields: fields(view.fields()),
        framing: framing(view.framing()),
        length,
    }
}

pub fn fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<model::Field> {
    let name = |name: &[u8]| String::from_utf8(name.to_ascii_lowercase()).unwrap();
    fields.map(|(bytes, value)| (name(bytes), value.to_vec())).collect()
}

pub fn framing(framing: Framing) -> model::Framing {
    match framing {
        Framing::None | Framing::UntilClose => model::Framing::None,
        Framing::Length(length) => model::Framing::Length(length),
        Framing::Chunked => model::Framing::Chunked,
    }
}

/// Some of each kind.
pub fn edits() -> Edits {
    let mut edits = Edits::default();
    edits.remove(HeaderName::from_static("te"));
    edits.remove(HeaderName::from_static("x-hop"));
    edits.set(HeaderName::from_static("x-forwarded-for"), "192.0.2.1");
    edits.append(HeaderName::from_static("via"), b"us");
    edits
}

/// What is left of the fields, in order, once [`edits`] and the engine's own rules have been applied.
pub fn expected(fields: &[model::Field], framing: model::Framing, request10: bool) -> Vec<model::Field> {
    let mut left = fields.to_vec();
    left.retain(|(name, _)| {
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = name.replace('_', "-");
        let gone = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "http2-settings",
            "te",
            "x-hop",
            "x-forwarded-for",
        ];
        let framed = ["contentlength", "transferencoding"].contains(&letters.as_str());
        let trailer = name == "trailer" && framing != model::Framing::Chunked;
        let expect = name == "expect" && request10;
        !(gone.contains(&name.as_str()) || framed || trailer || expect)
    });
    left
}

fn goes_on(view: RequestView<'_>, before: &model::Request) {
    let edits = edits();
    let form = RequestForm {
        edits: &edits,
        framing: view.framing(),
        upgrade: false,
        trailers: false,
        host: "fallback.example",
    };
    let mut out = Vec::new();
    write::request(&mut out, &view, &form);
    let after = model::request(&out).expect("the model reads what was written");
    assert_eq!(after.length, out.len(), "there is something behind the head that was written");
    assert_eq!(
        (&after.method, &after.path, &after.query, after.framing, after.http11),
        (&before.method, &before.path, &before.query, before.framing, true)
    );
    let mut fields = expected(&before.fields, before.framing, !before.http11);
    if fields.iter().all(|(name, _)| name != "host") {
        fields.push(("host".into(), b"fallback.example".to_vec()));
    }
    fields.push(("x-forwarded-for".into(), b"192.0.2.1".to_vec()));
    fields.push(("via".into(), b"us".to_vec()));
    let (framed, plain): (Vec<_>, Vec<_>) = after
        .fields
        .into_iter()
        .partition(|(name, _)| ["content-length", "transfer-encoding"].contains(&name.as_str()));
    assert_eq!(plain, fields);
    assert_eq!(framed.len(), usize::from(before.framing != model::Framing::None));
}
