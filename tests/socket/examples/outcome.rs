//! What a request came to, at the client and at the endpoint, as aspects that can be compared and explained.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Response, Seen};
use crate::written::lossy;

pub type Outcome = BTreeMap<String, String>;

/// Fields that belong to a connection, to a moment, or to the name of the software.
const NOT_COMPARED: [&str; 7] =
    ["connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "te"];

/// Fields that evenkeel always gives to endpoints, and nginx where its configuration says so.
const ALWAYS_TOLD: [&str; 7] = [
    "forwarded",
    "x-evenkeel-hops",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// The body of a page that the proxy has made itself.
const OWN_PAGE: &str = "a page of its own";

pub fn of(response: Option<&Response>, seen: &[(String, Seen)], number: &str) -> Outcome {
    let mut outcome = Outcome::new();
    let Some(response) = response else {
        outcome.insert("status".into(), "none".into());
        return outcome;
    };
    outcome.insert("status".into(), response.status.to_string());
    add_fields(&mut outcome, "field", &response.head.fields);
    let body = lossy(&response.body);
    let is_head = response.status >= 300 && body.is_empty();
    let is_own = seen.is_empty() && (is_head || body.contains("<center>nginx") || is_own_page(&outcome));
    outcome.insert("body".into(), if is_own { OWN_PAGE.into() } else { body });
    if is_own {
        outcome.retain(|aspect, _| aspect != "field content-type" && aspect != "field cache-control");
    }
    let reached: Vec<&str> = seen.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
    outcome.insert("reached".into(), reached.join(", "));
    if let [(_, seen)] = seen {
        outcome.insert("sent method".into(), seen.method().into());
        outcome.insert("sent target".into(), seen.target().into());
        outcome.insert("sent body".into(), lossy(&seen.body));
        add_fields(&mut outcome, "sent", &seen.head.fields);
        outcome.remove(&format!("sent {number}"));
    }
    outcome
}

/// evenkeel's pages are not to be cached.
fn is_own_page(outcome: &Outcome) -> bool {
    outcome.get("field cache-control").is_some_and(|value| value == "no-store")
}

pub fn add_fields(outcome: &mut Outcome, kind: &str, fields: &[(String, String)]) {
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        if NOT_COMPARED.contains(&name.as_str()) {
            continue;
        }
        // Each proxy has ids of its own.
        let is_id = name == "x-request-id" && value.len() == 32;
        let value = if is_id { "an id" } else { value };
        let known = outcome.entry(format!("{kind} {name}")).or_default();
        *known = if known.is_empty() { value.to_owned() } else { format!("{known} | {value}") };
    }
}

/// The aspects that differ, with what each of them is at nginx and at evenkeel. Where the status differs, or the endpoint
/// that was reached, all else does too, and is not said.
pub fn differences(nginx: &Outcome, ours: &Outcome) -> Vec<(String, String, String)> {
    let differ = |aspect: &str| nginx.get(aspect) != ours.get(aspect);
    let aspects: BTreeSet<&String> = nginx.keys().chain(ours.keys()).collect();
    let (answers, requests) = (!differ("status"), !differ("reached"));
    let is_said = |aspect: &str| match aspect {
        "status" => true,
        "reached" => answers,
        _ if aspect.starts_with("sent ") => requests && !is_always_told(aspect, nginx),
        _ => answers && requests,
    };
    let value = |outcome: &Outcome, aspect: &str| outcome.get(aspect).cloned().unwrap_or_default();
    let different = aspects.into_iter().filter(|aspect| differ(aspect) && is_said(aspect));
    different.map(|aspect| (aspect.clone(), value(nginx, aspect), value(ours, aspect))).collect()
}

fn is_always_told(aspect: &str, nginx: &Outcome) -> bool {
    !nginx.contains_key(aspect) && ALWAYS_TOLD.iter().any(|name| aspect.strip_prefix("sent ") == Some(name))
}
