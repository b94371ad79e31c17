//! Chunked bodies: every way of arriving gives one result, the result is the model's, and what is written is read back.

use evenkeel::http1::chunked::{self, CHUNK_END, ChunkHead, Decoder};

use super::model::{self, Body};
use super::request_head::fields;

pub fn check(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1));
    for step in [1, 7] {
        assert_eq!(decode(bytes, step), whole, "in steps of {step}");
    }
    match (whole, model::chunked(bytes)) {
        (Some(body), Some(model)) => {
            assert_eq!((&body.payload, body.length), (&model.payload, model.length));
            let mut rest = model.trailers.iter();
            assert!(body.trailers.iter().all(|trailer| rest.any(|other| other == trailer)));
            written(&body);
        }
        (None, None) => {}
        (body, model) => panic!("{body:?} against {model:?}"),
    }
    let sizes = bytes.iter().map(|byte| usize::from(*byte) + 1);
    let mut out = Vec::new();
    let mut rest = bytes;
    for size in sizes {
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        if !chunk.is_empty() {
            append(&mut out, chunk);
        }
    }
    chunked::write_last(&mut out, std::iter::empty());
    let expected = Body { payload: bytes.into(), trailers: Vec::new(), length: out.len() };
    assert_eq!(decode(&out, out.len()), Some(expected));
}

/// A body that goes on has the same payload and trailers, and nothing else.
fn written(body: &Body) {
    let mut out = Vec::new();
    if !body.payload.is_empty() {
        append(&mut out, &body.payload);
    }
    chunked::write_last(
        &mut out,
        body.trailers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())),
    );
    let again = model::chunked(&out).expect("the model reads what was written");
    assert_eq!((&again.payload, &again.trailers, again.length), (&body.payload, &body.trailers, out.len()));
}

fn append(out: &mut Vec<u8>, chunk: &[u8]) {
    for part in [ChunkHead::new(chunk.len()).as_bytes(), chunk, CHUNK_END] {
        out.extend_from_slice(part);
    }
}

/// `None`: it is broken, or not complete.
fn decode(bytes: &[u8], step: usize) -> Option<Body> {
    let mut decoder = Decoder::default();
    let mut payload = Vec::new();
    let mut length = 0;
    for piece in bytes.chunks(step) {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            let step = decoder.decode(&piece[at..]).ok()?;
            assert!(step.consumed > 0, "it makes progress");
            payload.extend_from_slice(&piece[at..][step.data]);
            at += step.consumed;
            assert_eq!(step.done, decoder.is_done());
        }
        length += at;
    }
    decoder.is_done().then(|| Body { payload, trailers: fields(decoder.trailers()), length })
}
