//! `evenkeel tap`: requests as they end, and that nothing else notices it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::harness::{Client, Endpoint, Gate, Proxy, SOON, eventually};

/// A running `evenkeel tap`, killed when dropped.
struct Tap {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Tap {
    /// Returns once the tap is open.
    fn open(proxy: &Proxy, arguments: &[&str]) -> Tap {
        let before = taps(proxy);
        let mut process = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .arg("tap")
            .args(arguments)
            .arg(format!("--admin=unix:{}", proxy.folder().join("admin.sock").display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let lines = BufReader::new(process.stdout.take().expect("it is piped"));
        taps_become(proxy, before + 1);
        Tap { process, lines }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "no more lines: {line:?}");
        line
    }

    #[track_caller]
    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// The rest of its lines, and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        (rest, self.process.wait().expect("it ends").code())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn taps(proxy: &Proxy) -> u64 {
    proxy.status()["taps"].as_u64().expect("a number")
}

#[track_caller]
fn taps_become(proxy: &Proxy, count: u64) {
    eventually(&format!("{count} taps"), || (taps(proxy) == count).then_some(()));
}

/// A request for a tap, as any HTTP client could send it.
fn asked(proxy: &Proxy, query: &str, fields: &str) -> UnixStream {
    let mut stream = UnixStream::connect(proxy.folder().join("admin.sock")).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("an option");
    let request = format!("GET /api/v1/tap?{query} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("write");
    stream
}

/// The lines of a tap are those of the access log.
#[test]
fn the_lines_are_those_of_the_access_log() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut tap = Tap::open(&proxy, &["--json"]);
    for target in ["/one", "/two?a=1"] {
        proxy.get(target).expect(200);
        assert_eq!(tap.json(), proxy.record(target).0);
    }
    let mut text = Tap::open(&proxy, &["--count", "1"]);
    proxy.get("/three").expect(200);
    let line = text.line();
    assert!(line.contains(" 200 GET     test.example/three "), "{line}");
    assert!(line.trim_end().ends_with(&format!("> {}", endpoint.address())), "{line}");
    assert_eq!(text.end(), (String::new(), Some(0)), "--count has ended it");
    taps_become(&proxy, 1);
    drop(tap);
    taps_become(&proxy, 0);
}

#[test]
fn conditions_choose_requests() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target().starts_with("/bad") {
        true => exchange.status("503 Service Unavailable", "X-Why: tired\r\n", "bad"),
        false => exchange.answer("good"),
    });
    let proxy = Proxy::to([&endpoint]).start();
    let by = |arguments: &[&str]| Tap::open(&proxy, &[arguments, &["--json"]].concat());
    let mut all = [
        by(&["--status", "5xx", "--response-headers", "x-why"]),
        by(&["--path", "/bad"]),
        by(&["-H", "x-tenant: acme", "--method", "get"]),
        by(&["--endpoint", endpoint.address(), "--route", "none,default", "-H", "x-tenant"]),
    ];
    // On one connection, whose worker tells of them in order.
    let mut client = proxy.client();
    for target in ["/good", "/badly", "/bad"] {
        let fields = if target == "/bad" { "X-Tenant: acme\r\n" } else { "X-Tenant-Of: acme\r\n" };
        client.request("GET", target, fields);
    }
    let targets = all.each_mut().map(|tap| tap.json()["target"].as_str().map(str::to_owned));
    assert_eq!(targets.map(Option::unwrap_or_default), ["/badly", "/bad", "/bad", "/bad"]);
    let shown = all[0].json();
    assert_eq!((&shown["target"], &shown["response_headers"]["x-why"]), (&"/bad".into(), &"tired".into()));

    let mut none = by(&["--share", "0%", "--for", "100ms"]);
    proxy.get("/good").expect(200);
    let mut rest = String::new();
    none.lines.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "--for has ended it");
}

/// What is likely to be a secret is masked, and root alone sees it, on the unix socket.
#[test]
fn secrets_are_for_root() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]);
    let socket = proxy.folder().join("admin.sock");
    let proxy = proxy.admin(&format!("listen: ['unix:{}', '127.0.0.1:0']", socket.display())).start();
    let mut tap =
        Tap::open(&proxy, &["--json", "--request-headers", "authorization,x-api-key,accept,referer"]);
    let fields = "Authorization: Bearer abc\r\nX-Api-Key: abc\r\nAccept: */*\r\nReferer: http://a.example/?code=abc\r\n";
    proxy.client().request("GET", "/x?token=abc&page=2", fields);
    let line = tap.json();
    assert!(!line.to_string().contains("abc"), "{line}");
    assert_eq!(line["target"], "/x?token=***&page=2");
    assert_eq!(line["request_headers"]["accept"], "*/*");
    assert_eq!(line["request_headers"]["referer"], "http://a.example/?code=***");

    if nix::unistd::geteuid().is_root() {
        let mut tap = Tap::open(&proxy, &["--json", "--secrets", "--request-headers", "authorization"]);
        proxy.client().request("GET", "/x?token=abc", fields);
        let line = tap.json();
        assert_eq!(
            (&line["target"], &line["request_headers"]["authorization"]),
            (&"/x?token=abc".into(), &"Bearer abc".into())
        );
    }
    let tcp = proxy.event("the TCP address", |event| {
        event.message() == "admin address open" && event.text("address").starts_with("127.")
    });
    let mut client = Client::connect(tcp.text("address"));
    client.send("GET /api/v1/tap?secrets=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let refused = client.response();
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("to root on the unix socket alone"), "{}", refused.text());
}

/// Who waits, and who is at an endpoint, is shown before it has ended.
#[test]
fn requests_in_flight_are_shown() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        opened.wait();
        exchange.answer("a");
    });
    let proxy = Proxy::to([&endpoint]).with("limits: { requests: 1, queue: 10, wait: 60s }").start();
    let mut tap = Tap::open(&proxy, &["--in-flight", "--json"]);
    let mut first = proxy.client();
    first.send("GET /first HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let line = tap.json();
    assert_eq!((&line["target"], &line["in_flight"]), (&"/first".into(), &"attempt".into()));
    assert_eq!(line["endpoint"], endpoint.address());
    let mut second = proxy.client();
    second.send("GET /second HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let line = tap.json();
    assert_eq!((&line["target"], &line["waiting_for"]), (&"/second".into(), &"pool".into()));
    gate.open();
    first.response().expect(200);
    second.response().expect(200);
    let rest: Vec<Value> = (0..3).map(|_| tap.json()).collect();
    let ended = |target: &str| rest.iter().any(|line| line["target"] == target && line["status"] == 200);
    assert!(ended("/first") && ended("/second"), "{rest:?}");
}

/// A reader that takes nothing: no request waits for it, memory is bounded, and it is told what it has missed.
#[test]
fn a_reader_that_sleeps_costs_lines_alone() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut sleeps = asked(&proxy, "", "");
    taps_become(&proxy, 1);
    let before = proxy.memory();
    let target = format!("/{}", "x".repeat(4000));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                (0..1000).for_each(|_| drop(client.get(&target).expect(200)));
            });
        }
    });
    proxy.grew_less_than(48 << 20, before);
    let mut text = Vec::new();
    let mut piece = [0; 64 << 10];
    while !String::from_utf8_lossy(&text).contains("{\"dropped\":") {
        let count = sleeps.read(&mut piece).expect("more");
        assert!(count > 0, "it is told");
        text.extend_from_slice(&piece[..count]);
    }
    drop(sleeps);
    taps_become(&proxy, 0);
}

/// Beside the command, any HTTP client may tap, also by server-sent events.
#[test]
fn a_tap_over_http() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut events = asked(&proxy, "count=2&route=default", "Accept: text/event-stream\r\n");
    taps_become(&proxy, 1);
    let mut client = proxy.client();
    client.get("/one").expect(200);
    client.get("/two").expect(200);
    let mut answer = String::new();
    events.read_to_string(&mut answer).expect("it ends");
    assert!(answer.to_lowercase().contains("content-type: text/event-stream\r\n"), "{answer}");
    let data: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let targets: Vec<String> = data
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["target"].to_string())
        .collect();
    assert_eq!(targets, ["\"/one\"", "\"/two\""]);

    for (query, fault) in [("rout=api", "did you mean `route`"), ("status=700", "`700` is not")] {
        let refused = proxy.admin(&format!("/api/v1/tap?{query}"));
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.text().contains(fault), "{}", refused.text());
    }
    let wrong = proxy.command(&["tap", "--status", "700"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    let open: Vec<_> = (0..16).map(|_| asked(&proxy, "", "")).collect();
    taps_become(&proxy, 16);
    let full = proxy.command(&["tap"]);
    assert_eq!(full.code, Some(1));
    assert!(full.stderr.contains("16 taps are open"), "{}", full.stderr);
    drop(open);
    taps_become(&proxy, 0);
}
