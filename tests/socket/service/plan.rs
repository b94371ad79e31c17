//! `evenkeel plan FILE`: the effects before they are.

use std::fs;

use serde_json::Value;

use crate::harness::{Client, Ended, Endpoint, Gate, Proxy, eventually, nobody_listens};

fn plan(proxy: &Proxy, config: &str, more: &[&str]) -> Ended {
    let file = proxy.folder().join("next file.yaml");
    fs::write(&file, config).unwrap();
    proxy.command(&[&["plan", file.to_str().unwrap()], more].concat())
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let old = Endpoint::scripted("old", move |exchange| {
        opened.wait();
        exchange.answer("old");
    });
    let (new, dead) = (Endpoint::named("new"), nobody_listens());
    let mut proxy = Proxy::to([&old]).health_check("type: tcp, interval: 20s, timeout: 1s").start();
    proxy.wait_until(old.address(), "healthy");
    let mut held = proxy.client();
    held.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    old.wait_for_requests(1);
    let next = proxy
        .config_text()
        .replace(&old.to_string(), &format!("{new}\n      - {dead}"))
        .replace("routes:\n", "routes:\n  - { name: api, match: { paths: [/api] }, pool: default }\n")
        .replace("127.0.0.1:0", "127.0.0.2:0")
        .replace("threads: 2", "threads: 3");
    let said = plan(&proxy, &next, &[]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(3), ""));
    assert_eq!(
        said.stdout,
        format!(
            "what would change in generation 1:\nlisteners: 1 changed\n  \
             ~ default: address, moves from 127.0.0.1:0 to 127.0.0.2:0\nroutes: 1 added, 1 kept\n  \
             + api, to pool default\npools: 1 changed\n  ~ default: endpoints, its round robin starts over\n\
             endpoints: 2 added, 1 removed\n  + {} of default, a probe passed\n  \
             + {} of default, a probe failed: connection refused\n  - {} of default, drains: 1 request\n\
             server.threads: needs `evenkeel upgrade` or a restart\n",
            new.address(),
            dead.address(),
            old.address()
        )
    );
    let json = plan(&proxy, &next, &["--json"]);
    assert_eq!(json.code, Some(3));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["generation"], 1);
    assert_eq!(json["upgrade"], serde_json::json!(["server.threads"]));
    assert_eq!(json["endpoints"]["removed"][0]["name"], old.address());

    assert_eq!(proxy.status()["generation"], 1);
    assert!(proxy.endpoint_status(new.address()).is_none());
    assert_eq!(proxy.changes_of(dead.address()).len(), 0);
    gate.open();
    held.response().expect(200);
    proxy.is_unharmed(old.open());
}

#[test]
fn a_plan_that_changes_nothing_exits_0() {
    let a = Endpoint::named("a");
    let proxy = Proxy::to([&a]).start();
    let said = plan(&proxy, proxy.config_text(), &[]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        said.stdout,
        "nothing would change in generation 1\nlisteners: 1 kept\nroutes: 1 kept\npools: 1 kept\nendpoints: 1 kept\n"
    );
}

#[test]
fn an_invalid_plan_is_reported_like_a_check() {
    let a = Endpoint::named("a");
    let mut proxy = Proxy::to([&a]).start();
    let hidden = proxy.config_text().replace("routes:\n", "routes:\n  - { name: all, pool: default }\n");
    let said = plan(&proxy, &hidden, &[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""));
    assert!(
        said.stderr.contains("the route `default` gets no requests: `all` always wins"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("next file.yaml:"), "{}", said.stderr);
    for bad in ["", "{[", "listen: 5"] {
        assert_eq!(plan(&proxy, bad, &[]).code, Some(78), "{bad}");
    }
    let test = "tests:\n  - request: GET http://x.example/\n    expect: { route: none }\n";
    let said = plan(&proxy, &format!("{}{test}", proxy.config_text()), &[]);
    assert_eq!(said.code, Some(78));
    assert!(said.stderr.contains("a test fails"), "{}", said.stderr);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_successful", &[]) as u64, 1);
    proxy.is_unharmed(a.open());
}

#[test]
fn a_plan_that_cannot_be_made_fails() {
    let a = Endpoint::named("a");
    let proxy = Proxy::to([&a]).start();
    assert_eq!(proxy.command(&["plan", "/no/such/file"]).code, Some(78));
    let nobody = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["plan", proxy.config_path().to_str().unwrap(), "--admin", "unix:/no/such.sock"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(1));
}

/// A body of any kind harms nobody: too large, too short, no text, none at all.
#[test]
fn bad_bodies_are_refused() {
    let a = Endpoint::named("a");
    let mut proxy = Proxy::to([&a]).start();
    let admin = format!("unix:{}", proxy.folder().join("admin.sock").display());
    let head =
        |rest: &str| format!("POST /plan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{rest}\r\n");
    let body = proxy.config_text();
    let good =
        Client::connect(&admin).send(head(&format!("Content-Length: {}\r\n", body.len())) + body).response();
    assert_eq!(good.expect(200).header("content-type"), Some("application/json"));
    Client::connect(&admin).send(head("Content-Length: 0\r\n")).response().expect(422);
    Client::connect(&admin).send(head("")).response().expect(422);
    let not_text = [head("Content-Length: 3\r\n").as_bytes(), b"\xff\xfe\xfd"].concat();
    Client::connect(&admin).send(not_text).response().expect(400);
    let get = "GET /plan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    Client::connect(&admin).send(get).response().expect(405);
    let mut large = Client::connect(&admin);
    large.send(head("Content-Length: 17825792\r\n"));
    let piece = vec![b'#'; 1 << 20];
    for _ in 0..17 {
        if large.try_send(&piece).is_err() {
            break;
        }
    }
    if let Ok(response) = large.try_response_to("POST") {
        assert_eq!(response.status, 413);
    }
    let mut gone = Client::connect(&admin);
    gone.send(head("Content-Length: 100\r\n") + "listen:");
    gone.reset();
    eventually("no more descriptors", || (proxy.status()["generation"] == 1).then_some(()));
    proxy.is_unharmed(a.open());
}
