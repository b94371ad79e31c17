//! How many system calls a request takes, as strace sees them: most of a request's cost is the kernel's. A call more for
//! each request fails, and what has become less is to be written down here.

#![expect(clippy::panic, clippy::print_stdout, reason = "this is a test, and what it finds is to be seen")]

mod peers;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Before anything is counted: connections to the endpoint are opened, and what is kept for the next request is made.
const WARM: usize = 20;
const COUNTED: usize = 400;

const CLOSE: &str = "Connection: close\r\n";

/// Of one request. What is found may be 5 % more.
struct Most {
    /// Bytes of clients and endpoints.
    data: f64,
    /// To have a connection: finding it, accepting it, finding no other, registering it, closing it; and a look at the one to
    /// the endpoint, which was idle.
    connection: f64,
}

/// A request that comes alone has a wait for itself and one for its response, a connection one for its end; how often
/// the timers are looked at in between, and whether the log's thread is woken for each line, is a matter of time.
const WAITS_MOST: f64 = 4.0;
const LOG_MOST: f64 = 5.0;
/// All else is memory, now and then.
const REST_MOST: f64 = 0.2;

const DATA: [&str; 8] = ["read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg"];

/// The proxy as a process that strace watches.
struct Watched {
    strace: Child,
    trace: PathBuf,
    address: SocketAddr,
}

impl Watched {
    fn start(folder: &Path) -> Self {
        let (address, endpoint) = (peers::free_address(), peers::endpoint());
        let (config, trace) = (folder.join("evenkeel.yaml"), folder.join("trace"));
        let text = format!(
            "server: {{ threads: 1 }}\nadmin: {{ listen: off }}\n\
             access_log: {{ output: '{}/access.log', format: json }}\n\
             listeners: [{{ name: a, address: '{address}' }}]\nroutes: [{{ pool: p }}]\n\
             pools: {{ p: {{ endpoints: ['{endpoint}'], health_check: off }} }}\n",
            folder.display(),
        );
        fs::write(&config, text).expect("the folder is ours");
        let strace = Command::new("strace")
            .args(["-f", "-y", "-s", "16", "-o"])
            .arg(&trace)
            .args([env!("CARGO_BIN_EXE_evenkeel"), "run", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it has just been tried");
        let watched = Self { strace, trace, address };
        for _ in 0..1_000 {
            if TcpStream::connect(address).is_ok() {
                return watched;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the proxy does not listen");
    }

    /// Ends the proxy, and strace with it, which then has written everything.
    fn stop(&mut self) -> String {
        let trace = || fs::read_to_string(&self.trace).expect("strace has written it");
        let proxy =
            trace().split(' ').next().and_then(|pid| pid.parse().ok()).expect("a line begins with it");
        let _ = kill(Pid::from_raw(proxy), Signal::SIGKILL);
        let _ = self.strace.wait();
        trace()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

fn request(stream: &mut TcpStream, target: &str, fields: &str) {
    // In one piece: each one costs the proxy a call.
    let head = format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).expect("the request goes out");
    peers::response(stream, &mut [0; 4096]);
}

/// The calls of one request, between two requests that can be found in the trace.
fn calls_of_each(trace: &str, begin: &str, end: &str) -> BTreeMap<Kind, BTreeMap<String, f64>> {
    let mut calls: BTreeMap<Kind, BTreeMap<String, f64>> = BTreeMap::new();
    for (name, arguments) in between(trace, begin, end).filter_map(call) {
        if let Some(kind) = Kind::of(name, arguments) {
            *calls.entry(kind).or_default().entry(name.to_owned()).or_default() += 1.0 / COUNTED as f64;
        }
    }
    calls
}

fn between<'a>(trace: &'a str, begin: &str, end: &str) -> impl Iterator<Item = &'a str> {
    let lines = trace.lines().skip_while(move |line| !line.contains(begin)).skip(1);
    lines.take_while(move |line| !line.contains(end))
}

/// The name of a call, and its arguments. Of one that was interrupted only the beginning counts.
fn call(line: &str) -> Option<(&str, &str)> {
    let (_, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((name, arguments))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Data,
    Connection,
    Wait,
    Log,
    Rest,
}

impl Kind {
    /// `None`: no release makes this call.
    fn of(name: &str, arguments: &str) -> Option<Self> {
        let file = arguments.split(',').next().unwrap_or_default();
        let on_socket = file.contains("<TCP:[") || file.contains("<socket:[");
        Some(match name {
            // A debug build asks whether what it closes is open, and whether what it registers would block.
            "fcntl" if arguments.contains("F_GETF") => return None,
            _ if on_socket && DATA.contains(&name) => Self::Data,
            "poll" | "ppoll" | "accept4" | "epoll_ctl" => Self::Connection,
            "close" | "shutdown" if on_socket => Self::Connection,
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => Self::Wait,
            "write" | "writev" | "futex" | "clock_nanosleep" => Self::Log,
            _ => Self::Rest,
        })
    }
}

#[track_caller]
fn at_most(what: &str, calls: &BTreeMap<Kind, BTreeMap<String, f64>>, most: &Most) {
    println!("{what}: {calls:.2?}");
    for (kind, most) in [
        (Kind::Data, most.data),
        (Kind::Connection, most.connection),
        (Kind::Wait, WAITS_MOST),
        (Kind::Log, LOG_MOST),
        (Kind::Rest, REST_MOST),
    ] {
        let found: f64 = calls.get(&kind).into_iter().flatten().map(|(_, count)| count).sum();
        assert!(
            found <= most * 1.05,
            "{what}: {found:.2} calls ({kind:?}), at most {most} and 5 %: {calls:.2?}"
        );
    }
}

/// Why strace cannot be used here.
fn no_strace() -> Option<String> {
    match Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("strace cannot be run: {error}")),
    }
}

#[test]
fn what_requests_ask_of_the_kernel() {
    if let Some(reason) = no_strace() {
        println!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut proxy = Watched::start(folder.path());

    let mut kept = TcpStream::connect(proxy.address).expect("a connection");
    (0..WARM).for_each(|_| request(&mut kept, "/warm", ""));
    request(&mut kept, "/kept", "");
    (1..COUNTED).for_each(|_| request(&mut kept, "/x", ""));
    request(&mut kept, "/end", "");

    let on_its_own = |target: &str, fields: &str| {
        request(&mut TcpStream::connect(proxy.address).expect("a connection"), target, fields);
    };
    on_its_own("/own", "");
    (1..COUNTED).for_each(|_| on_its_own("/x", ""));
    on_its_own("/close", CLOSE);
    (1..COUNTED).for_each(|_| on_its_own("/x", CLOSE));
    on_its_own("/last", CLOSE);

    let trace = proxy.stop();
    let kept = calls_of_each(&trace, "\"GET /kept", "\"GET /end");
    // The connections that were there before may end meanwhile.
    at_most("a request", &kept, &Most { data: 4.0, connection: 1.1 });
    // Its end is received too.
    let own = calls_of_each(&trace, "\"GET /own", "\"GET /close");
    at_most("a connection and its request", &own, &Most { data: 5.0, connection: 7.0 });
    let closed = calls_of_each(&trace, "\"GET /close", "\"GET /last");
    // The end is sent before the close, and then more bytes are looked for: they would make a reset of the close.
    at_most("a connection for one request", &closed, &Most { data: 5.0, connection: 8.0 });
    // The last bytes and the end go out in one packet.
    let held =
        between(&trace, "\"GET /close", "\"GET /last").filter(|line| line.contains("MSG_MORE")).count();
    assert_eq!(held, COUNTED);
}
