//! Response heads: every way of arriving gives one verdict, the verdict is the model's, and what goes on is read by
//! others as what was read here.

use evenkeel::http1::head::{Parse, Response, ResponseView};
use evenkeel::http1::write::{self, Connection, ResponseForm};
use evenkeel::message::Version;

use super::model;
use super::request_head::{edits, expected, fields, framing};

pub fn check(bytes: &[u8]) {
    let mut head = Response::default();
    let verdict = head.parse(bytes);
    for step in [1, 7] {
        let mut head = Response::default();
        let ends = (0..bytes.len()).step_by(step).chain([bytes.len()]);
        let mut verdicts = ends.map(|end| head.parse(&bytes[..end]));
        let first = verdicts.find(|verdict| *verdict != Parse::Partial).unwrap_or(Parse::Partial);
        assert_eq!(first, verdict, "in steps of {step}");
    }
    let view = head.view(bytes);
    match (verdict, model::response(bytes)) {
        (Parse::Complete { length }, Some(model)) => {
            assert_eq!(view.status(), model.status);
            assert_eq!(view.reason(), model.reason);
            assert_eq!((view.version() == Version::Http11, length), (model.http11, model.length));
            assert_eq!(fields(view.fields()), model.fields);
            goes_on(view, &model);
        }
        (Parse::Complete { .. }, None) => panic!("accepted against the model"),
        (Parse::Partial, Some(model)) => panic!("waits for more of {model:?}"),
        (Parse::Refused(refusal), Some(model)) => {
            let limited = refusal.reason.contains("too long") || refusal.reason.contains("too many");
            assert!(limited, "refused for {refusal:?}: {model:?}");
        }
        (Parse::Partial | Parse::Refused(_), None) => {}
    }
}

fn goes_on(view: ResponseView<'_>, before: &model::Response) {
    for (method, client) in [
        ("GET", Version::Http11),
        ("GET", Version::Http10),
        ("HEAD", Version::Http11),
        ("HEAD", Version::Http10),
    ] {
        let onward = view.onward(method, client);
        let edits = edits();
        let form = ResponseForm {
            edits: &edits,
            framing: onward.announced,
            connection: Connection::Close,
            upgrade: false,
            date: Some("today"),
        };
        let mut out = Vec::new();
        write::response(&mut out, &view, &form);
        let after = model::response(&out).expect("the model reads what was written");
        assert_eq!((after.length, after.status, &after.reason), (out.len(), before.status, &before.reason));
        assert_eq!(after.framing, framing(onward.announced));
        let mut fields = expected(&before.fields, after.framing, false);
        if fields.iter().all(|(name, _)| name != "date") {
            fields.push(("date".into(), b"today".to_vec()));
        }
        fields.push(("x-forwarded-for".into(), b"192.0.2.1".to_vec()));
        fields.push(("via".into(), b"us".to_vec()));
        let plain: Vec<_> = after
            .fields
            .into_iter()
            .filter(|(name, _)| {
                !["content-length", "transfer-encoding", "connection"].contains(&name.as_str())
            })
            .collect();
        assert_eq!(plain, fields);
    }
}
