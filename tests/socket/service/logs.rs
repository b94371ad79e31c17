//! The logs: rotated, stalled, full, closed; and never in the way of a request.

use std::fs;

use nix::sys::signal::Signal::{SIGTERM, SIGUSR1};

use crate::harness::{Endpoint, Proxy, SOON, SteadyLoad, eventually};

/// After USR1 the log goes to a new file at the old path; the old file has everything until then.
#[test]
fn a_rotated_log_is_reopened() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    proxy.get("/before").expect(200);
    proxy.record("/before");
    let rotated = proxy.folder().join("access.log.1");
    fs::rename(proxy.access_log_path(), &rotated).unwrap();
    proxy.get("/between").expect(200);
    eventually("the line in the renamed file", || {
        fs::read_to_string(&rotated).unwrap().contains("/between").then_some(())
    });
    proxy.signal(SIGUSR1);
    eventually("a new file", || proxy.access_log_path().exists().then_some(()));
    proxy.get("/after").expect(200);
    proxy.record("/after");
    assert!(!fs::read_to_string(&rotated).unwrap().contains("/after"));
}

/// Rotation under load loses no line: as many as requests were sent, over all files.
#[test]
fn rotation_loses_nothing() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let steady = SteadyLoad::start(&proxy.address(), 3);
    for n in 1..=5 {
        endpoint.wait_for_requests(n * 40);
        fs::rename(proxy.access_log_path(), proxy.folder().join(format!("access.log.{n}"))).unwrap();
        proxy.signal(SIGUSR1);
        eventually("a new file", || proxy.access_log_path().exists().then_some(()));
    }
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{failures:?}");
    let lines = || -> usize {
        let files = fs::read_dir(proxy.folder()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.to_string_lossy().contains("access.log"))
            .map(|path| fs::read_to_string(path).unwrap().lines().count())
            .sum()
    };
    eventually("a line for each request", || (lines() >= sent).then_some(()));
    assert_eq!(lines(), sent);
}

/// The access log goes elsewhere, in another format, at a reload: each request has its line in one place or the other.
#[test]
fn the_access_log_moves_at_a_reload_and_loses_nothing() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let text = proxy.config_text().to_owned();
    let path = |name: &str| proxy.folder().join(name);
    let moved = |name: &str, format: &str| {
        text.replace(&proxy.access_log_path().display().to_string(), &path(name).display().to_string())
            .replace("format: json }\nlisteners", &format!("format: {format} }}\nlisteners"))
    };
    let reload = |config: &str| {
        proxy.write_config(config);
        proxy.command(&["reload"])
    };
    let steady = SteadyLoad::start(&proxy.address(), 3);
    endpoint.wait_for_requests(50);
    let said = reload(&moved("second.log", "combined"));
    assert!(said.stdout.contains("access_log: changed"), "{}{}", said.stdout, said.stderr);
    endpoint.wait_for_requests(150);
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{failures:?}");
    let lines = |name: &str| fs::read_to_string(path(name)).map_or(0, |text| text.lines().count());
    eventually("a line for each request", || {
        (lines("access.log") + lines("second.log") == sent).then_some(())
    });
    assert!(lines("access.log") > 0 && lines("second.log") > 0);
    proxy.get("/combined").expect(200);
    eventually("a line in the other format", || {
        let text = fs::read_to_string(path("second.log")).ok()?;
        text.lines().next_back().filter(|line| line.contains("\"GET /combined HTTP/1.1\" 200")).map(|_| ())
    });

    let refused = reload(&moved("no/such/folder/access.log", "json"));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the access log cannot be written"), "{}", refused.stderr);
    assert_eq!(reload(&text.replace("access_log: {", "access_log: { output: off } #")).code, Some(0));
    proxy.get("/off").expect(200);
    assert_eq!(reload(&text).code, Some(0));
    proxy.get("/on").expect(200);
    proxy.record("/on");
    assert!(proxy.records().iter().all(|record| record.text("target") != "/off"));
}

/// Sends this many requests on four connections at once, with targets that fill a pipe soon.
fn flood(proxy: &Proxy, requests: usize) {
    let target = format!("/{}", "x".repeat(500));
    let address = proxy.address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = crate::harness::Client::connect(&address);
                for _ in 0..requests / 4 {
                    client.get(&target).expect(200);
                }
            });
        }
    });
}

/// Fault 50: nobody reads standard output. Requests do not wait for it, what is lost is counted, and the process ends
/// when it is told to.
#[test]
fn a_stalled_reader_blocks_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint])
        .access_log("output: stdout, format: json, queue: 64")
        .with_stalled_stdout()
        .start();
    flood(&proxy, 1200);
    assert_eq!(endpoint.count(), 1200);
    let dropped = proxy.metric("evenkeel_log_dropped_total", &[]);
    assert!(dropped > 500.0, "{dropped} lines were dropped");
    proxy.is_unharmed(endpoint.open());
    proxy.signal(SIGTERM);
    let ended = proxy.ended_within(SOON);
    assert_eq!(ended.code, Some(0));
}

/// Fault 49: the disk is full. The same holds.
#[test]
fn a_full_disk_blocks_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).access_log("output: /dev/full, format: json").start();
    flood(&proxy, 400);
    eventually("lost lines to be counted", || {
        (proxy.metric("evenkeel_log_dropped_total", &[]) as u64 >= 400).then_some(())
    });
    proxy.event("a line that says so", |event| ["error", "warn"].contains(&event.level()));
    proxy.is_unharmed(endpoint.open());
}

/// A reader that has closed the pipe does not end the process.
#[test]
fn a_closed_pipe_ends_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy =
        Proxy::to([&endpoint]).access_log("output: stdout, format: json").with_closed_stdout().start();
    flood(&proxy, 400);
    proxy.is_unharmed(endpoint.open());
}

/// On standard output, JSON where it is no terminal.
#[test]
fn the_access_log_goes_to_standard_output() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).access_log("output: stdout").start();
    proxy.get("/x").expect(200);
    eventually("a line", || {
        let lines = proxy.stdout();
        let line = lines.iter().find(|line| line.contains("/x"))?;
        serde_json::from_str::<serde_json::Value>(line).ok().filter(|record| record["status"] == 200)
    });
}

/// `combined` is what the tools of others read.
#[test]
fn the_combined_format() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    let output = format!("output: \"{}\", format: combined", builder.access_log_path().display());
    let proxy = builder.access_log(&output).start();
    let fields = "User-Agent: test \"quoted\"\r\nReferer: http://x.example/\r\nConnection: close\r\n";
    proxy.client().request("GET", "/x?y=1", fields).expect(200);
    let line = eventually("a line", || {
        let text = fs::read_to_string(proxy.access_log_path()).ok()?;
        text.ends_with('\n').then_some(text)
    });
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("] \"GET /x?y=1 HTTP/1.1\" 200 1 \"http://x.example/\" \"test "), "{line}");
    assert_eq!(line.lines().count(), 1);
}

/// What a client writes into its fields cannot make lines of its own, or colours, in any format.
#[test]
fn clients_cannot_forge_lines() {
    let endpoint = Endpoint::named("a");
    for format in ["json", "text", "combined"] {
        let builder = Proxy::to([&endpoint]);
        let output = format!("output: \"{}\", format: {format}", builder.access_log_path().display());
        let proxy = builder.access_log(&output).start();
        let mut client = proxy.client();
        client.send(
            b"GET /x HTTP/1.1\r\nHost: test.example\r\nUser-Agent: a\x1b[31m\xc2\x9b\"} \\ \xff\tb\r\n\r\n"
                .as_slice(),
        );
        let status = client.response().status;
        assert!([200, 400].contains(&status), "{status}");
        if status == 200 {
            let line = eventually("a line", || {
                let bytes = fs::read(proxy.access_log_path()).ok()?;
                bytes.ends_with(b"\n").then_some(bytes)
            });
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let control = line[..line.len() - 1].iter().find(|byte| **byte < 0x20 || **byte == 0x7f);
            assert_eq!(control, None, "{}", String::from_utf8_lossy(&line));
            assert!(std::str::from_utf8(&line).is_ok_and(|line| !line.contains('\u{9b}')));
        }
    }
}

/// Events keep to their level.
#[test]
fn the_level_is_kept() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]).health_check("type: tcp, interval: 100ms, timeout: 1s");
    let proxy = builder.log("level: error, format: json").spawn();
    eventually("it to serve", || {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| proxy.status())).ok()?;
        (status["state"] == "ready").then_some(())
    });
    assert!(proxy.events().iter().all(|event| event.level() == "error"), "{}", proxy.stderr());
}

/// Text where it is asked for: a line of it is for people.
#[test]
fn events_as_text() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).log("level: info, format: text").spawn();
    eventually("ready", || proxy.stderr().lines().any(|line| line.contains("ready")).then_some(()));
    assert!(proxy.stderr().lines().any(|line| line.contains("INFO") && line.contains("listening")));
    assert!(proxy.events().is_empty(), "this is JSON: {}", proxy.stderr());
}

/// `evenkeel log` changes the level at once, goes back by itself, and each change is an event, whatever the levels.
#[test]
fn the_log_level_is_changed_and_comes_back() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).log("level: info, format: json").start();
    let level = |message: &str, level: &str| {
        let meets =
            |event: &crate::harness::Event| event.message() == message && event.text("log_level") == level;
        proxy.event(&format!("{message}: {level}"), meets)
    };
    let said = proxy.command(&["log", "error"]);
    assert_eq!(said.stdout, "the event log's level is error (file: info) until `evenkeel log reset`\n");
    let set = level("log level set", "error");
    assert!(set.text("by").starts_with("uid ") && set.text("until") == "log reset");
    let status = proxy.status()["log_level"].clone();
    assert_eq!((&status["level"], &status["file"]), (&"error".into(), &"info".into()));
    let shown = proxy.command(&["status"]).stdout;
    assert!(shown.contains("by hand: event log's level error (file: info), by uid "), "{shown}");

    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert_eq!(proxy.status()["log_level"]["level"], "error", "a reload keeps it");
    let said = proxy.command(&["log", "reset"]);
    assert_eq!(said.stdout, "the event log's level is info, that of the file\n");
    level("log level reset", "info");

    let said = proxy.command(&["log", "debug", "--for", "100ms", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!((&said["level"], &said["file"]), (&"debug".into(), &"info".into()));
    assert!(said["until"].is_number());
    level("log level set", "debug");
    proxy.event("its end", |event| event.message() == "log level reset" && event.text("by") == "its end");
    assert_eq!(proxy.status()["log_level"], serde_json::json!({ "level": "info" }));

    for (arguments, fault) in [
        (&["log", "loud"][..], "`loud` is not a level"),
        (&["log", "reset", "--for", "1m"][..], "has no `--for`"),
    ] {
        let said = proxy.command(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}");
        assert!(said.stderr.contains(fault), "{}", said.stderr);
    }
}

/// Beside what all have, lines have the header fields and cookies that the config names; a reload changes which.
#[test]
fn chosen_header_fields_are_logged() {
    let endpoint = Endpoint::scripted("a", |exchange| exchange.answer_with("X-Version: 7\r\n", "a"));
    let proxy = Proxy::to([&endpoint]);
    let path = proxy.access_log_path().display().to_string();
    let log = |keys: &str| format!("output: \"{path}\", format: json, {keys}");
    let keys = "request_headers: [X-Tenant], response_headers: [x-version], cookies: [lang]";
    let proxy = proxy.access_log(&log(keys)).start();
    let fields = "X-Tenant: acme\r\nX-Tenant: \"two\"\r\nCookie: session=abc; lang=de\r\n";
    proxy.client().request("GET", "/one", fields).expect(200);
    let line = proxy.record("/one").0;
    assert_eq!(line["request_headers"], serde_json::json!({ "x-tenant": "acme, \"two\"" }));
    assert_eq!(line["response_headers"], serde_json::json!({ "x-version": "7" }));
    assert_eq!(line["cookies"], serde_json::json!({ "lang": "de" }));
    proxy.get("/none").expect(200);
    assert!(proxy.record("/none").0.get("request_headers").is_none());

    let other = proxy
        .config_text()
        .replace(keys, "fields: [target, client_address, request_headers], request_headers: [accept]");
    proxy.write_config(&other);
    let reloaded = proxy.command(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    proxy.client().request("GET", "/two", &format!("{fields}Accept: */*\r\n")).expect(200);
    let expected = serde_json::json!({
        "target": "/two", "client_address": "127.0.0.1", "request_headers": { "accept": "*/*" }
    });
    assert_eq!(proxy.record("/two").0, expected);
}

/// What failed has a line, and of the rest a share; metrics count all.
#[test]
fn a_sample_keeps_all_failures() {
    let endpoint = Endpoint::scripted("a", |exchange| match exchange.target().starts_with("/bad") {
        true => exchange.status("503 Service Unavailable", "", "bad"),
        false => exchange.answer("good"),
    });
    let proxy = Proxy::to([&endpoint]);
    let path = proxy.access_log_path().display().to_string();
    let log = format!("output: \"{path}\", format: json, sample: {{ rest: 20% }}");
    let proxy = proxy.access_log(&log).with("outliers: off").start();
    let mut client = proxy.client();
    for number in 0..400 {
        client.get(&format!("/good/{number}")).expect(200);
        if number % 40 == 0 {
            client.get("/bad").expect(503);
        }
    }
    let bad = proxy.records_of("/bad", 10);
    assert!(bad.iter().all(|record| record.0.get("sampled").is_none()));
    let records = proxy.records();
    let good: Vec<_> = records.iter().filter(|record| record.status() == 200).collect();
    assert!((40..130).contains(&good.len()), "{} of 400", good.len());
    assert!(good.iter().all(|record| record.0["sampled"] == 0.2));
    assert!(proxy.metric("evenkeel_requests_total", &[]) >= 410.0);
}
