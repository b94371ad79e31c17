//! The status as text for people: lines for the process and its listeners, and for each pool a line and a table of its
//! endpoints.

use std::fmt::Write;
use std::time::Duration;

use crate::admin::Status;
use crate::admin::status::{ListenerStatus, ProcessState};
use crate::human;
use crate::pool::status::{
    ByHandStatus, EndpointState, EndpointStatus, MirrorStatus, PoolStatus, ProbeOutcome, ProbeStatus,
    RateLimitStatus, RouteStatus, WeightByHand,
};
use crate::telemetry::events::LevelByHand;
use crate::telemetry::metrics::request_balance::RequestBalance;
use crate::terminal::{Painter, TextStyle};
use crate::wait_queue::QueueStatus;

/// Marks the endpoint that has had the most requests of its pool.
const MOST: &str = "*";

const HEADINGS: [&str; 12] = [
    "",
    "ENDPOINT",
    "STATE",
    "FOR",
    "WEIGHT",
    "REQUESTS",
    "SHARE",
    "IN FLIGHT",
    "IN",
    "OUT",
    "FAILURES",
    "WHY",
];

/// Columns of words, aligned to the left; the others are numbers.
const WORDS: [usize; 4] = [0, 1, 2, 11];

type Row = [String; HEADINGS.len()];

pub(super) fn render(status: &Status, painter: Painter) -> String {
    let now = status.started + status.uptime_seconds;
    let mut out = String::new();
    header(&mut out, status, painter);
    status.routes.iter().for_each(|route| route_line(&mut out, route, painter));
    status.rate_limits.iter().for_each(|limit| rate_limit_line(&mut out, limit, painter));
    status.mirrors.iter().for_each(|mirror| mirror_line(&mut out, mirror, painter));
    let mut marked = false;
    for pool in &status.pools {
        out.push('\n');
        pool_line(&mut out, pool, painter);
        sources(&mut out, pool, now, painter);
        let most = most_requests(pool);
        marked |= most.is_some();
        let rows: Vec<_> = (pool.endpoints.iter().enumerate())
            .map(|(index, endpoint)| row(endpoint, now, most == Some(index)))
            .collect();
        table(&mut out, &rows, &pool.endpoints, painter);
        changes_by_hand(&mut out, &pool.endpoints, painter);
        share_causes(&mut out, &pool.endpoints, painter);
        failed_probes(&mut out, &pool.endpoints, now, painter);
    }
    if marked {
        let _ =
            writeln!(out, "\n{}", painter.paint(TextStyle::Dim, format!("{MOST} most requests of its pool")));
    }
    out
}

/// A line for each source of endpoints; the endpoints of one that fails may be outdated.
fn sources(out: &mut String, pool: &PoolStatus, now: f64, painter: Painter) {
    for source in &pool.sources {
        let named = match source.endpoints {
            1 => "1 endpoint".to_owned(),
            several => format!("{several} endpoints"),
        };
        let age = source.answered.map(|at| human::coarse_duration(seconds(now - at)));
        let (style, line) = match (&source.failing, age) {
            (None, None) => (TextStyle::Yellow, "has not answered yet".to_owned()),
            (None, Some(age)) => (TextStyle::Dim, format!("{named}, answered {age} ago")),
            (Some(reason), None) => {
                (TextStyle::Yellow, format!("has never answered: {}", human::safe(reason)))
            }
            (Some(reason), Some(age)) => {
                let line = format!("{named} kept, answered {age} ago, fails: {}", human::safe(reason));
                (TextStyle::Yellow, line)
            }
        };
        let line = format!("from {}: {line}", human::safe(&source.source));
        let _ = writeln!(out, "{}", painter.paint(style, line));
    }
}

/// A line for each endpoint that is not as the config file has it.
fn changes_by_hand(out: &mut String, endpoints: &[EndpointStatus], painter: Painter) {
    for endpoint in endpoints {
        let drained = endpoint.drained.as_ref().map(|drained| ("drained".to_owned(), drained));
        let weight = endpoint.weight_by_hand.as_ref().map(|WeightByHand { file, by_hand }| {
            (format!("weight {} (file: {file})", endpoint.weight), by_hand)
        });
        for (what, ByHandStatus { by, until }) in drained.into_iter().chain(weight) {
            let until = until.map(|until| format!(" until {},", human::date(until))).unwrap_or_default();
            let line =
                format!("by hand: {} {what},{until} by {}", human::safe(&endpoint.address), human::safe(by));
            let _ = writeln!(out, "{}", painter.paint(TextStyle::Yellow, line));
        }
    }
}

/// A line for each endpoint whose share is not what it is due.
fn share_causes(out: &mut String, endpoints: &[EndpointStatus], painter: Painter) {
    for endpoint in endpoints {
        if let Some(cause) = &endpoint.share_cause {
            let line = format!("share of {}: {}", human::safe(&endpoint.address), human::safe(cause));
            let _ = writeln!(out, "{}", painter.paint(TextStyle::Dim, line));
        }
    }
}

/// A line for each endpoint that did not pass all its last probes: the newest first.
fn failed_probes(out: &mut String, endpoints: &[EndpointStatus], now: f64, painter: Painter) {
    let has_failed =
        |endpoint: &&EndpointStatus| endpoint.probes.iter().any(|probe| probe.result != ProbeOutcome::Passed);
    for endpoint in endpoints.iter().filter(has_failed) {
        let probe = |probe: &ProbeStatus| {
            let reason = probe.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let age = human::coarse_duration(seconds(now - probe.at));
            format!("{age} ago {}{}", probe.result.name(), human::safe(&reason))
        };
        let probes: Vec<String> = endpoint.probes.iter().rev().map(probe).collect();
        let line = format!("probes of {}: {}", human::safe(&endpoint.address), probes.join("; "));
        let _ = writeln!(out, "{}", painter.paint(TextStyle::Yellow, line));
    }
}

/// A listener's address, the balance of its requests, and its certificates.
fn listener_lines(out: &mut String, listener: &ListenerStatus) {
    let count = human::count;
    let RequestBalance { accepted, answered, refused, client_gone, cut, in_flight } = listener.requests;
    let (name, address) = (human::safe(&listener.name), human::safe(&listener.address));
    let _ = writeln!(out, "listener {name} on {address}, open connections: {}", count(listener.connections));
    let _ = writeln!(
        out,
        "  {} accepted = {} answered + {} refused + {} left by their clients + {} cut + {} in flight",
        count(accepted),
        count(answered),
        count(refused),
        count(client_gone),
        count(cut),
        count(in_flight),
    );
    for certificate in &listener.certificates {
        let (name, file) = (human::safe(&certificate.name), human::safe(&certificate.file));
        let expires = human::date(certificate.expires);
        let _ = writeln!(out, "  certificate of {name} ({file}) expires {expires}");
    }
}

fn header(out: &mut String, status: &Status, painter: Painter) {
    let (state, style) = match status.state {
        ProcessState::Ready => ("ready", TextStyle::Green),
        ProcessState::Starting => ("starting", TextStyle::Yellow),
        ProcessState::Draining => ("draining", TextStyle::Yellow),
    };
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        out,
        "{} {}, pid {}, generation {}, up {} since {}",
        painter.paint(TextStyle::Bold, format!("evenkeel {}", human::safe(&status.version))),
        painter.paint(style, state),
        status.pid,
        status.generation,
        human::coarse_duration(seconds(status.uptime_seconds)),
        human::date(status.started),
    );
    if let Some(file) = &status.file {
        let _ = writeln!(out, "config {}", human::safe(file));
    }
    if let Some(incident) = &status.last_incident {
        let (date, path) = (human::date(incident.at), human::safe(&incident.path));
        let line = format!("last incident {date}: {} ({path})", human::safe(&incident.reason));
        let _ = writeln!(out, "{}", painter.paint(TextStyle::Yellow, line));
    }
    if let Some(left) = status.confirm_seconds {
        let waits = format!(
            "generation {} waits for `evenkeel confirm`: the config before comes back in {}",
            status.generation,
            human::coarse_duration(seconds(left))
        );
        let _ = writeln!(out, "{}", painter.paint(TextStyle::Yellow, waits));
    }
    status.listeners.iter().for_each(|listener| listener_lines(out, listener));
    if let Some(LevelByHand { file, by_hand: ByHandStatus { by, until } }) = &status.log_level.by_hand {
        let until = until.map(|until| format!(" until {},", human::date(until))).unwrap_or_default();
        let (level, file, by) = (human::safe(&status.log_level.level), human::safe(file), human::safe(by));
        let line = format!("by hand: event log's level {level} (file: {file}),{until} by {by}");
        let _ = writeln!(out, "{}", painter.paint(TextStyle::Yellow, line));
    }
    let dropped = status.log_dropped;
    if dropped.access + dropped.events > 0 {
        let lost = format!(
            "log lines lost: {} of the access log, {} events",
            human::count(dropped.access),
            human::count(dropped.events)
        );
        let _ = writeln!(out, "{}", painter.paint(TextStyle::Yellow, lost));
    }
}

fn pool_line(out: &mut String, pool: &PoolStatus, painter: Painter) {
    let all = pool.endpoints.len();
    let healthy = pool.endpoints.iter().filter(|endpoint| endpoint.state == EndpointState::Healthy).count();
    let style = match healthy {
        0 => TextStyle::Red,
        _ if healthy < all => TextStyle::Yellow,
        _ => TextStyle::Green,
    };
    let _ = write!(
        out,
        "pool {}, {}, {}",
        painter.paint(TextStyle::Bold, human::safe(&pool.name)),
        human::safe(&pool.balance),
        painter.paint(style, format!("{healthy} of {all} healthy")),
    );
    if pool.waiting > 0 {
        let waiting = format!("{} waiting", human::count(pool.waiting));
        let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, waiting));
    }
    if let Some(most) = pool.most {
        let _ = write!(out, ", {} of at most {} in flight", human::count(pool.in_flight), human::count(most));
    }
    queue(out, pool.refused, &pool.queue, painter);
    if pool.retries.refused > 0 {
        let refused = format!("{} retries refused by the budget", human::count(pool.retries.refused));
        let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, refused));
    }
    out.push('\n');
}

/// A line for a route that has a limit of requests.
fn route_line(out: &mut String, route: &RouteStatus, painter: Painter) {
    let name = painter.paint(TextStyle::Bold, human::safe(&route.name));
    let _ = write!(out, "route {name}, {} ", human::count(route.in_flight));
    if let Some(most) = route.most {
        let _ = write!(out, "of at most {} ", human::count(most));
    }
    out.push_str("in flight");
    if route.queue.waiting > 0 {
        let waiting = format!("{} waiting", human::count(route.queue.waiting));
        let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, waiting));
    }
    queue(out, route.refused, &route.queue, painter);
    out.push('\n');
}

/// A line for a rate limit.
fn rate_limit_line(out: &mut String, limit: &RateLimitStatus, painter: Painter) {
    let name = painter.paint(TextStyle::Bold, human::safe(&limit.route));
    let _ = write!(out, "route {name}, rate limit by {}", human::safe(&limit.limit));
    let _ = write!(out, ", {} keys", human::count(limit.keys));
    for (count, what) in [
        (limit.refused, "refused"),
        (limit.would_refuse, "beyond it let in"),
        (limit.forgotten, "keys forgotten"),
    ] {
        if count > 0 {
            let text = format!("{} {what}", human::count(count));
            let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, text));
        }
    }
    out.push('\n');
}

fn mirror_line(out: &mut String, mirror: &MirrorStatus, painter: Painter) {
    let name = painter.paint(TextStyle::Bold, human::safe(&mirror.route));
    let _ = write!(out, "route {name}, mirror {}", human::safe(&mirror.pool));
    let _ = write!(out, ", {} sent", human::count(mirror.sent));
    if mirror.in_flight > 0 {
        let _ = write!(out, ", {} in flight", human::count(mirror.in_flight));
    }
    for (counts, what) in [(&mirror.dropped, "not copied"), (&mirror.failed, "failed")] {
        let causes = counts.iter().filter(|(_, count)| **count > 0);
        for (cause, count) in causes {
            let text = format!("{} {what} ({})", human::count(*count), human::safe(cause));
            let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, text));
        }
    }
    let errors = mirror.answered.get("5xx").copied().unwrap_or_default();
    if errors > 0 {
        let text = format!("{} answered 5xx", human::count(errors));
        let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, text));
    }
    out.push('\n');
}

/// Requests that were refused, by cause.
fn queue(out: &mut String, refused: u64, queue: &QueueStatus, painter: Painter) {
    let causes = [
        (refused, "refused"),
        (queue.full, "refused by the full queue"),
        (queue.expired, "waited in vain"),
        (queue.shed, "shed"),
    ];
    for (count, cause) in causes.into_iter().filter(|(count, _)| *count > 0) {
        let told = format!("{} {cause}", human::count(count));
        let _ = write!(out, ", {}", painter.paint(TextStyle::Yellow, told));
    }
}

/// The endpoint that has had the most requests, if there is exactly one such endpoint among several.
fn most_requests(pool: &PoolStatus) -> Option<usize> {
    let most = pool.endpoints.iter().map(|endpoint| endpoint.requests).max()?;
    let mut busiest = pool.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.requests == most);
    let (index, _) = busiest.next()?;
    (most > 0 && pool.endpoints.len() > 1 && busiest.next().is_none()).then_some(index)
}

fn row(endpoint: &EndpointStatus, now: f64, most: bool) -> Row {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let backup = if endpoint.backup { " backup" } else { "" };
    let file = endpoint.weight_by_hand.as_ref().map(|weight| format!(" (file: {})", weight.file));
    let weight = format!("{}{}{backup}", endpoint.weight, file.unwrap_or_default());
    let draining = if endpoint.drained.is_some() { ", draining" } else { "" };
    [
        if most { MOST } else { " " }.to_owned(),
        human::safe(&endpoint.address),
        format!("{}{draining}", endpoint.state.name()),
        human::coarse_duration(seconds(now - endpoint.since)),
        weight,
        human::count(endpoint.requests),
        format!("{} of {}", percent(endpoint.share), percent(endpoint.expected_share)),
        human::count(endpoint.in_flight),
        human::bytes(endpoint.bytes_in),
        human::bytes(endpoint.bytes_out),
        human::count(endpoint.failures),
        human::safe(&endpoint.reason),
    ]
}

fn table(out: &mut String, rows: &[Row], endpoints: &[EndpointStatus], painter: Painter) {
    let headings = HEADINGS.map(str::to_owned);
    let width = |column: usize| {
        rows.iter().chain([&headings]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let _ = writeln!(out, "{}", painter.paint(TextStyle::Dim, line(&headings, &widths)));
    for (row, endpoint) in rows.iter().zip(endpoints) {
        let style = match endpoint.state {
            EndpointState::Healthy if endpoint.drained.is_none() => TextStyle::Plain,
            EndpointState::Healthy | EndpointState::Checking => TextStyle::Yellow,
            EndpointState::Unreachable | EndpointState::Unhealthy | EndpointState::Ejected => TextStyle::Red,
        };
        let _ = writeln!(out, "{}", painter.paint(style, line(row, &widths)));
    }
}

fn line(row: &Row, widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
        let (before, after) = if WORDS.contains(&column) { ("", &*fill) } else { (&*fill, "") };
        let gap = match column {
            0 => " ",
            1 => " ",
            _ => "  ",
        };
        let _ = write!(line, "{gap}{before}{cell}{after}");
    }
    line.truncate(line.trim_end().len());
    line
}

/// Seconds as a duration; negative ones, of a clock that was set back, are zero.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}
