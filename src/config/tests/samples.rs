//! The files of `conf/`: each loads, and the reference file agrees with the schema.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::*;
use crate::config::decode::DiagnosticSink;
use crate::config::tree::{self, Kind, Node};

/// Those that name files, which everybody makes for themselves.
const NEED_FILES: [&str; 2] = ["sticky.yaml", "spa.yaml"];

pub(super) fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_whole = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "yaml")
            && !NEED_FILES.iter().any(|name| path.ends_with(name))
    };
    entries.filter(is_whole).collect()
}

/// It needs a key, which everybody makes for themselves.
#[test]
fn the_sample_with_a_key_loads_with_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, config) = (folder.path().join("sticky.key"), folder.path().join("sticky.yaml"));
    std::fs::write(&key, "0a".repeat(32)).expect("a key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let text = include_str!("../../../conf/sticky.yaml")
        .replace("${STICKY_KEY:-/etc/evenkeel/sticky.key}", &key.display().to_string());
    std::fs::write(&config, text).expect("a config");
    let loaded = load(&config).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert!(loaded.config.pools[0].sticky.is_some());
}

#[test]
fn the_sample_with_pages_loads_with_them_and_passes_its_tests() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("spa.yaml");
    for page in ["404.html", "sorry.html"] {
        std::fs::write(folder.path().join(page), "<h1>a page</h1>").expect("a page");
    }
    let text = include_str!("../../../conf/spa.yaml")
        .replace("${PAGES:-/srv/pages}", &folder.path().display().to_string());
    std::fs::write(&config, text).expect("a config");
    let loaded = load(&config).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.listeners[0].errors.as_ref().map(|pages| pages.0.len()), Some(1));
    let router = crate::routing::Router::new(loaded.config.routes.iter().map(|route| &route.matches));
    for test in &loaded.config.tests {
        let route = router.find(&test.request, test.client).route();
        let route = route.map(|index| loaded.config.routes[index].name.to_string());
        assert_eq!(route, test.route, "line {}", test.line);
    }
    assert_eq!(loaded.config.tests.len(), 4);
}

#[test]
fn every_sample_loads_without_a_warning() {
    let samples = samples();
    assert!(samples.len() >= 3, "{samples:?}");
    for path in samples {
        let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

#[test]
fn the_tests_of_every_sample_pass() {
    let mut seen = 0;
    for path in samples() {
        let loaded = load(&path).unwrap_or_else(|error| panic!("{error}"));
        let tests = loaded.config.tests.len();
        let checked = crate::exchange::run_config_tests(loaded);
        assert!(checked.is_ok(), "{}", checked.err().map(|error| error.to_string()).unwrap_or_default());
        seen += tests;
    }
    assert!(seen >= 5, "only {seen} tests");
}

const REFERENCE: &str = include_str!("../../../conf/reference.yaml");

/// Keys that the reference shows in a comment, because a file cannot have them beside the others, or without files.
const IN_COMMENTS: [&str; 73] = [
    "AccessLogSection.fields",
    "SampleSection.errors",
    "SampleSection.slow",
    "SampleSection.rest",
    "SplitStickySection.set_cookie",
    "SplitStickySection.ttl",
    "SplitStickySection.header",
    "SplitStickySection.cookie",
    "SplitStickySection.query",
    "AuthSection.jwt",
    "JwtSection.jwks",
    "JwtSection.refresh",
    "JwtSection.tls",
    "JwtSection.issuer",
    "JwtSection.audience",
    "JwtSection.leeway",
    "JwtSection.cookie",
    "JwtSection.set",
    "JwtSection.user",
    "JwtSection.pass_on",
    "JwtSection.realm",
    "AuthSection.basic",
    "BasicSection.file",
    "BasicSection.realm",
    "BasicSection.user_header",
    "BasicSection.pass_on",
    "BasicSection.remember",
    "ForwardSection.tls",
    "ListenerSection.errors",
    "RouteSection.errors",
    "RewriteSection.path",
    "RewriteSection.regex",
    "RewriteSection.to",
    "RedirectHttpsSection.port",
    "RedirectHttpsSection.except",
    "RespondSection.file",
    "PoolSection.sticky",
    "StickySection.cookie",
    "StickySection.key",
    "StickySection.ttl",
    "StickySection.path",
    "StickySection.same_site",
    "FileSection.listen",
    "FileSection.endpoints",
    "ServerSection.threads",
    "HstsSection.max_age",
    "HstsSection.include_subdomains",
    "HstsSection.preload",
    "ListenerSection.socket",
    "SocketSection.mode",
    "SocketSection.owner",
    "SocketSection.group",
    "ListenerSection.tls",
    "TlsSection.certificates",
    "TlsSection.unknown_names",
    "TlsSection.min_version",
    "TlsSection.ciphers",
    "TlsSection.key_exchange",
    "TlsSection.session_tickets",
    "TlsSection.client_certificates",
    "CertificateSection.cert",
    "CertificateSection.key",
    "CertificateSection.ocsp",
    "TicketsSection.lifetime",
    "TicketsSection.keys",
    "ClientCertificatesSection.ca",
    "ClientCertificatesSection.mode",
    "PoolSection.tls",
    "PoolTlsSection.name",
    "PoolTlsSection.ca",
    "PoolTlsSection.cert",
    "PoolTlsSection.key",
    "PoolTlsSection.verify",
];

#[test]
fn the_reference_shows_every_key_of_the_schema_and_no_other() {
    let schema = schema();
    let mut shown = BTreeSet::new();
    walk(&schema, &schema, "FileSection", &reference_tree(), &mut shown);
    let mut keys = BTreeSet::new();
    let definitions = schema["$defs"].as_object().unwrap();
    let sections = definitions.iter().map(|(name, section)| (name.as_str(), section));
    for (name, section) in sections.chain([("FileSection", &schema)]) {
        keys.extend(section["properties"].as_object().unwrap().keys().map(|key| format!("{name}.{key}")));
    }
    for key in IN_COMMENTS {
        let word = key.split('.').next_back().unwrap();
        let shows = |line: &str| {
            let written = line.trim_start().strip_prefix('#').unwrap_or_default();
            written.trim_start().trim_start_matches("- ").starts_with(&format!("{word}:"))
        };
        assert!(REFERENCE.lines().any(shows), "{key}");
        shown.insert(key.to_owned());
    }
    assert_eq!(shown, keys);
    assert!(keys.len() > 60, "only {} keys", keys.len());
}

fn reference_tree() -> Node {
    tree::parse(&Source::new("reference.yaml", REFERENCE), &mut DiagnosticSink::default()).unwrap()
}

/// Walks the file and the schema together; collects `Section.key`, and compares each default.
fn walk(root: &Json, schema: &Json, name: &str, node: &Node, shown: &mut BTreeSet<String>) {
    let (schema, name) = match schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => (&root["$defs"][name], name),
        None => (schema, name),
    };
    if let Some(forms) = schema["anyOf"].as_array() {
        forms.iter().for_each(|form| walk(root, form, name, node, shown));
    }
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| walk(root, &schema["items"], name, item, shown)),
        Kind::Map(entries) if schema["properties"].is_object() => {
            for (key, value) in entries {
                let property = &schema["properties"][&key.text];
                assert!(property.is_object(), "{name} has no key {}", key.text);
                assert_default(property, value, name, &key.text);
                shown.insert(format!("{name}.{}", key.text));
                walk(root, property, name, value, shown);
            }
        }
        Kind::Map(entries) if schema["additionalProperties"].is_object() => {
            entries
                .iter()
                .for_each(|(_, value)| walk(root, &schema["additionalProperties"], name, value, shown));
        }
        _ => {}
    }
}

/// The value shown is the default, unless its line says that it is an example, or shows what only another type has.
fn assert_default(property: &Json, value: &Node, section: &str, key: &str) {
    let text = match (&value.kind, &property["default"]) {
        (_, Json::Null) => return,
        (Kind::Scalar { text, .. }, _) => text.clone(),
        _ => return,
    };
    let default = &property["default"];
    let expected = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    let is_second_example = matches!(
        (section, key),
        ("CheckSection", "type")
            | ("PoolSection", "protocol")
            | ("RouteLimitsSection" | "PoolLimitsSection", "requests")
            | ("RouteLimitsSection", "response_rate")
            | ("SplitPoolSection", "weight")
            | ("RespondSection", "status")
    );
    assert!(text == expected || is_second_example, "{section}.{key} is {text}, its default {expected}");
}

#[test]
fn every_key_of_the_reference_has_its_line_of_explanation() {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    let mut seen = 0;
    // Up to the first example of a whole route, every key is explained on its line or the one before.
    for (index, line) in lines.iter().enumerate() {
        let key = line.trim_start().trim_start_matches("- ").split_once(':').map(|(key, _)| key);
        let is_key = key.is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        let is_repeated = [
            "pool: api",
            "- name: api",
            "pool: orders",
            "- request:",
            "api:",
            "expect: { route",
            "default:",
            "v:",
        ];
        if !is_key || is_repeated.iter().any(|known| line.trim_start().starts_with(known)) {
            continue;
        }
        let before = lines[..index].iter().rev().find(|line| !line.trim().is_empty()).unwrap_or(&"");
        let is_explained = line.contains(" # ") || before.trim_start().starts_with('#');
        let is_second_pool = lines[..index].iter().any(|line| line.trim_start().starts_with("api:"));
        assert!(is_explained || is_second_pool, "line {}: {line}", index + 1);
        seen += 1;
    }
    assert!(seen > 60, "only {seen} keys");
}

#[test]
fn the_schema_describes_itself() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "evenkeel config");
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, section) in definitions.iter().chain([(&"root".to_owned(), &schema)]) {
        assert_eq!(section["additionalProperties"], false, "{name}");
        for (key, property) in section["properties"].as_object().unwrap() {
            let description = property["description"].as_str().unwrap_or("");
            assert!(description.ends_with('.'), "{name}.{key}: {description:?}");
        }
    }
    assert_eq!(schema["$defs"]["ListenerSection"]["required"], serde_json::json!(["address"]));
    assert_eq!(schema["$defs"]["LimitsSection"]["properties"]["header_size"]["default"], "32KiB");
}
