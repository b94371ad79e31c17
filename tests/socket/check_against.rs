//! `evenkeel check --against` on the log of a process: what its own config would do again, and what another one would not.

use std::process::{Command, Output};

use crate::harness::{Endpoint, Proxy, eventually};

fn check(proxy: &Proxy, config: &str, arguments: &[&str]) -> Output {
    let file = proxy.folder().join("other.yaml");
    std::fs::write(&file, config).expect("the folder is ours");
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("check")
        .arg(file)
        .arg("--against")
        .arg(proxy.access_log_path())
        .args(arguments)
        .output()
        .expect("the binary was built")
}

#[test]
fn a_config_agrees_with_its_own_log_and_another_one_says_where_not() {
    let [web, api] = ["web", "api"].map(Endpoint::named);
    let proxy = Proxy::config()
        .routes(&[
            "name: web, pool: web",
            "name: api, match: { hosts: [api.example.com] }, pool: api, rewrite: { add_prefix: /v1 }",
            "name: beta, match: { headers: { X-Beta: \"1\" } }, pool: api",
            "name: old, match: { paths: [/old] }, redirect: \"/new{path}\"",
            "name: closed, match: { paths: [/closed] }, deny: [127.0.0.0/8], pool: web",
            "name: few, match: { paths: [/few] }, rate_limit: { rate: 1/h, burst: 2 }, pool: web",
            "name: both, match: { paths: [/both] }, split: [{ pool: web }, { pool: api }]",
        ])
        .pool("web", [&web])
        .pool("api", [&api])
        .start();
    let requests = [
        "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /a/../b?c HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: example.com\r\nX-Beta: 1\r\n\r\n",
        "GET /old HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /closed HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /few HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /few HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /few HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc",
        "GET /x\u{fc} HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    ];
    for request in requests {
        let mut client = proxy.client();
        client.send(request);
        client.response();
    }
    for _ in 0..20 {
        proxy.client().get("/both");
    }
    let lines = requests.len() + 20;
    eventually("all lines", || (proxy.records().len() == lines).then_some(()));

    let same = check(&proxy, proxy.config_text(), &[]);
    let said = String::from_utf8_lossy(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&same.stderr));
    assert!(said.starts_with(&format!("{lines} requests from 20")), "{said}");
    assert!(said.contains(&format!(": {lines} as before (100.0 %), 0 otherwise\n")), "{said}");

    let config = proxy.config_text().replace("deny: [127.0.0.0/8], ", "").replace("burst: 2", "burst: 1");
    let other = check(&proxy, &config, &["--json"]);
    assert_eq!(other.status.code(), Some(3), "{}", String::from_utf8_lossy(&other.stderr));
    let report: serde_json::Value = serde_json::from_slice(&other.stdout).expect("JSON");
    assert_eq!((&report["different"], &report["lines"]), (&2.into(), &lines.into()), "{report:#}");
    let groups = report["groups"].as_array().expect("a list");
    let find = |what: &str| groups.iter().find(|group| group["now"]["what"] == what).expect(what);
    let opened = find("forwarded");
    assert_eq!((&opened["was"]["cause"], &opened["now"]["route"]), (&"denied".into(), &"closed".into()));
    assert_eq!(opened["example"]["request"], "GET example.com/closed");
    assert_eq!(
        (&find("refused")["now"]["by"], &find("refused")["now"]["status"]),
        (&"client".into(), &429.into())
    );
}

#[test]
fn a_log_that_cannot_be_read_is_no_log_without_differences() {
    let endpoint = Endpoint::named("one");
    let proxy = Proxy::to([&endpoint]).start();
    std::fs::write(proxy.access_log_path(), "nonsense\n").expect("the folder is ours");
    let output = check(&proxy, proxy.config_text(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    let why = "not read: 1 lines, the first is line 1: it is neither JSON nor in the combined format\n";
    assert!(said.ends_with(why), "{said}");
    // As after its rotation.
    std::fs::write(proxy.access_log_path(), "").expect("the folder is ours");
    assert_eq!(check(&proxy, proxy.config_text(), &[]).status.code(), Some(1));
    std::fs::remove_file(proxy.access_log_path()).expect("the folder is ours");
    let output = check(&proxy, proxy.config_text(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: cannot read ") && said.contains("No such file"), "{said}");
}
