//! What is shipped for Prometheus and Grafana: the rules with their tests, and every query, put to a real Prometheus that
//! scrapes a real proxy.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::harness::{Authority, Client, Endpoint, Proxy, nobody_listens, within};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");
const ALERT_TESTS: &str = include_str!("../../../deploy/prometheus/alerts_test.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/evenkeel.json");
const METRICS: &str = include_str!("../../../docs/metrics.md");

/// The binary of that name, in the path or where `scripts/setup.sh tests` puts it; `None`, with the reason said, where it
/// is neither.
fn tool(name: &str) -> Option<PathBuf> {
    let own = PathBuf::from(format!("{ROOT}/target/tools/bin/{name}"));
    let found = [PathBuf::from(name), own].into_iter().find(|path| {
        Command::new(path).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    if found.is_none() {
        eprintln!("skipped: {name} is not here: `scripts/setup.sh tests` fetches it");
    }
    found
}

fn passed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn matches<'a>(expression: &str, text: &'a str) -> Vec<&'a str> {
    let expression = Regex::new(expression).expect("an expression");
    expression.captures_iter(text).map(|found| found.get(1).expect("a group").as_str()).collect()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn the_rules_pass_their_tests() {
    let Some(promtool) = tool("promtool") else { return };
    let folder = Path::new(ROOT).join("deploy/prometheus");
    let run = |arguments: &[&str]| {
        passed(&Command::new(&promtool).args(arguments).current_dir(&folder).output().unwrap())
    };
    run(&["check", "rules", "alerts.yaml"]);
    run(&["test", "rules", "alerts_test.yaml"]);
}

/// Needs no promtool: each alert has a test in which it fires, and one in which it does not; and whatever a rule or a
/// panel asks for is a metric that there is.
#[test]
fn each_alert_is_tested_and_each_metric_is_there() {
    let alerts = matches(r"(?m)^ +- alert: (\w+)$", ALERTS);
    assert!(alerts.len() >= 20, "{alerts:?}");
    for alert in &alerts {
        assert!(ALERT_TESTS.contains(&format!("alertname: {alert}, exp_alerts: [] }}")), "{alert}");
        assert!(ALERT_TESTS.contains(&format!("alertname: {alert}\n        exp_alerts:\n")), "{alert}");
    }
    let documented: BTreeSet<&str> = matches(r"(?m)^\| `(\w+)` \|", METRICS).into_iter().collect();
    let asked = [ALERTS, DASHBOARD].map(|text| matches(r"\b((?:evenkeel|process)_\w+)", text));
    for name in asked.into_iter().flatten() {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let known = documented.contains(name) || family.is_some_and(|family| documented.contains(family));
        assert!(known, "no metric {name}");
    }
}

/// A proxy with something of everything: TLS, two pools, an endpoint that is down, a limit, a source of endpoints.
struct Watched {
    proxy: Proxy,
    authority: Authority,
    admin: String,
    _endpoint: Endpoint,
}

impl Watched {
    fn start() -> Self {
        let endpoint = Endpoint::scripted("a", |exchange| match exchange.target() {
            "/broken" => exchange.status("503 Service Unavailable", "", ""),
            _ => exchange.answer("a"),
        });
        let (authority, admin) = (Authority::new(), free_address());
        let dead = nobody_listens();
        let proxy = Proxy::to([&endpoint, &dead])
            .with("retry: { on: [connect, 503] }")
            .health_check("type: tcp, interval: 200ms, timeout: 100ms, healthy_after: 1, unhealthy_after: 1")
            .pool("other", [&endpoint])
            .with("limits: { requests: 10 }")
            .routes(&[
                "name: other, match: { paths: [/other] }, pool: other",
                "name: default, pool: default",
            ]);
        let issued = authority.issue(proxy.folder(), "a", &["a.example"]);
        let socket = proxy.folder().join("admin.sock");
        let proxy = proxy
            .admin(&format!("listen: ['unix:{}', '{admin}']", socket.display()))
            .listen("plain", "127.0.0.1:0")
            .listen("secure", "127.0.0.1:0")
            .listening_with(&crate::tls::tls(&[&issued], ""))
            .start();
        Self { proxy, authority, admin, _endpoint: endpoint }
    }

    /// A little of each kind.
    fn ask(&self) {
        let mut client = self.proxy.client();
        for target in ["/", "/other", "/broken", "/", "/"] {
            client.get(target);
        }
        drop(self.authority.client().connect(&self.proxy.address_of("secure"), "a.example"));
    }
}

struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(binary: &Path, folder: &Path, scraped: &str) -> Self {
        let address = free_address();
        let config = folder.join("prometheus.yaml");
        let text = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms }}\n\
             rule_files: ['{ROOT}/deploy/prometheus/alerts.yaml']\n\
             scrape_configs:\n- job_name: evenkeel\n  static_configs: [{{ targets: ['{scraped}'] }}]\n"
        );
        fs::write(&config, text).unwrap();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .spawn()
            .expect("it has said its version");
        Self { child, address }
    }

    /// What it answers at that path; `None`: it does not answer yet.
    fn get(&self, target: &str) -> Option<Value> {
        std::net::TcpStream::connect(&self.address).ok()?;
        let response = Client::connect(&self.address).get(target);
        serde_json::from_str(response.text()).ok()
    }

    /// The samples of an instant query.
    fn query(&self, query: &str) -> Option<Result<Vec<Value>, String>> {
        let answer = self.get(&format!("/api/v1/query?query={}", percent_encoded(query)))?;
        match answer["status"].as_str()? {
            "success" => Some(Ok(answer["data"]["result"].as_array()?.clone())),
            _ => Some(Err(format!("{query}: {answer}"))),
        }
    }

    #[track_caller]
    fn samples(&self, query: &str) -> usize {
        self.query(query).expect("it answers").unwrap_or_else(|error| panic!("{error}")).len()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// The expressions of all panels, with what Grafana would put in for its variables.
fn panel_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().expect("a query"));
    expressions
        .map(|query| Regex::new(r"\$(instance|route|pool)").unwrap().replace_all(query, ".*").into_owned())
        .map(|query| query.replace("$__rate_interval", "5s"))
        .collect()
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_has_an_answer() {
    let (Some(prometheus), Some(promtool)) = (tool("prometheus"), tool("promtool")) else { return };
    let watched = Watched::start();
    watched.ask();

    let mut check = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(watched.proxy.metrics().as_bytes()).unwrap();
    assert_eq!(passed(&check.wait_with_output().unwrap()), "");

    let prometheus = Prometheus::start(&prometheus, watched.proxy.folder(), &watched.admin);
    // Several scrapes, with requests between them.
    within(Duration::from_secs(60), "Prometheus to have scraped", || {
        watched.ask();
        let scrapes = prometheus.query("count_over_time(evenkeel_build_info[1m]) >= 8")?.unwrap_or_default();
        (!scrapes.is_empty()).then_some(())
    });
    let queries = panel_queries();
    assert!(queries.len() >= 50, "{queries:?}");
    let empty: Vec<_> = queries.iter().filter(|query| prometheus.samples(query) == 0).collect();
    assert!(empty.is_empty(), "without an answer: {empty:#?}");

    let rules = prometheus.get("/api/v1/rules").expect("it answers");
    let rules: Vec<&Value> = rules["data"]["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect();
    assert_eq!(rules.len(), matches(r"(?m)^ +- alert: (\w+)$", ALERTS).len());
    for rule in rules {
        let query = rule["query"].as_str().expect("a query");
        assert_ne!(rule["health"], "err", "{rule}");
        // The alert may be silent; what it looks at must be there.
        prometheus.samples(query);
        for selector in matches(r#"\b((?:evenkeel|process)_\w+(?:\{[^}]*\})?)"#, query) {
            let is_source = selector.starts_with("evenkeel_source_");
            assert!(is_source || prometheus.samples(selector) > 0, "{selector} of {}", rule["name"]);
        }
    }
}
