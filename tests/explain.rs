//! `evenkeel explain --offline` as a user runs it: what it says of a file, and of what is wrong.

use std::process::{Command, Output};

const FILE: &str = r#"
listeners:
  - { name: web, address: ":80", redirect_https: 443 }
  - { name: secure, address: ":8443" }
routes:
  - { name: site, pool: site }
  - name: api
    match: { hosts: [api.example.com], paths: [/v1] }
    split: { pools: [{ pool: site, weight: 90 }, { pool: canary, weight: 10 }], sticky: { header: X-User } }
    rate_limit: { rate: 10/s, burst: 20 }
    deny: [192.0.2.0/24]
    rewrite: { strip_prefix: /v1 }
    request_headers: { set: { X-Env: prod }, remove: [X-Debug] }
    timeout: 30s
    mirror: { pool: shadow, share: 10% }
  - { name: beta, match: { hosts: [api.example.com], paths: [/v1], headers: { X-Env: beta } }, pool: canary }
  - { name: old, match: { paths: [/old] }, redirect: "https://www.example.com{path}" }
pools:
  site:
    balance: { hash: { header: X-User } }
    endpoints: [10.0.0.1:3000, { address: 10.0.0.2:3000, weight: 3 }, { address: 10.0.0.3:3000, backup: true }]
  canary: [10.0.1.1:3000]
  shadow: [10.0.2.1:3000]
"#;

fn explain(yaml: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("evenkeel.yaml");
    std::fs::write(&file, yaml).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .args(["explain", "--offline", "-c"])
        .arg(&file)
        .args(arguments)
        .output()
        .expect("the binary was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is text")
}

#[track_caller]
fn explained(arguments: &[&str]) -> String {
    let output = explain(FILE, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// The whole text, as a person sees it.
#[test]
fn a_request_is_walked_through_the_file() {
    let said = explained(&[
        "POST",
        "http://api.example.com:8443/v1//orders?x=1",
        "-H",
        "X-User: ann",
        "-H",
        "X-Debug: 1",
    ]);
    let expected = "\
POST http://api.example.com:8443/v1//orders?x=1 from 127.0.0.1, HTTP/1.1
-> to endpoint 10.0.0.2:3000 of pool site, by route api
offline: by the file alone, as if all endpoints were well and nobody had come before

listener  secure on :8443: http on port 8443
path      /v1//orders, matched as /v1/orders
routes      site  it matches, and api comes first
          > api   exact host, prefix
            beta  header x-env is missing
            old   path /v1/orders is not /old/...
policies  access           client 127.0.0.1 is in no network of deny
          rate limit       by client 127.0.0.1: 20 of 20 left at once, 10/s
          rewrite          path /orders, without the prefix /v1
          request headers  sets x-env: prod; removes x-debug
          pool             pool site by header x-user, of site (90), canary (10)
                           a copy goes to pool shadow, of 10.0 % of such requests
headers   - x-debug: 1
          + x-forwarded-for: 127.0.0.1
";
    assert!(said.starts_with(expected), "{said}");
    for words in [
        "          + x-env: prod\n",
        "          + x-forwarded-prefix: /v1\n",
        "pool      site, hash of header x-user: picks by the hash of its key\n",
        "            10.0.0.1:3000  weight 1, 25.0 % of the traffic\n",
        "          > 10.0.0.2:3000  weight 3, 75.0 % of the traffic\n",
        "            10.0.0.3:3000  weight 1, a backup\n",
        "times     deadline 30s; connect ",
        "2 retries after connect, reset, of which its method allows only those after connect; ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn the_answer_says_what_ends_the_way() {
    for (arguments, answer) in [
        (
            &["http://www.example.com/old/x"][..],
            "-> 308 Permanent Redirect: redirect to HTTPS to https://www.example.com/old/x",
        ),
        (
            &["http://www.example.com:8443/old/x"],
            "-> 308 Permanent Redirect: redirect to https://www.example.com/old/x, by route old",
        ),
        (
            &["http://api.example.com:8443/v1", "--from", "192.0.2.9"],
            "-> 403 Forbidden: `route deny 192.0.2.0/24` refuses client 192.0.2.9, by route api",
        ),
        (&["http://x:8443/../x"], "-> 400 Bad Request: bad request: the path climbs above its root"),
        (&["http://x:8443/", "-H", "Host: b\"d"], "-> 400 Bad Request: bad request: "),
    ] {
        let said = explained(arguments);
        assert!(said.contains(answer), "{answer}: {said}");
    }
}

#[test]
fn json_is_for_tools() {
    let said = explained(&["http://api.example.com:8443/v1", "--json"]);
    let explanation: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(explanation["answer"]["verdict"], "forward");
    assert_eq!(explanation["answer"]["route"], "api");
    assert!(explanation.get("generation").is_none(), "a file has none");
    assert_eq!(explanation["routes"][3]["failed"], "path");
    assert_eq!(explanation["times"]["deadline_seconds"], 30.0);
}

#[test]
fn what_is_wrong_has_the_exit_codes_of_the_other_commands() {
    for (arguments, code, words) in [
        (&["/x"][..], 2, "error: the URL /x has no host: write the whole URL"),
        (&["http://a/", "-H", "X"], 2, "error: the header field \"X\" is not written as 'Name: value'"),
        (&["http://a/", "--from", "a"], 2, "error: the client's address \"a\" is no IP address"),
        (
            &["http://a/", "--listener", "x"],
            2,
            "error: there is no listener x: the listeners are web (:80), secure (:8443)",
        ),
        (&["https://a/"], 2, "error: no listener has TLS, as https wants it"),
        (&[], 2, "evenkeel explain [OPTIONS] [METHOD] URL"),
        (&["GET", "http://a/", "more"], 2, "unexpected value 'more'"),
    ] {
        let output = explain(FILE, arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), ""), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
    let output = explain("listen: 80\n", &["http://a/"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(78), ""));
}

/// An address that nobody knows: it is told, and no process is needed.
#[test]
fn names_are_told_without_being_resolved() {
    let yaml = "listen: 127.0.0.1:8080\nendpoints: [app.internal:3000]\n";
    let output = explain(yaml, &["http://127.0.0.1:8080/"]);
    let said = text(&output.stdout);
    assert!(said.contains("app.internal:3000"), "{said}");
    assert!(said.contains("offline"), "{said}");
}
