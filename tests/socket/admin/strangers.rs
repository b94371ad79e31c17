//! Fault 63: another user of the machine, and what is told to whoever reads along.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use crate::harness::{Endpoint, Proxy, nobody};

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

fn another_user() -> Option<u32> {
    nobody().map_err(|why| eprintln!("skipped: {why}")).ok()
}

/// Root asks; the process is that of somebody else, in a directory of theirs in `/tmp`, and would do anything.
#[test]
fn a_strangers_process_gets_no_orders() {
    let Some(stranger) = another_user() else { return };
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).run_by(stranger).start();
    let config = proxy.config_path().display().to_string();
    for arguments in [&["reload"][..], &["status"], &["health"], &["plan", &config]] {
        let ended = proxy.command(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("a process of user {stranger} listens on")),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(proxy.metric("evenkeel_config_generation", &[]) as u64, 1, "nothing was reloaded");
}

#[test]
fn an_answer_does_not_speak_to_the_terminal() {
    for status in ["200 OK", "422 Unprocessable Content", "409 Conflict"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let body = "fine\n\x1b]0;owned\x07\x1b[2J\u{9b}1m\u{202e}\u{feff}\u{200b}\r\x08\n";
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let Output { stdout, stderr, .. } =
            Command::new(BINARY).args(["reload", "--admin", &address]).output().unwrap();
        other.join().unwrap();
        let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert!(printed.contains("fine\n\\x1b]0;owned\\x07\\x1b[2J\\u{009b}1m\\u{202e}"), "{printed:?}");
        let is_seen = |c: char| c == '\n' || (' '..='~').contains(&c);
        assert!(printed.chars().all(is_seen), "{printed:?}");
    }
}

/// `/tmp/evenkeel-UID` is somebody else's, and the home is where both sides look next.
#[test]
fn a_squatted_directory_prevents_no_start() {
    let Some(user) = another_user() else { return };
    // A user of this test run alone: the usual directory is the same for all processes of one.
    let (user, home) = (user + 1 + std::process::id(), tempfile::tempdir().unwrap());
    chown(home.path(), Some(user), Some(user)).unwrap();
    let squatted = std::path::PathBuf::from(format!("/tmp/evenkeel-{user}"));
    let _ = fs::create_dir(&squatted);
    fs::set_permissions(&squatted, fs::Permissions::from_mode(0o755)).unwrap();
    let a = Endpoint::named("a");
    let home_path = home.path().to_str().unwrap();
    let start = |home: &str| {
        Proxy::config()
            .arguments(&["run", "--listen", "127.0.0.1:0", a.address()])
            .run_by(user)
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", "")
            .start()
    };
    let proxy = start(home_path);
    proxy.get("/").expect(200);
    let warning = proxy.event("a warning", |event| event.message().contains("not this user's alone"));
    assert_eq!((warning.level(), warning.text("directory")), ("warn", squatted.to_str().unwrap()));
    let open = proxy.event("its address", |event| event.message() == "admin address open");
    assert_eq!(open.text("address"), format!("unix:{home_path}/.evenkeel/admin.sock"));
    drop(proxy);
    let proxy = start("/dev/null");
    proxy.get("/").expect(200);
    proxy.event("an error", |event| {
        event.level() == "error" && event.message().starts_with("no admin address")
    });
    fs::remove_dir(&squatted).unwrap();
}

#[test]
fn a_refused_reload_tells_no_secret() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let text = proxy.config_text().to_owned();
    let socket = format!("unix:{}/admin.sock", proxy.folder().display());
    let right = format!("admin: {{ listen: \"{socket}\" }}\n");
    assert!(text.contains(&right), "{text}");
    let wrong = format!("admin: {{ token: hunter2, tokn: hunter2, listne: \"{socket}\" }}\n");
    proxy.write_config(&text.replace(&right, &wrong));
    let file = proxy.config_path().display().to_string();
    for arguments in [&["reload"][..], &["plan", &file]] {
        let refused = proxy.command(arguments);
        assert_eq!(refused.code, Some(78), "{}", refused.stderr);
        assert!(refused.stderr.contains("token: *******, tokn: *******, listne:"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
    proxy.event("a refusal", |event| event.message().starts_with("reload refused"));
    assert!(!proxy.stderr().contains("hunter2"), "{}", proxy.stderr());
    let checked = Command::new(BINARY).args(["check", "-c", &file]).output().unwrap();
    assert!(!String::from_utf8_lossy(&checked.stderr).contains("hunter2"));
}
