//! `evenkeel top` on a real terminal: what its keys do to the process, and that the terminal is left as it was.
//!
//! `script` (util-linux) makes the terminal; standard input is the keyboard.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::harness::{Endpoint, Proxy, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

/// Runs `top` between two looks at the terminal's attributes.
const SESSION: &str = r#"cd "$FOLDER"
stty rows 24 cols 80
stty -g > before
sh -c 'echo $$ > pid; exec "$BINARY" top --interval 100ms --admin "$ADMIN"'
echo $? > code
stty -g > after
"#;

struct Top {
    child: Child,
    folder: TempDir,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Top {
    /// On a terminal of 80 columns; returns when its first screen is there.
    fn start(proxy: &Proxy) -> Top {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("session"), SESSION).unwrap();
        let mut child = Command::new("script")
            .args(["-q", "-c"])
            .arg(format!("sh {}", folder.path().join("session").display()))
            .arg("/dev/null")
            .env("FOLDER", folder.path())
            .env("BINARY", BINARY)
            .env("ADMIN", format!("unix:{}", proxy.folder().join("admin.sock").display()))
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux");
        let screen = collect(child.stdout.take().unwrap());
        let top = Top { child, folder, screen };
        top.shows("EVENTS");
        top
    }

    /// Texts are drawn in pieces where a part of them was there before: only words are sure to be found.
    fn shows(&self, text: &str) {
        eventually(&format!("{text} on the screen"), || self.has_drawn(text).then_some(()));
    }

    fn has_drawn(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).contains(text)
    }

    fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.path().join(name)).ok().filter(|text| text.ends_with('\n'))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.file("pid").unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Its exit code; the terminal must be as it was.
    fn ended(&mut self) -> String {
        let after = eventually("the end of top", || self.file("after"));
        assert_eq!(self.file("before").unwrap(), after);
        self.child.wait().unwrap();
        self.shows("\x1b[?1049l");
        self.shows("\x1b[?25h");
        self.file("code").unwrap().trim().to_owned()
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes there.
fn collect(mut output: ChildStdout) -> Arc<Mutex<Vec<u8>>> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let into = collected.clone();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut piece) {
            into.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    });
    collected
}

/// Keys drain an endpoint, after a question; `q` gives the terminal back.
#[test]
fn keys_drain_and_quit() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a, &b]).start();
    for endpoint in [&a, &b] {
        proxy.wait_until(endpoint.address(), "healthy");
    }
    proxy.get("/x").expect(200);
    let mut top = Top::start(&proxy);
    top.shows(a.address());
    top.shows(b.address());
    assert!(top.has_drawn("\x1b[?1049h"));
    let drained = || proxy.endpoint_status(a.address()).unwrap()["drained"]["by"].is_string();
    // The first line is the pool; `n` is no.
    top.press("jdn");
    top.press("dy");
    eventually("the endpoint to be drained", || drained().then_some(()));
    top.press("uy");
    eventually("the endpoint to be undrained", || (!drained()).then_some(()));
    top.press("q");
    assert_eq!(top.ended(), "0");
}

/// A signal gives the terminal back as `q` does.
#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut top = Top::start(&proxy);
        top.signal(signal);
        assert_eq!(top.ended(), "0");
    }
}

/// A process that is gone does not take `top` along.
#[test]
fn it_outlives_the_process_that_it_watches() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let mut top = Top::start(&proxy);
    proxy.signal(Signal::SIGTERM);
    proxy.ended();
    top.shows("ANSWER");
    top.press("q");
    assert_eq!(top.ended(), "0");
}

/// Without a terminal it says what there is instead.
#[test]
fn without_a_terminal_it_names_the_status() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let ended = proxy.command(&["top"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("`evenkeel status`") && ended.stdout.is_empty(), "{}", ended.stderr);
    let ended = proxy.command(&["top", "--interval", "1"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("500ms"), "{}", ended.stderr);
}

/// The events of the last minute are there for tools, too.
#[test]
fn events_are_answered_as_lines() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.wait_until(endpoint.address(), "healthy");
    let response = proxy.admin("/api/v1/events").expect(200);
    let lines: Vec<serde_json::Value> =
        response.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["event"]["message"] == "ready"), "{lines:#?}");
    assert!(lines.is_sorted_by_key(|line| line["at"].as_str().unwrap()));
    assert!(lines.iter().all(|line| line.get("request").is_none() && line.get("second").is_none()));
}
