//! A list of endpoints outside the config, as JSON or YAML: addresses, endpoints with their attributes, or groups of
//! targets with labels, as Prometheus' `file_sd` and `http_sd` have them.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::decode::{DiagnosticSink, List, Named, Scalar, Spanned, Value};
use super::model::{EndpointAddress, EndpointAttributes, EndpointSpec};
use super::report::Report;
use super::scalar::{Count, Flag, Name, Text};
use super::section::section;
use super::source::Source;
use super::tree::{self, Kind, Node};

/// The most endpoints in a list.
const ENDPOINTS_MAX: usize = 50_000;

section! {
    /// An endpoint of a list.
    ListedEndpointSection "an endpoint" {
        /// Its address.
        address: EndpointAddress, required "10.0.0.1:3000";
        /// Its share of the traffic.
        weight: Count<0, 256> = 1;
        /// Whether it gets traffic only while no other endpoint is healthy.
        backup: Flag = false;
        /// Where it is.
        zone: Name, optional;
    }
}

section! {
    /// Addresses with the same attributes.
    TargetGroupSection "a group of targets" {
        /// Their addresses.
        targets: List<EndpointAddress>, required "[10.0.0.1:3000]";
        /// `weight` and `backup` as of an endpoint; others mean nothing here.
        labels: Named<Text>, optional;
    }
}

/// An item of a list.
enum ListItem {
    Address(EndpointAddress),
    Endpoint(ListedEndpointSection),
    Group(TargetGroupSection),
}

impl Value for ListItem {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<Self> {
        match &node.kind {
            Kind::Map(entries)
                if entries.iter().any(|(key, _)| matches!(&*key.text, "targets" | "labels")) =>
            {
                TargetGroupSection::decode(node, diagnostics).map(Self::Group)
            }
            Kind::Map(_) => ListedEndpointSection::decode(node, diagnostics).map(Self::Endpoint),
            _ => EndpointAddress::decode(node, diagnostics).map(Self::Address),
        }
    }

    /// Lists are no part of the config's schema.
    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// The endpoints of a list; an error is one line with the first place and remedy. `name` is that of the list in errors.
pub fn endpoint_list(text: &str, name: &str) -> Result<Vec<EndpointSpec>, String> {
    let source = Source::new(name, text);
    let mut diagnostics = DiagnosticSink::default();
    let items = tree::parse(&source, &mut diagnostics)
        .and_then(|root| List::<ListItem>::decode(&root, &mut diagnostics));
    let mut all = Vec::new();
    for item in items.iter().flat_map(List::iter) {
        add(&mut all, &item.value, &mut diagnostics);
    }
    if diagnostics.has_errors() {
        return Err(first_error(Report::new(source, diagnostics.into_diagnostics(), Vec::new()), name));
    }
    if all.len() > ENDPOINTS_MAX {
        return Err(format!("{name} has {} endpoints: write at most {ENDPOINTS_MAX}", all.len()));
    }
    Ok(all)
}

fn add(all: &mut Vec<EndpointSpec>, item: &ListItem, diagnostics: &mut DiagnosticSink) {
    match item {
        ListItem::Address(address) => {
            all.push(EndpointSpec { address: address.clone(), attributes: EndpointAttributes::default() });
        }
        ListItem::Endpoint(section) => {
            let attributes = EndpointAttributes {
                weight: section.weight.0 as u16,
                backup: section.backup.0,
                zone: section.zone.as_ref().map(|zone| zone.0.as_str().into()),
            };
            all.extend(section.address.iter().map(|address| EndpointSpec {
                address: address.value.clone(),
                attributes: attributes.clone(),
            }));
        }
        ListItem::Group(group) => {
            let attributes =
                group.labels.as_ref().map(|labels| labelled(labels, diagnostics)).unwrap_or_default();
            let targets = group.targets.iter().flat_map(|targets| targets.iter());
            all.extend(targets.map(|target| EndpointSpec {
                address: target.value.clone(),
                attributes: attributes.clone(),
            }));
        }
    }
}

/// The attributes that labels say.
fn labelled(labels: &Named<Text>, diagnostics: &mut DiagnosticSink) -> EndpointAttributes {
    let mut attributes = EndpointAttributes::default();
    for (key, value) in &labels.entries {
        let Some(value) = value else { continue };
        match &*key.text {
            "weight" => {
                let weight = label::<Count<0, 256>>(value, diagnostics);
                attributes.weight = weight.map_or(1, |weight| weight.0 as u16);
            }
            "zone" => attributes.zone = label::<Name>(value, diagnostics).map(|zone| zone.0.into()),
            "backup" => attributes.backup = label::<Flag>(value, diagnostics).is_some_and(|flag| flag.0),
            _ => {}
        }
    }
    attributes
}

fn label<T: Scalar>(value: &Spanned<Text>, diagnostics: &mut DiagnosticSink) -> Option<T> {
    T::parse(&value.0).map_err(|fault| diagnostics.fault(value.span, fault)).ok()
}

fn first_error(report: Report, name: &str) -> String {
    let more = report.problems().count().saturating_sub(1);
    let first = report.problems().next();
    let mut text = first.map_or_else(String::new, |problem| {
        format!("{name}:{}:{}: {}: {}", problem.line, problem.column, problem.message, problem.remedy)
    });
    if more > 0 {
        text += &format!(" (and {more} more)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Result<Vec<String>, String> {
        let backup = |spec: &EndpointSpec| if spec.attributes.backup { " backup" } else { "" };
        let shown =
            |spec: &EndpointSpec| format!("{} x{}{}", spec.address, spec.attributes.weight, backup(spec));
        endpoint_list(text, "/x.json").map(|specs| specs.iter().map(shown).collect())
    }

    #[test]
    fn lists_are_json_or_yaml() {
        let expected = ["10.0.0.1:80 x1", "a.test:80 x3 backup"];
        for text in [
            r#"["10.0.0.1:80", {"address": "a.test:80", "weight": 3, "backup": true}]"#,
            "- 10.0.0.1:80\n- address: a.test:80\n  weight: 3\n  backup: true\n",
            "[\n\t\"10.0.0.1:80\",\n\t{\n\t\t\"address\":\t\"a.test:80\", \"weight\":3,\"backup\":true}\n]\n",
        ] {
            assert_eq!(listed(text), Ok(expected.map(str::to_owned).into()), "{text}");
        }
        assert_eq!(listed("[]"), Ok(Vec::new()));
    }

    #[test]
    fn groups_of_targets_are_as_prometheus_has_them() {
        let text = r#"[
            {"targets": ["10.0.0.1:80", "10.0.0.2:80"], "labels": {"job": "api", "weight": "2"}},
            {"targets": ["[::1]:80"], "labels": {"backup": "true", "__meta_x": ""}},
            {"targets": []}
        ]"#;
        let expected = ["10.0.0.1:80 x2", "10.0.0.2:80 x2", "[::1]:80 x1 backup"];
        assert_eq!(listed(text), Ok(expected.map(str::to_owned).into()));
    }

    #[test]
    fn what_is_wrong_is_said_with_place_and_remedy() {
        for (text, said) in [
            (
                "",
                "/x.json:1:1: expected a list, found nothing: start each item with `- `, or write [ITEM, ITEM]",
            ),
            (
                "[10.0.0.1]",
                "/x.json:1:2: `10.0.0.1` is not an endpoint's address: add the port: 10.0.0.1:3000",
            ),
            (
                "[{address: a.test:80, wieght: 2}]",
                "/x.json:1:23: an endpoint has no key `wieght`: did you mean `weight`?",
            ),
            (
                "[{targets: [a.test:80], labels: {weight: heavy}}, {labels: {}}]",
                "/x.json:1:42: `heavy` is not a whole number: write a whole number from 0 to 256 (and 1 more)",
            ),
            (
                r#"["10.0.0.1:80", "#,
                "/x.json:1:1: a bracket before this place is not closed, or a comma is missing: close every [ with \
                 ] and every { with }",
            ),
        ] {
            assert_eq!(listed(text), Err(said.to_owned()), "{text}");
        }
        let many = format!("[{}]", "a.test:80,".repeat(ENDPOINTS_MAX + 1));
        assert_eq!(listed(&many), Err("/x.json has 50001 endpoints: write at most 50000".to_owned()));
    }
}
