//! Replays what the fuzzers have kept, and what was written by hand to start them.

use std::path::Path;

use crate::checks;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "the corpus of {target} has only {} files", files.len());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let checked = std::panic::catch_unwind(|| check(&bytes));
        assert!(checked.is_ok(), "{}: {:?}", file.display(), String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn request_heads() {
    replay("request_head", checks::request_head::check);
}

#[test]
fn response_heads() {
    replay("response_head", checks::response_head::check);
}

#[test]
fn chunked_bodies() {
    replay("chunked_body", checks::chunked_body::check);
}

#[test]
fn proxy_headers() {
    replay("proxy_protocol", checks::proxy_protocol::check);
}

#[test]
fn configs() {
    replay("config", checks::config::check);
}

#[test]
fn routes() {
    replay("route", checks::route::check);
}
