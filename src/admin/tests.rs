use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::address::RuntimeDirs;
use super::client::{self, ClientError, Request, Response};
use super::status::{LogDropped, ProcessState};
use super::*;
use crate::config::{self, AdminListen};
use crate::telemetry::events::LogLevelStatus;
use crate::telemetry::tap::Taps;

/// A process with nothing in it.
pub(super) struct Idle {
    pub(super) ready: Result<(), String>,
    pub(super) file: Option<PathBuf>,
    pub(super) taps: Taps,
}

#[async_trait::async_trait]
impl Process for Idle {
    fn incidents(&self) -> Result<Vec<incident::IncidentStatus>, String> {
        Err("nothing happens here".to_owned())
    }

    fn incident(&self, _name: &str) -> Result<String, String> {
        Err("nothing happens here".to_owned())
    }

    fn events(&self) -> Vec<u8> {
        Vec::new()
    }

    fn status(&self) -> Status {
        Status {
            version: "1.2.3".into(),
            pid: 42,
            file: None,
            generation: 7,
            confirm_seconds: None,
            started: 1.5,
            uptime_seconds: 2.5,
            state: ProcessState::Ready,
            listeners: Vec::new(),
            routes: Vec::new(),
            rate_limits: Vec::new(),
            mirrors: Vec::new(),
            pools: Vec::new(),
            log_dropped: LogDropped::default(),
            taps: 0,
            log_level: LogLevelStatus::default(),
            last_incident: None,
        }
    }

    fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }

    fn metrics(&self) -> String {
        "evenkeel_build_info{version=\"1.2.3\"} 1\n".into()
    }

    fn explain(&self, request: &ExplainRequest) -> Result<String, String> {
        match request.url.as_str() {
            "bad" => Err("a bad URL".into()),
            _ => Ok(format!("{{\"method\":\"{}\"}}", request.method)),
        }
    }

    fn taps(&self) -> &Taps {
        &self.taps
    }

    async fn perform(&self, operation: Operation, _caller: &Caller) -> OperationOutcome {
        let never = matches!(&operation, Operation::Plan { text, .. } if text == "never");
        if never || operation == Operation::Upgrade {
            return std::future::pending().await;
        }
        match self.ready {
            Ok(()) => OperationOutcome::done(format!("{operation:?}\n")),
            Err(_) => OperationOutcome { verdict: Verdict::InvalidConfig, text: "wrong\n".into() },
        }
    }
}

/// A running admin server, and the runtime it runs on.
struct Running {
    runtime: Runtime,
    task: JoinHandle<()>,
    address: Address,
}

impl Running {
    fn start(config: &config::Admin) -> Running {
        Running::start_with(config, Ok(()))
    }

    fn start_with(config: &config::Admin, ready: Result<(), String>) -> Running {
        Running::start_process(config, Idle { ready, file: None, taps: Taps::default() })
    }

    fn start_process(config: &config::Admin, process: Idle) -> Running {
        let socket = bind(config).expect("bind");
        let address = socket.address().clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("runtime");
        let task = runtime.spawn(async move { socket.serve(Arc::new(process)).await.expect("serve") });
        Running { runtime, task, address }
    }

    fn get(&self, path: &str) -> Response {
        client::send(&self.address, Request::get(path), None).expect("an answer")
    }

    fn stop(self) {
        self.task.abort();
        let ended = self.runtime.block_on(self.task);
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    /// Sends bytes as they are over TCP, and reads to the end.
    fn raw(&self, request: &str) -> String {
        let Address::Tcp(address) = self.address else { panic!("not TCP") };
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }

    /// The status for a GET with these header lines.
    fn status(&self, path: &str, headers: &str) -> u16 {
        let answer = self.raw(&format!("GET {path} HTTP/1.1\r\n{headers}\r\n"));
        answer
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{answer:?} for {headers:?}"))
    }
}

fn admin(listen: AdminListen) -> config::Admin {
    config::Admin { listen: vec![listen], token: None, metrics_endpoints: 1000 }
}

fn bind(config: &config::Admin) -> Result<AdminSocket, BindError> {
    AdminSocket::bind(config, &config.listen[0])
}

fn unix(path: &Path) -> config::Admin {
    admin(AdminListen::Unix(path.to_owned()))
}

fn tcp(token: Option<&str>) -> config::Admin {
    let address: SocketAddr = ([127, 0, 0, 1], 0).into();
    config::Admin { token: token.map(config::Secret::new), ..admin(AdminListen::Tcp(address)) }
}

fn temporary() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("run/admin.sock");
    (directory, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

fn bind_error(config: &config::Admin) -> String {
    let error = bind(config).expect_err("must be refused").to_string();
    assert_eq!(error.lines().count(), 1);
    error
}

#[test]
fn a_unix_socket_answers_and_is_removed_at_the_end() {
    let (_directory, path) = temporary();
    let running = Running::start(&unix(&path));
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(path.parent().expect("parent")) & !0o750, 0, "nothing for others");
    assert_eq!(running.get("/livez"), Response { status: 200, body: "ok\n".into() });
    assert_eq!(running.get("/readyz"), Response { status: 200, body: "ok\n".into() });
    assert_eq!(running.get("/metrics").body, "evenkeel_build_info{version=\"1.2.3\"} 1\n");
    let status: Status = serde_json::from_str(&running.get("/status").body).expect("JSON");
    assert_eq!((status.pid, status.generation, status.state), (42, 7, ProcessState::Ready));
    for path in ["/", "/status/", "/metricsx", "/livez/../status"] {
        assert_eq!(running.get(path).status, 404, "{path}");
    }
    assert_eq!(running.get("/livez?verbose=1").status, 200);
    running.stop();
    assert!(!path.exists());
}

#[test]
fn not_ready_is_503_with_the_reason() {
    let (_directory, path) = temporary();
    let running = Running::start_with(&unix(&path), Err("draining".into()));
    assert_eq!(running.get("/readyz"), Response { status: 503, body: "draining\n".into() });
    assert_eq!(running.get("/livez").status, 200);
}

#[test]
fn a_socket_left_over_is_taken_over() {
    let (_directory, path) = temporary();
    fs::create_dir(path.parent().expect("parent")).expect("mkdir");
    drop(UnixListener::bind(&path).expect("bind"));
    assert!(path.exists());
    assert_eq!(Running::start(&unix(&path)).get("/livez").status, 200);
}

#[test]
fn a_socket_on_which_somebody_answers_is_left_alone() {
    let (_directory, path) = temporary();
    let running = Running::start(&unix(&path));
    let error = bind_error(&unix(&path));
    assert!(
        error.contains("another process answers on") && error.contains(&*path.to_string_lossy()),
        "{error}"
    );
    assert_eq!(running.get("/livez").status, 200);
}

#[test]
fn a_process_that_hangs_keeps_its_socket_and_holds_up_no_start() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("admin.sock");
    let socket = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("socket");
    let address = socket2::SockAddr::unix(&path).expect("short");
    let hanging = socket();
    hanging.bind(&address).expect("bind");
    hanging.listen(0).expect("listen");
    let connect = |_| {
        let client = socket();
        client.set_nonblocking(true).expect("an option");
        client.connect(&address).ok().map(|()| client)
    };
    let waiting: Vec<_> = (0..100).map_while(connect).collect();
    assert!((1..100).contains(&waiting.len()));
    let (sender, refused) = std::sync::mpsc::channel();
    let config = unix(&path);
    std::thread::spawn(move || sender.send(bind_error(&config)));
    let error = refused.recv_timeout(std::time::Duration::from_secs(60)).expect("it does not hang");
    assert!(error.contains("another process answers on"), "{error}");
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (directory, _) = temporary();
    let path = directory.path().join("precious");
    fs::write(&path, "data").expect("write");
    let error = bind_error(&unix(&path));
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("read"), "data");
}

#[test]
fn a_successors_socket_is_not_removed() {
    let (_directory, path) = temporary();
    let old = bind(&unix(&path)).expect("bind");
    fs::remove_file(&path).expect("remove");
    let new = bind(&unix(&path)).expect("bind");
    drop(old);
    assert!(path.exists());
    drop(new);
    assert!(!path.exists());
}

#[test]
fn addresses_that_cannot_be_bound_are_named() {
    let (directory, _) = temporary();
    let long = directory.path().join("x".repeat(120));
    assert!(bind_error(&unix(&long)).contains("cannot listen on the admin address unix:"));
    let file = directory.path().join("file");
    fs::write(&file, "").expect("write");
    assert!(bind_error(&unix(&file.join("admin.sock"))).contains("cannot create"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address");
    let error = bind_error(&admin(AdminListen::Tcp(address)));
    assert!(error.contains(&format!("{address}: Address already in use")), "{error}");
    let open = ([0, 0, 0, 0], 0).into();
    let error = bind_error(&admin(AdminListen::Tcp(open)));
    assert!(error.contains("token"), "{error}");
}

/// Everything that the default address depends on lies in a directory of the test.
fn runtime_dirs(directory: &TempDir) -> RuntimeDirs {
    let path = |name: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(&path).expect("mkdir");
        path
    };
    RuntimeDirs { run: path("run"), runtime: Some(path("runtime")), tmp: path("tmp"), home: None, uid: 1000 }
}

/// A path below a file, where not even root can create anything.
fn nowhere(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("file");
    fs::write(&path, "").expect("write");
    path
}

fn bind_default(runtime_dirs: &RuntimeDirs) -> AdminSocket {
    AdminSocket::bind_in(&admin(AdminListen::Default), &AdminListen::Default, runtime_dirs).expect("bind")
}

fn address_of(path: PathBuf) -> Address {
    Address::Unix(path)
}

#[test]
fn a_second_process_takes_a_name_with_its_pid_and_says_so() {
    let directory = TempDir::new().expect("tempdir");
    let runtime_dirs = runtime_dirs(&directory);
    let first = bind_default(&runtime_dirs);
    let default = runtime_dirs.run.join("evenkeel/admin.sock");
    assert_eq!((first.address(), first.instead_of()), (&address_of(default.clone()), None));
    let second = bind_default(&runtime_dirs);
    let own = default.with_file_name(format!("admin-{}.sock", std::process::id()));
    assert_eq!((second.address(), second.instead_of()), (&address_of(own.clone()), Some(&*default)));
    assert_eq!(runtime_dirs.sockets(), [default, own.clone()]);
    drop(first);
    assert_eq!(runtime_dirs.sockets(), [own]);
}

#[test]
fn a_process_without_rights_uses_a_directory_of_its_own() {
    let directory = TempDir::new().expect("tempdir");
    let mut runtime_dirs = runtime_dirs(&directory);
    runtime_dirs.run = nowhere(&directory);
    let socket = bind_default(&runtime_dirs);
    assert_eq!(socket.address(), &address_of(directory.path().join("runtime/evenkeel/admin.sock")));
    drop(socket);
    runtime_dirs.runtime = None;
    let socket = bind_default(&runtime_dirs);
    let private = runtime_dirs.tmp.join("evenkeel-1000");
    assert_eq!(socket.address(), &address_of(private.join("admin.sock")));
    assert_eq!(mode(&private), 0o700);
    assert_eq!(fs::metadata(&private).expect("metadata").uid(), nix::unistd::geteuid().as_raw());
}

#[test]
fn a_directory_that_others_may_open_is_not_trusted() {
    let directory = TempDir::new().expect("tempdir");
    let mut runtime_dirs = runtime_dirs(&directory);
    runtime_dirs.run = nowhere(&directory);
    runtime_dirs.runtime = None;
    let place = runtime_dirs.tmp.join("evenkeel-1000");
    let config = admin(AdminListen::Default);
    let refused =
        || AdminSocket::bind_in(&config, &AdminListen::Default, &runtime_dirs).expect_err("must be refused");
    fs::create_dir(&place).expect("mkdir");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("chmod");
    assert!(matches!(refused(), BindError::NotPrivate(path) if path == place));
    fs::remove_dir(&place).expect("rmdir");
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("mkdir");
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).expect("chmod");
    std::os::unix::fs::symlink(&elsewhere, &place).expect("symlink");
    assert!(matches!(refused(), BindError::NotPrivate(path) if path == place));
}

#[test]
fn a_directory_that_somebody_else_made_first_prevents_no_start() {
    let directory = TempDir::new().expect("tempdir");
    let home = directory.path().join("home");
    fs::create_dir(&home).expect("mkdir");
    let runtime_dirs = RuntimeDirs {
        run: nowhere(&directory),
        runtime: None,
        home: Some(home.clone()),
        ..runtime_dirs(&directory)
    };
    let place = runtime_dirs.tmp.join("evenkeel-1000");
    fs::create_dir(&place).expect("mkdir");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("chmod");
    let elsewhere = home.join(".evenkeel/admin.sock");
    let socket = bind_default(&runtime_dirs);
    assert_eq!((socket.address(), socket.squatted()), (&address_of(elsewhere.clone()), Some(&*place)));
    // A process that listens in the other directory is not asked.
    let _stranger = UnixListener::bind(place.join("admin.sock")).expect("bind");
    assert_eq!(runtime_dirs.sockets(), [elsewhere]);
    drop(socket);
    let error =
        client::send_to_default_in(Request::get("/livez"), &runtime_dirs).expect_err("nobody is left");
    assert!(matches!(&error, ClientError::Squatted(path) if *path == place), "{error}");
}

#[test]
fn the_client_finds_whoever_answers_on_a_default_socket() {
    let directory = TempDir::new().expect("tempdir");
    let runtime_dirs = runtime_dirs(&directory);
    let nobody =
        client::send_to_default_in(Request::get("/livez"), &runtime_dirs).expect_err("nobody").to_string();
    assert!(nobody.starts_with("no evenkeel answers on ") && nobody.contains("runtime/evenkeel"), "{nobody}");
    // The socket of a dead process does not answer.
    fs::create_dir(runtime_dirs.run.join("evenkeel")).expect("mkdir");
    drop(UnixListener::bind(runtime_dirs.run.join("evenkeel/admin.sock")).expect("bind"));
    let living = runtime_dirs.runtime.as_ref().expect("set").join("evenkeel/admin-77.sock");
    let _running = Running::start(&unix(&living));
    assert_eq!(
        client::send_to_default_in(Request::get("/livez"), &runtime_dirs).expect("an answer").status,
        200
    );
}

/// Of several processes with default sockets, the one that runs the file.
#[test]
fn the_client_finds_the_process_that_runs_a_file() {
    let directory = TempDir::new().expect("tempdir");
    let runtime_dirs = runtime_dirs(&directory);
    let [a, b, link] = ["a.yaml", "b.yaml", "link.yaml"].map(|name| directory.path().join(name));
    for file in [&a, &b] {
        fs::write(file, "").expect("written");
    }
    std::os::unix::fs::symlink(&b, &link).expect("a symlink");
    let running = |name: &str, file: &Path| {
        let socket = runtime_dirs.run.join("evenkeel").join(name);
        Running::start_process(
            &unix(&socket),
            Idle { ready: Ok(()), file: Some(file.to_owned()), taps: Taps::default() },
        )
    };
    let _running = [running("admin.sock", &a), running("admin-77.sock", &b)];
    let ask = |file: &Path| {
        let request = Request::post("/reload?confirm=60s", "", std::time::Duration::ZERO);
        client::send_to_default_in(request.of_file(file), &runtime_dirs).expect("an answer")
    };
    for file in [&a, &b, &link] {
        assert_eq!(ask(file).status, 200, "{}", file.display());
    }
    let nobody = ask(&directory.path().join("c.yaml"));
    assert_eq!(nobody.status, 421);
    for words in ["a.yaml, not ", "c.yaml", "name "] {
        assert!(nobody.body.contains(words), "{}", nobody.body);
    }
}

#[test]
fn loopback_refuses_names_that_a_web_page_could_have() {
    let running = Running::start(&tcp(None));
    let Address::Tcp(address) = running.address else { panic!("not TCP") };
    for host in ["127.0.0.1", "localhost", "LOCALHOST:9900", "[::1]:80", &address.to_string()] {
        assert_eq!(running.status("/status", &format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9900"] {
        assert_eq!(running.status("/status", &format!("Host: {host}\r\n")), 403, "{host}");
    }
    assert_eq!(running.status("/status", ""), 403, "no Host at all");
    assert_eq!(running.get("/status").status, 200);
}

#[test]
fn a_token_is_asked_for_and_probes_need_none() {
    let running = Running::start(&tcp(Some("secret")));
    for path in ["/status", "/metrics", "/nothing"] {
        assert_eq!(running.status(path, "Host: localhost\r\n"), 401, "{path}");
    }
    for sent in ["Bearer secreT", "Bearer secret2", "Bearer ", "Basic secret", "secret", "Bearer"] {
        let headers = format!("Host: localhost\r\nAuthorization: {sent}\r\n");
        assert_eq!(running.status("/status", &headers), 401, "{sent}");
    }
    assert_eq!(running.status("/status", "Host: name.example\r\nAuthorization: Bearer secret\r\n"), 200);
    assert_eq!(
        client::send(&running.address, Request::get("/metrics"), Some("secret")).expect("an answer").status,
        200
    );
    assert_eq!(running.status("/livez", "Host: name.example\r\n"), 200);
    assert_eq!(running.status("/readyz", "Host: name.example\r\n"), 200);
}

#[test]
fn only_get_and_head() {
    let running = Running::start(&tcp(None));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!("{method} /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let answer = running.raw(&request);
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("GET, HEAD"), "{answer}");
    }
    let answer = running.raw("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.to_lowercase().contains("content-length: 3\r\n"), "{answer}");
}

#[test]
fn silent_connections_keep_nobody_out() {
    let running = Running::start(&tcp(None));
    let Address::Tcp(address) = running.address else { panic!("not TCP") };
    let mut silent = Vec::new();
    for half in [&b""[..], b"GET /livez HTTP/1.1\r\n"] {
        for _ in 0..150 {
            let mut stream = TcpStream::connect(address).expect("connect");
            stream.write_all(half).expect("write");
            silent.push(stream);
        }
        for path in ["/livez", "/readyz", "/status", "/metrics"] {
            assert_eq!(running.get(path).status, 200, "{path}");
        }
    }
    // A connection that is silent for too long is closed without a response.
    let mut last = silent.pop().expect("some");
    assert_eq!(last.read_to_end(&mut Vec::new()).expect("an end"), 0);
}

#[test]
fn orders_that_take_their_time_leave_places_for_health() {
    let (_directory, path) = temporary();
    let running = Running::start(&unix(&path));
    let order = |_| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connect");
        stream.write_all(b"POST /upgrade HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
        stream
    };
    let orders: Vec<_> = (0..64).map(order).collect();
    let crowded = loop {
        // The last of them may not have been read yet.
        let answer = running.get("/status");
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((crowded.status, crowded.body.contains("too many requests")), (503, true), "{crowded:?}");
    assert_eq!(running.get("/livez").status, 200);
    assert_eq!(running.get("/readyz").status, 200);
    drop(orders);
}

#[tokio::test(start_paused = true)]
async fn bodies_are_held_for_as_long_as_their_operations_last() {
    let (_directory, path) = temporary();
    let socket = bind(&unix(&path)).expect("bind");
    let serving =
        tokio::spawn(socket.serve(Arc::new(Idle { ready: Ok(()), file: None, taps: Taps::default() })));
    let mut plans = Vec::new();
    for _ in 0..3 {
        let mut stream = tokio::net::UnixStream::connect(&path).await.expect("connect");
        let plan = b"POST /plan HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nnever";
        stream.write_all(plan).await.expect("write");
        plans.push(stream);
    }
    let mut answer = String::new();
    plans.pop().expect("some").read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("ask again later\n"), "{answer}");
    drop(plans);
    serving.abort();
}

#[test]
fn whoever_is_no_evenkeel_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = Address::Tcp(listener.local_addr().expect("address"));
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.write_all(b"220 mail.example ESMTP\r\n").expect("write");
        let _ = stream.read(&mut [0; 1024]).expect("read");
    });
    let error = client::send(&address, Request::get("/livez"), None).expect_err("no answer");
    other.join().expect("the other one");
    assert!(matches!(error, ClientError::NotHttp(_) | ClientError::Broken { .. }), "{error}");
    let error = client::send(&address, Request::get("/livez"), None).expect_err("nobody").to_string();
    assert!(error.contains("is it running?"), "{error}");
}

#[test]
fn addresses_as_people_write_them() {
    let parse =
        |text: &str| text.parse::<Address>().map(|address| address.to_string()).map_err(|e| e.to_string());
    assert_eq!(parse("unix:/run/x.sock").as_deref(), Ok("unix:/run/x.sock"));
    assert_eq!(parse("/run/x.sock").as_deref(), Ok("unix:/run/x.sock"));
    assert_eq!(parse("127.0.0.1:9900").as_deref(), Ok("127.0.0.1:9900"));
    assert_eq!(parse("[::1]:9900").as_deref(), Ok("[::1]:9900"));
    for wrong in ["", "unix:", "9900", "127.0.0.1"] {
        assert!(parse(wrong).is_err_and(|error| error.contains("is no admin address")), "{wrong}");
    }
}
