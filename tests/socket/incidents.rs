//! The flight recorder: what it has when something goes wrong, when it is written, and how it is read.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Endpoint, Proxy, eventually};

/// The incidents in the state directory.
fn kept(proxy: &Proxy) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(proxy.folder().join("state")).into_iter().flatten();
    let files = entries.map(|entry| entry.expect("a folder").path());
    files.filter(|path| path.to_string_lossy().contains(".incident-")).collect()
}

#[test]
fn what_is_asked_for_is_written_and_shown() {
    let endpoint = Endpoint::scripted("one", |exchange| {
        let status = if exchange.target().starts_with("/bad") { "502 Bad Gateway" } else { "200 OK" };
        exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
    });
    let proxy = Proxy::to([&endpoint]).access_log("output: off").start();
    assert_eq!(proxy.command(&["incident", "list"]).stdout, "there is no incident yet\n");
    let none = proxy.command(&["incident", "show"]);
    assert_eq!((none.code, &*none.stderr), (Some(1), "error: there is no incident yet\n"));
    proxy.get("/good").expect(200);
    proxy.get("/bad?token=hidden").expect(502);
    proxy.get("/bad").expect(502);
    let drained = proxy.command(&["drain", endpoint.address(), "--force"]);
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    // What is written is in order of time, and the request ended before this was typed.
    let written = proxy.command(&["incident"]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let path = written.stdout.trim_end();
    assert_eq!(kept(&proxy), [PathBuf::from(path)]);
    let event = proxy.event("the event", |event| event.message() == "incident written");
    assert_eq!((event.text("path"), event.text("reason").starts_with("asked for by uid ")), (path, true));

    let shown = proxy.command(&["incident", "show"]).stdout;
    let (head, rest) = shown.split_once("\n\n").expect("a head");
    assert!(head.contains("  asked for by uid ") && head.contains("generation 1, /"), "{head}");
    assert!(rest.contains("s  request  502 GET test.example/bad "), "{rest}");
    assert!(rest.contains("s  INFO     endpoint drained"), "{rest}");
    assert!(!rest.contains("/good"), "{rest}");
    // Others than root may read it.
    assert!(rest.contains("/bad?token=***") && !rest.contains("hidden"), "{rest}");
    let json = proxy.command(&["incident", "show", path, "--json"]).stdout;
    assert_eq!(json, std::fs::read_to_string(path).expect("it was written"));
    let last: Value = proxy.status()["last_incident"].clone();
    assert_eq!(last["path"], path);
    assert!(proxy.command(&["status"]).stdout.contains(&format!("({path})\n")));
    let list = proxy.command(&["incident", "list"]).stdout;
    assert!(list.contains(path) && list.lines().count() == 2, "{list}");
}

#[test]
fn a_pool_without_endpoint_is_an_incident() {
    let mut endpoint = Endpoint::named("one");
    let proxy = Proxy::to([&endpoint]).health_check("interval: 100ms, unhealthy_after: 1").start();
    // What had no endpoint from the beginning loses none.
    eventually("some seconds", || {
        let lines = proxy.command(&["incident", "show", "now", "--json"]).stdout;
        (lines.matches("\"second\":").count() > 6).then_some(())
    });
    endpoint.stop();
    let event = proxy.event("the event", |event| event.message() == "incident written");
    assert_eq!(event.text("reason"), "pool default has no endpoint left");
    let shown = proxy.command(&["incident", "show"]).stdout;
    assert!(shown.contains("endpoint is un"), "{shown}");
    assert!(shown.contains("; default: 0 in flight, NO ENDPOINT"), "{shown}");
}

#[test]
fn without_a_state_directory_it_is_said_and_shown_all_the_same() {
    let endpoint = Endpoint::named("one");
    let proxy = Proxy::to([&endpoint]).server("threads: 2, state: off").start();
    let asked = proxy.command(&["incident"]);
    assert_eq!(asked.code, Some(1));
    let why =
        "error: not written: the config says `server: { state: off }`; `evenkeel incident show now` shows";
    assert!(asked.stderr.starts_with(why), "{}", asked.stderr);
    assert!(proxy.command(&["incident", "show", "now"]).stdout.contains("  the last minute\nevenkeel "));
    assert!(kept(&proxy).is_empty());
    let file = proxy.config_path().display().to_string();
    let wrong = proxy.command(&["incident", "show", &file]);
    assert!(wrong.stderr.starts_with("error: this is no incident: line 1: "), "{}", wrong.stderr);
}

#[test]
fn the_oldest_go() {
    let endpoint = Endpoint::named("one");
    let proxy = Proxy::to([&endpoint]).start();
    let paths: Vec<PathBuf> =
        (0..12).map(|_| proxy.command(&["incident"]).stdout.trim_end().into()).collect();
    let mut left = kept(&proxy);
    left.sort();
    assert_eq!(left, paths[2..]);
}
