//! Fault 67: what is in the way of a start is said in one clear line, with an exit code that tells its kind, and never
//! leaves a process behind that serves nothing. Pingora alone does just that: it waits half a minute and panics in a
//! task.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{
    Client, Ended, Endpoint, Gate, Proxy, ProxyBuilder, SOON, eventually, nobody, nobody_listens,
};

/// It ended soon, with this code and one line that has each of these words.
#[track_caller]
fn ended_with_one_line(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in: {}", lines[0]);
    }
    assert!(ended.after < SOON, "it took {:?}", ended.after);
}

/// Another user to run the proxy as; without one the test says why, and is over.
fn another_user() -> Option<u32> {
    nobody().inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn any() -> (Endpoint, ProxyBuilder) {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    (endpoint, builder)
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_endpoint, builder) = any();
    let ended = builder.listen("default", &address).start_and_fail();
    ended_with_one_line(&ended, 1, &[&address, "in use"]);
}

/// The same where another listener was fine: all or none.
#[test]
fn one_port_of_two_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_endpoint, builder) = any();
    let ended = builder.listen("good", "127.0.0.1:0").listen("taken", &address).start_and_fail();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

#[test]
fn an_address_that_this_machine_does_not_have() {
    let (_endpoint, builder) = any();
    let ended = builder.listen("default", "192.0.2.1:8080").start_and_fail();
    ended_with_one_line(&ended, 1, &["192.0.2.1:8080"]);
}

#[test]
fn a_unix_socket_that_a_living_process_has() {
    let (_endpoint, builder) = any();
    let path = builder.folder().join("listen.sock");
    let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let ended = builder.listen("default", &format!("unix:{}", path.display())).start_and_fail();
    ended_with_one_line(&ended, 1, &["listen.sock"]);
}

/// A file that is no socket is somebody's: it is not removed.
#[test]
fn a_unix_socket_where_a_file_is() {
    let (_endpoint, builder) = any();
    let path = builder.folder().join("precious");
    fs::write(&path, "data").unwrap();
    let ended = builder.listen("default", &format!("unix:{}", path.display())).spawn().ended();
    ended_with_one_line(&ended, 1, &["precious"]);
}

#[test]
fn a_privileged_port() {
    let limit = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if limit.trim().parse::<u16>().is_ok_and(|limit| limit <= 81) {
        eprintln!("skipped: port 81 is nothing special here");
        return;
    }
    let Some(user) = another_user() else { return };
    let (_endpoint, builder) = any();
    let ended = builder.run_by(user).listen("default", "127.0.0.1:81").start_and_fail();
    ended_with_one_line(&ended, 1, &["127.0.0.1:81", "ermission"]);
}

#[test]
fn a_config_that_may_not_be_read() {
    let Some(user) = another_user() else { return };
    let (_endpoint, builder) = any();
    fs::write(builder.config_path(), builder.text()).unwrap();
    fs::set_permissions(builder.config_path(), fs::Permissions::from_mode(0o600)).unwrap();
    let ended = builder.run_by(user).start_and_fail();
    ended_with_one_line(&ended, 78, &["evenkeel.yaml", "ermission"]);
}

#[test]
fn an_access_log_that_may_not_be_written() {
    let (_endpoint, builder) = any();
    let ended = builder.access_log("output: /nonexistent/folder/access.log").start_and_fail();
    ended_with_one_line(&ended, 1, &["/nonexistent/folder/access.log"]);
}

/// Another user than root needs nothing special.
#[test]
fn any_user_may_run_it() {
    let Some(user) = another_user() else { return };
    let (_endpoint, builder) = any();
    builder.run_by(user).start().get("/").expect(200);
}

#[test]
fn a_config_that_is_not_there() {
    let ended =
        Proxy::config().arguments(&["run", "-c", "/nonexistent/evenkeel.yaml"]).yaml("").start_and_fail();
    ended_with_one_line(&ended, 78, &["/nonexistent/evenkeel.yaml"]);
}

/// An invalid config is 78, for the service manager to know that another start will not help; all errors are said, with
/// their places.
#[test]
fn a_config_that_is_invalid() {
    let text = "listeners:\n  - address: 127.0.0.1:0\nroutes:\n  - pool: nowhere\npools:\n  api:\n    \
                endpoints: [127.0.0.1:1]\n    balanse: round_robin\n";
    let ended = Proxy::config().yaml(text).start_and_fail();
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    for word in ["evenkeel.yaml:4:", "nowhere", "evenkeel.yaml:8:", "balanse", "balance"] {
        assert!(ended.stderr.contains(word), "no {word:?} in:\n{}", ended.stderr);
    }
}

/// Weights that are all 0 make Pingora alone panic at the first request; here they are an error of the config.
#[test]
fn a_pool_of_weight_zero_is_invalid() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let ended = Proxy::to([a.weight(0), b.weight(0)]).start_and_fail();
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("weight"), "{}", ended.stderr);
}

#[test]
fn wrong_usage() {
    let ended = Proxy::config().arguments(&["run", "--no-such-option"]).yaml("").start_and_fail();
    assert_eq!(ended.code, Some(2));
}

/// With hardly any descriptors it says so and ends; with a few more it serves. There is nothing in between.
#[test]
fn hardly_any_descriptors() {
    for limit in [4, 8, 12, 16, 24, 32, 48] {
        let (_endpoint, builder) = any();
        let ended = builder.after_shell(&format!("ulimit -n {limit}")).start_and_fail();
        assert!(ended.code.is_some_and(|code| code != 0), "with {limit}: {ended:?}");
        let lines = ended.stderr.lines().count();
        assert_eq!(lines, 1, "with {limit}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "with {limit}: {}", ended.stderr);
    }
    let (_endpoint, builder) = any();
    builder.after_shell("ulimit -n 64").start().get("/").expect(200);
}

/// "Ready" is said to the service manager when the sockets are bound, not before, and the stop is said too.
#[test]
fn the_service_manager_is_told() {
    let (_endpoint, builder) = any();
    let path = builder.folder().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut proxy = builder.env("NOTIFY_SOCKET", path.to_str().unwrap()).spawn();
    let told = || {
        loop {
            let mut message = [0; 4096];
            let length = manager.recv(&mut message).expect("a message for the service manager");
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            // Sockets for its store are no news.
            if !message.starts_with("FDSTORE") {
                return message;
            }
        }
    };
    let first = told();
    assert!(first.lines().any(|line| line == "READY=1"), "{first}");
    // True at this moment, without any further waiting.
    Client::connect(&proxy.address()).get("/").expect(200);
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let last = told();
    assert!(last.lines().any(|line| line == "STOPPING=1"), "{last}");
    assert_eq!(proxy.ended().code, Some(0));
}

/// A socket that the service manager passes is used and not bound anew; the environment of a successor says nothing
/// about it, and it has it all the same.
#[test]
fn a_socket_of_the_service_manager_is_used() {
    let endpoint = Endpoint::named("a");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut proxy = Proxy::to([&endpoint])
        .listen("web", &address)
        .stdin(socket.into())
        .after_shell("exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web")
        .start();
    proxy.get("/").expect(200);
    proxy.upgrade();
    proxy.get("/").expect(200);
}

/// Endpoints that are all dead are no reason not to start.
#[test]
fn endpoints_that_are_all_dead() {
    let dead = [nobody_listens(), nobody_listens()];
    let start = Instant::now();
    let proxy = Proxy::to(&dead).health_check("type: tcp, interval: 5s, timeout: 1s").start();
    assert!(start.elapsed() < SOON, "ready after {:?}", start.elapsed());
    proxy.get("/x").expect(503);
}

/// A proxy whose first probe is under way until the gate opens.
fn starting(gate: &Gate) -> (Endpoint, Proxy) {
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/health" {
            opened.wait();
        }
        exchange.answer("hello");
    });
    let proxy = Proxy::to([&endpoint])
        .health_check("type: http, path: /health, interval: 60s, timeout: 9s")
        .server("threads: 2, drain: 30s")
        .spawn();
    endpoint.wait_for_requests(1);
    (endpoint, proxy)
}

/// Who has connected while it starts is in a queue that nobody looks at yet; a stop does not forget them.
#[test]
fn a_stop_while_it_starts_loses_nobody() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy) = starting(&gate);
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    proxy.signal(SIGTERM);
    proxy.event("the stop", |event| event.message() == "stopping");
    gate.open();
    assert_eq!(client.response().expect(200).header("connection"), Some("close"));
    assert_eq!(proxy.ended().code, Some(0));
}

#[test]
fn a_stop_while_it_starts_waits_for_nobody_else() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy) = starting(&gate);
    proxy.signal(SIGTERM);
    assert_eq!(proxy.ended().code, Some(0));
    gate.open();
}

/// It serves nothing yet that could be handed over.
#[test]
fn an_upgrade_waits_for_the_start() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy) = starting(&gate);
    let refused = proxy.command(&["upgrade"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("still starting"), "{}", refused.stderr);
    gate.open();
    proxy.event("the start", |event| event.message() == "ready");
    proxy.upgrade();
    proxy.get("/x").expect(200);
}

/// What never serves was never in force: whoever starts next goes by what was.
#[test]
fn nothing_is_kept_of_a_config_before_it_serves() {
    let gate = Gate::closed();
    let (_endpoint, proxy) = starting(&gate);
    let is_text = |path: &std::path::Path| path.extension().is_some_and(|ending| ending == "yaml");
    let files = || fs::read_dir(proxy.folder().join("state")).into_iter().flatten();
    let kept = || files().filter(|file| is_text(&file.as_ref().unwrap().path())).count();
    // What comes after it is carried out after it.
    assert_eq!(proxy.command(&["rollback"]).code, Some(1));
    assert_eq!(kept(), 0);
    gate.open();
    eventually("what is kept", || (kept() == 1).then_some(()));
}
