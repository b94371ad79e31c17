//! What is different, as a table, and what could not be judged.

use std::fmt::Write;

use crate::human;
use crate::replay::Report;
use crate::replay::report::{Act, Fate, Group};

/// The most groups that are shown; a JSON document has more.
const GROUPS_MAX: usize = 40;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{}", head(report));
    if !report.groups.is_empty() {
        out.push('\n');
        table(&mut out, report);
    }
    if report.tells_no_decision > 0 && !report.destinations.is_empty() {
        out.push('\n');
        destinations(&mut out, report);
    }
    let notes = notes(report);
    if !notes.is_empty() {
        out.push('\n');
        out += &(notes.join("\n") + "\n");
    }
    out
}

/// `1,000 requests from ... to ...: 990 (99.0 %) as before, 10 otherwise`
fn head(report: &Report) -> String {
    let Report { lines, same, different, .. } = report;
    let span = report.from.as_ref().zip(report.to.as_ref());
    let span = span.map(|(from, to)| format!(" from {from} to {to}")).unwrap_or_default();
    let (lines, kept, other) = (human::count(*lines), human::count(*same), human::count(*different));
    format!("{lines} requests{span}: {kept} as before ({}), {other} otherwise", share(*same, report.lines))
}

fn table(out: &mut String, report: &Report) {
    let mut rows = vec![["REQUESTS", "SHARE", "WAS", "WOULD BE", "FOR EXAMPLE"].map(str::to_owned)];
    rows.extend(report.groups.iter().take(GROUPS_MAX).map(|group| row(group, report.lines)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let [requests, share, was, now] = [0, 1, 2, 3].map(width);
    for [a, b, c, d, e] in &rows {
        let _ = writeln!(out, "{a:>requests$}  {b:>share$}  {c:<was$}  {d:<now$}  {e}");
    }
    let hidden = report.groups.iter().skip(GROUPS_MAX).map(|group| group.requests).sum::<u64>();
    if hidden + report.other_groups > 0 {
        let _ = writeln!(out, "and {} requests in other ways", human::count(hidden + report.other_groups));
    }
}

fn row(group: &Group, all: u64) -> [String; 5] {
    let mut now = fate(&group.now);
    if group.path {
        now += ", with another path";
    }
    if group.unsure {
        now += " (?)";
    }
    let example = format!("line {}: {}", group.example.line, human::safe(&group.example.request));
    [human::count(group.requests), share(group.requests, all), fate(&group.was), now, example]
}

/// `api > api-v1, 2xx`, `403 denied by route deny 10.0.0.0/8 (api)`, `308 redirect (www)`.
fn fate(fate: &Fate) -> String {
    let route = fate.route.as_deref().unwrap_or("no route");
    let of_route = fate.route.as_ref().map(|route| format!(" ({route})")).unwrap_or_default();
    let text = match &fate.act {
        Act::Forwarded { status } => {
            let status = status.map(|status| format!(", {status}")).unwrap_or_default();
            format!("{route} > {}{status}", fate.pool.as_deref().unwrap_or("no pool"))
        }
        Act::Answered { action, status } => format!("{status} {action}{of_route}"),
        Act::Refused { cause, status, by } => {
            let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            format!("{status} {cause}{by}{of_route}")
        }
        Act::Asked { auth } => format!("asked for {auth} auth{of_route}"),
        Act::NoListener { listener } => format!("no listener {listener}"),
        Act::Status { status } => status.to_string(),
    };
    human::safe(&text)
}

fn destinations(out: &mut String, report: &Report) {
    let _ = writeln!(out, "{:>12}  WOULD GO TO", "REQUESTS");
    for destination in report.destinations.iter().take(GROUPS_MAX) {
        let pool = destination.pool.as_ref().map(|pool| format!(" > {pool}")).unwrap_or_default();
        let _ = writeln!(out, "{:>12}  {}{pool}", human::count(destination.requests), destination.route);
    }
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    for other in &report.not_judged {
        let (requests, line) = (human::count(other.requests), other.example.line);
        notes.push(format!("not judged: {requests} requests: {} (line {line})", other.reason));
    }
    if let Some(unreadable) = &report.unreadable {
        notes.push(format!(
            "not read: {} lines, the first is line {}: {}",
            human::count(unreadable.lines),
            unreadable.line,
            human::safe(&unreadable.reason),
        ));
    }
    for (name, requests) in &report.headers_absent {
        let requests = human::count(*requests);
        notes.push(format!("judged as without {name}, which the log has not: {requests} requests"));
    }
    if report.groups.iter().any(|group| group.unsure) {
        notes.push("(?) may be as before: that depends on what the log does not tell".to_owned());
    }
    if report.tells_no_decision > 0 {
        notes.push(format!(
            "{} lines do not tell which route they took: only what evenkeel itself would answer is compared",
            human::count(report.tells_no_decision)
        ));
    }
    notes
}

fn share(part: u64, all: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / all.max(1) as f64)
}
