//! `evenkeel prove`: it finds that nothing is lost, it sees what is, and it leaves nothing behind.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Engine, Proxy, SOON, engine, eventually};

/// For the whole of a short proof, on a machine that has other tests to run.
const LIMIT: Duration = Duration::from_secs(150);

/// A proof with few clients, and its folder in that of the test. Nothing is done but what is asked for.
fn prove(arguments: &[&str]) -> Proxy {
    const FEW: [&str; 29] = [
        "prove",
        "--load-seconds",
        "1",
        "--keep-alive",
        "4",
        "--new-connections",
        "2",
        "--http2",
        "2",
        "--downloads",
        "1",
        "--uploads",
        "1",
        "--websockets",
        "4",
        "--reloads",
        "0",
        "--upgrades",
        "0",
        "--failed-upgrades",
        "0",
        "--restarts",
        "0",
        "--dead-endpoints",
        "0",
        "--signals",
        "0",
        "--dns-outages",
        "0",
    ];
    let builder = Proxy::config();
    let folder = builder.folder().display().to_string();
    builder.env("TMPDIR", &folder).arguments(&[FEW.as_slice(), arguments].concat()).spawn()
}

/// The pid of the proxy that it has started.
fn pid(proof: &Proxy) -> Pid {
    eventually("the proxy's pid", || {
        let stdout = proof.stdout();
        let (_, rest) = stdout.first()?.split_once("first process ")?;
        rest.split(',').next()?.parse().ok().map(Pid::from_raw)
    })
}

/// What the proof has left in its folder.
fn left_over(proof: &Proxy) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(proof.folder()).unwrap().filter_map(Result::ok);
    folders.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("prove-")).collect()
}

/// The steps of a proof under clients of every kind, in which nothing was lost.
#[track_caller]
fn lossless(times: &[&str]) -> Vec<Value> {
    // What the engine of HTTP/2 does with WebSockets at a stop is not promised.
    let websockets: &[&str] = if engine() == Engine::Pingora { &["--websockets", "0"] } else { &[] };
    let mut proof = prove(&[websockets, &["--json"], times].concat());
    let ended = proof.ended_within(LIMIT);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report in JSON");
    assert_eq!(report["failures_in_all"], 0);
    let steps = report["steps"].as_array().unwrap();
    for step in steps {
        if let Some(why) = step["skipped"].as_str() {
            eprintln!("skipped: {why}");
            continue;
        }
        assert_eq!(step["failed"], 0, "{step}");
        assert_eq!(step["done"], step["count"], "{step}");
    }
    assert!(left_over(&proof).is_empty());
    steps.clone()
}

fn names(steps: &[Value]) -> Vec<&str> {
    steps.iter().map(|step| step["name"].as_str().unwrap()).collect()
}

/// Reloads, upgrades that succeed and that fail, restarts and a stop.
#[test]
fn nothing_is_lost() {
    let steps = lossless(&["--reloads=8", "--upgrades=1", "--failed-upgrades=1", "--restarts=1"]);
    assert_eq!(names(&steps), ["load", "reload", "upgrade", "failed upgrade", "restart", "stop"]);
    for step in steps.iter().filter(|step| step["skipped"].is_null()) {
        assert!(step["requests"].as_u64().unwrap() > 0, "{step}");
    }
    assert!(steps[4]["refused"].as_u64().unwrap() > 0, "nothing ran for a moment: {steps:?}");
    assert!(steps[1]["memory"]["after_kib"].as_u64().unwrap() > 0, "{steps:?}");
}

/// Most of a pool dies, and then all of it where requests may wait.
#[test]
fn outages_lose_nothing() {
    assert_eq!(names(&lossless(&["--dead-endpoints=2"])), ["load", "outage", "stop"]);
}

/// An upgrade and the rename of a pool while no name can be looked up.
#[test]
fn dns_outages_lose_nothing() {
    assert_eq!(names(&lossless(&["--dns-outages=1"])), ["load", "DNS outage", "stop"]);
}

/// Signals to one process or both, during an upgrade and right after it.
#[test]
fn signals_lose_nothing() {
    assert_eq!(names(&lossless(&["--signals=4"])), ["load", "signal", "stop"]);
}

/// A proxy that is killed is a loss: the proof says whose, of what, and during what.
#[test]
fn a_killed_proxy_is_a_loss() {
    let mut proof = prove(&["--reloads", "100000"]);
    let pid = pid(&proof);
    eventually("the reloads to begin", || proof.stdout().get(1).cloned());
    kill(pid, Signal::SIGKILL).unwrap();
    let ended = proof.ended_within(LIMIT);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    for part in ["failures:", "during reload", "keep-alive client: expected", "the proxy ended: SIGKILL"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("Nothing was lost"), "{}", ended.stdout);
    let log = left_over(&proof).first().expect("the folder is kept").join("evenkeel.log");
    assert!(std::fs::read_to_string(log).unwrap().contains("ready"));
}

/// Ctrl-C ends the proxy, too, and takes the files away.
#[test]
fn an_interrupt_leaves_nothing_behind() {
    let mut proof = prove(&["--reloads", "100000"]);
    let pid = pid(&proof);
    eventually("the reloads to begin", || proof.stdout().get(1).cloned());
    proof.signal(Signal::SIGINT);
    let ended = proof.ended_within(SOON);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH), "the proxy has ended");
    assert!(left_over(&proof).is_empty());
}
