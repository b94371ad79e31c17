//! The schema against real files: it accepts every valid config, and refuses unknown keys.

use regex::Regex;
use serde_json::Value as Json;

use super::*;
use crate::config::decode::DiagnosticSink;
use crate::config::tree::{self, Kind, Node};

/// A file as an editor's YAML reader sees it.
fn json(text: &str) -> Json {
    fn of(node: &Node) -> Json {
        match &node.kind {
            Kind::Null | Kind::Broken => Json::Null,
            Kind::List(items) => items.iter().map(of).collect(),
            Kind::Map(entries) => entries.iter().map(|(key, value)| (key.text.clone(), of(value))).collect(),
            Kind::Scalar { text, plain: true } if text == "true" || text == "false" => {
                (text == "true").into()
            }
            Kind::Scalar { text, plain: true } => {
                text.parse::<i64>().map_or_else(|_| text.as_str().into(), Json::from)
            }
            Kind::Scalar { text, .. } => text.as_str().into(),
        }
    }
    of(&tree::parse(&Source::new("test", text), &mut DiagnosticSink::default()).unwrap())
}

/// A validator for the part of JSON Schema that ours uses; returns the first error.
fn judge(root: &Json, schema: &Json, value: &Json) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                judge(root, root.pointer(path).unwrap(), value)?;
                true
            }
            "type" => match rule.as_array() {
                Some(types) => types.iter().any(|one| is(one, value)),
                None => is(rule, value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "pattern" => {
                value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text))
            }
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "anyOf" => rule.as_array().unwrap().iter().any(|one| judge(root, one, value).is_ok()),
            "items" => value
                .as_array()
                .iter()
                .flat_map(|items| items.iter())
                .all(|item| judge(root, rule, item).is_ok()),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "properties" => {
                for (key, property) in value.as_object().iter().flat_map(|object| object.iter()) {
                    if let Some(schema) = rule.get(key) {
                        judge(root, schema, property).map_err(|why| format!("{key}: {why}"))?;
                    }
                }
                true
            }
            "patternProperties" => {
                let entries: Vec<_> = value.as_object().iter().flat_map(|object| object.iter()).collect();
                rule.as_object().unwrap().iter().all(|(pattern, rule)| {
                    let mut matching = entries.iter().filter(|(key, _)| matches(pattern, key));
                    matching.all(|(_, value)| judge(root, rule, value).is_ok())
                })
            }
            "additionalProperties" => {
                let patterns = schema.get("patternProperties").and_then(Json::as_object);
                value.as_object().iter().flat_map(|object| object.iter()).all(|(key, value)| {
                    let is_known = schema["properties"].get(key).is_some()
                        || patterns.is_some_and(|all| all.keys().any(|pattern| matches(pattern, key)));
                    is_known || (rule.is_object() && judge(root, rule, value).is_ok())
                })
            }
            "$schema" | "$defs" | "title" | "description" | "default" | "examples" | "format" => true,
            other => panic!("the keyword {other} is not judged here"),
        };
        if !holds {
            return Err(format!("{keyword} {rule} does not hold for {value}"));
        }
    }
    Ok(())
}

fn matches(pattern: &str, key: &str) -> bool {
    Regex::new(pattern).unwrap().is_match(key)
}

fn is(name: &Json, value: &Json) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    }
}

fn verdict(text: &str) -> Result<(), String> {
    judge(&schema(), &schema(), &json(text))
}

#[test]
fn the_schema_accepts_every_sample_and_what_we_write() {
    let samples = samples::samples();
    assert!(samples.len() >= 3);
    for path in samples {
        assert_eq!(verdict(&std::fs::read_to_string(&path).unwrap()), Ok(()), "{}", path.display());
    }
    assert_eq!(verdict(&long_form_of("[::]:8080", &["[::1]:80", "unix:/run/a.sock", "a.local:80"])), Ok(()));
    let rest = "
admin: { listen: [unix:/run/a.sock, 127.0.0.1:9900] }
server: { watch: on, state: off }
access_log: { output: false }
log: { level: false }
routes: [{ pool: a, match: { methods: [PURGE], headers: { A: 1, B: true } } }]
pools: { a: { endpoints: [a.b:1], retry: { true: [connect, 503] }, health_check: { type: http, expect: [200, 300-399] } } }
";
    assert_eq!(verdict(rest), Ok(()));
}

#[test]
fn the_schema_refuses_what_we_refuse() {
    for text in [
        "listner: :80\n",
        "server: { threads: 0 }\n",
        "server: { drain: 30 }\n",
        "server: { watch: sometimes }\n",
        "server: { state: lib/evenkeel }\n",
        "log: { format: xml }\n",
        "listeners: [{ name: a }]\n",
        "listeners: { address: a }\n",
        "routes: [{ pool: a, match: { paths: [v1] } }]\n",
        "pools: { a: [{ address: a.b:1, weight: 257 }] }\n",
        "pools: { a: { endpoints: [a.b:1], retry: { on: [404] } } }\n",
        "pools: { a: { endpoints: [a.b:1], helth_check: off } }\n",
    ] {
        assert!(verdict(text).is_err(), "{text}");
        assert!(loaded(text).is_err(), "{text}");
    }
}
