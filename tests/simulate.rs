//! `evenkeel simulate` as a user runs it: what goes where, and the exit code.

use std::process::{Command, Output};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/typical.yaml");

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["simulate", CONFIG, "--url", "http://shop.example.com/", "--for", "2s"])
        .args(arguments)
        .output()
        .expect("the binary was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is text")
}

fn refused(arguments: &[&str]) -> String {
    let output = simulate(arguments);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{arguments:?}");
    text(&output.stderr).to_owned()
}

#[test]
fn a_table_and_a_picture_of_what_happened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = folder.path().join("it.svg");
    let output = simulate(&["--kill", "all@1s+100ms", "--svg", &picture.display().to_string()]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let said = text(&output.stdout);
    let expected = ["route ", "ENDPOINT", "for clients", "requests failed", "is killed", "is started again"];
    assert!(expected.iter().all(|words| said.contains(words)), "{said}");
    let drawn = std::fs::read_to_string(picture).expect("it was written");
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n") && !drawn.contains("NaN"), "{drawn}");
}

#[test]
fn a_document_for_programs() {
    let output = simulate(&["--json", "--rate", "100/s"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert!(
        report["totals"]["requests"].as_u64().is_some_and(|count| (100..300).contains(&count)),
        "{report}"
    );
    assert!(report["timeline"]["periods"].as_array().is_some_and(|periods| periods.len() == 100));
}

#[test]
fn what_is_wrong_is_said_with_its_remedy() {
    for (arguments, words) in [
        (["--rate", "fast"], "a rate is written as 1200/s"),
        (["--kill", "10.9.9.9:1@1s"], "it has: "),
        (["--kill", "all@2s"], "is not before the end of the simulation at 2s; simulate more with --for"),
        (["--slow", "all@1s"], "is written as 10.0.0.1:3000=10x@10s+20s"),
        (["--fail", "all=9000"], "is written as 10.0.0.1:3000=503@20s"),
        (["--clients", "0"], "write a number from 1 to"),
        (["--method", "GET GET"], "is no request"),
    ] {
        let said = refused(&arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
