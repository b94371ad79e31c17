use super::*;
use crate::config;

const BASE: &str = "
listeners:
  - { name: web, address: \"127.0.0.1:80\" }
  - { name: side, address: \":81\" }
routes:
  - { name: api, match: { paths: [/api, { regex: \"^/v[0-9]\" }], headers: { a: { regex: \"x+\" } } }, pool: api }
  - { name: rest, pool: web }
pools:
  api: [10.0.0.1:80, { address: 10.0.0.2:80, weight: 2 }]
  web: { endpoints: [name.local:80], health_check: off }
";

fn config(text: &str) -> Config {
    config::parse(text, "t.yaml").unwrap_or_else(|report| panic!("{report}"))
}

fn diff_of(edits: &[(&str, &str)]) -> ConfigDiff {
    let mut text = BASE.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    ConfigDiff::between(&config(BASE), &config(&text))
}

fn names(items: &[DiffItem]) -> Vec<&str> {
    items.iter().map(|item| item.name.as_str()).collect()
}

#[test]
fn a_config_is_like_itself() {
    let diff = diff_of(&[]);
    assert!(diff.is_empty());
    assert_eq!(diff.text(), "listeners: 2 kept\nroutes: 2 kept\npools: 2 kept\nendpoints: 3 kept\n");
}

#[test]
fn endpoints_come_go_and_change() {
    let diff = diff_of(&[("10.0.0.1:80", "10.0.0.3:80"), ("weight: 2", "weight: 3, backup: true")]);
    assert!(!diff.is_empty());
    assert_eq!(
        diff.text(),
        "listeners: 2 kept\nroutes: 2 kept\npools: 1 changed, 1 kept\n  ~ api: endpoints, its round robin starts over\n\
         endpoints: 1 added, 1 changed, 1 removed, 1 kept\n  + 10.0.0.3:80 of api\n  \
         ~ 10.0.0.2:80 of api: weight, backup\n  - 10.0.0.1:80 of api\n"
    );
}

#[test]
fn a_pool_that_goes_takes_its_endpoints_along() {
    let diff = diff_of(&[("pool: web", "pool: api"), ("  web: {", "  new: {"), ("rest, pool", "last, pool")]);
    assert_eq!(names(&diff.pools.removed), ["web"]);
    let item = &diff.endpoints.removed[0];
    assert_eq!((item.name.as_str(), item.pool.as_deref()), ("name.local:80", Some("web")));
    assert_eq!(names(&diff.routes.added), ["last"]);
    assert_eq!(names(&diff.routes.removed), ["rest"]);
}

#[test]
fn listeners_move() {
    let diff = diff_of(&[(":81\"", "127.0.0.2:81\", limits: { connections: 5, header_count: 7 }")]);
    let item = &diff.listeners.changed[0];
    assert_eq!(item.keys, ["address", "limits"]);
    assert_eq!(item.note.as_deref(), Some("moves from :81 to 127.0.0.2:81"));
}

#[test]
fn a_regular_expression_that_is_written_otherwise_is_a_change() {
    for (old, new) in [("^/v[0-9]", "^/w[0-9]"), ("x+", "x*"), ("/api,", "/apj,")] {
        let diff = diff_of(&[(old, new)]);
        assert_eq!(diff.routes.changed[0].keys, ["match"], "{new}");
        assert_eq!(diff.routes.kept, 1);
    }
    let moved = diff_of(&[
        ("pool: web }\npools", "pool: api, timeout: 5s }\npools"),
        ("regex: \"x+\"", "present: true"),
    ]);
    assert_eq!(moved.routes.changed[1].keys, ["pool", "timeout"]);
    assert_eq!(moved.routes.changed[1].note.as_deref(), Some("goes to pool api, not to web"));
}

#[test]
fn the_order_of_routes_is_seen() {
    let rest = "  - { name: rest, pool: web }\n";
    let diff = diff_of(&[(rest, ""), ("routes:\n", &format!("routes:\n{rest}"))]);
    assert!(diff.reordered && !diff.is_empty());
    assert_eq!(diff.routes.kept, 2);
}

#[test]
fn keys_of_the_process_are_named() {
    let keys = "server: { threads: 63, drain: 31s, watch: on, state: off }\nadmin: { listen: off }\n\
                access_log: { queue: 5 }\nlog: { level: debug }\nlisteners:\n  - { name: web";
    let diff = diff_of(&[("listeners:\n  - { name: web", keys)]);
    assert_eq!(
        diff.upgrade,
        ["server.threads", "server.drain", "server.watch", "server.state", "admin.listen"]
    );
    assert!(diff.log && diff.access_log);
    assert!(diff.text().contains("server.threads: needs `evenkeel upgrade` or a restart\n"));
}

#[test]
fn many_items_are_counted() {
    let many: Vec<String> = (1..=30).map(|last| format!("10.0.1.{last}:80")).collect();
    let text = diff_of(&[("[10.0.0.1:80, {", &format!("[{}, {{", many.join(", ")))]).text();
    assert!(text.contains("endpoints: 30 added, 1 removed, 2 kept\n"), "{text}");
    assert!(text.contains("  + 10.0.1.12:80 of api\n  + and 18 more\n"), "{text}");
}

#[test]
fn a_plan_survives_its_json() {
    let mut diff = diff_of(&[("10.0.0.1:80", "10.0.0.3:80")]);
    diff.endpoints.added[0].add_note("a probe passed");
    diff.endpoints.added[0].add_note("really");
    assert_eq!(diff.endpoints.added[0].note.as_deref(), Some("a probe passed, really"));
    let plan = Plan { generation: 3, diff, warnings: String::new() };
    let json = serde_json::to_string(&plan).expect("it has no maps with odd keys");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("our own JSON"), plan);
}
