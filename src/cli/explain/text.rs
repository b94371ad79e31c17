//! The explanation as text for people: the answer first, then how it comes to it.

use std::fmt::Write;
use std::time::Duration;

use crate::exchange::explain::{
    Explanation, Field, HeadersExplanation, RouteExplanation, RouteVerdict, TimesExplanation, Verdict,
};
use crate::human::{self, safe};
use crate::pool::explain::{EndpointExplanation, PoolExplanation, Role};
use crate::pool::status::{EndpointState, ProbeStatus};
use crate::terminal::{Painter, TextStyle};

/// The most routes and endpoints that are shown: the usual case fits on a screen. JSON has more.
const ROUTES_MAX: usize = 8;
const ENDPOINTS_MAX: usize = 12;
const PROBES_MAX: usize = 3;

/// The width of the headings.
const WIDTH: usize = 10;

/// A line, and how it looks.
type Line = (TextStyle, String);

pub(super) fn render(explanation: &Explanation, painter: Painter) -> String {
    let mut out = String::new();
    answer(&mut out, explanation, painter);
    for (heading, lines) in [
        ("listener", vec![listener(explanation)]),
        ("path", path(explanation)),
        ("routes", routes(explanation)),
        ("policies", policies(explanation)),
        ("headers", explanation.headers.as_ref().map(headers).unwrap_or_default()),
        ("pool", pool(explanation)),
        ("times", explanation.times.as_ref().map(times).unwrap_or_default()),
        ("response", explanation.response.iter().map(|text| plain(safe(text))).collect()),
    ] {
        for (index, (style, line)) in lines.into_iter().enumerate() {
            let heading =
                painter.paint(TextStyle::Bold, format!("{:WIDTH$}", if index == 0 { heading } else { "" }));
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{heading}{}", painter.paint(style, line));
        }
    }
    out
}

fn plain(text: String) -> Line {
    (TextStyle::Plain, text)
}

fn answer(out: &mut String, explanation: &Explanation, painter: Painter) {
    let request = &explanation.request;
    let peer = request.peer.as_ref().map(|peer| format!(" by {}", safe(peer))).unwrap_or_default();
    let _ = writeln!(
        out,
        "{} {} from {}{peer}, {}",
        safe(&request.method),
        safe(&request.url),
        safe(&request.client),
        safe(&request.protocol),
    );
    let style = match explanation.answer.verdict {
        Verdict::Forward | Verdict::Answer => TextStyle::Green,
        Verdict::Wait => TextStyle::Yellow,
        Verdict::Refuse => TextStyle::Red,
    };
    let _ = writeln!(out, "-> {}", painter.paint(style, safe(&explanation.answer.text)));
    if explanation.generation.is_none() {
        let offline = "offline: by the file alone, as if all endpoints were well and nobody had come before";
        let _ = writeln!(out, "{}", painter.paint(TextStyle::Dim, offline));
    }
    out.push('\n');
}

fn listener(explanation: &Explanation) -> Line {
    let listener = &explanation.listener;
    let engine =
        if listener.engine == "native" { String::new() } else { format!(", engine {}", listener.engine) };
    let tls = if listener.tls { ", TLS" } else { "" };
    plain(format!(
        "{} on {}{tls}{engine}: {}",
        safe(&listener.name),
        safe(&listener.address),
        safe(&listener.why)
    ))
}

fn path(explanation: &Explanation) -> Vec<Line> {
    let path = &explanation.path;
    let normal =
        path.normal.as_ref().map(|normal| format!(", matched as {}", safe(normal))).unwrap_or_default();
    vec![plain(format!("{}{normal}", safe(&path.sent)))]
}

/// The chosen one, and those that came nearest.
fn routes(explanation: &Explanation) -> Vec<Line> {
    let all = &explanation.routes;
    let is_far = |route: &RouteExplanation| matches!(route.failed.as_deref(), Some("host" | "enabled"));
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|at| {
        all.get(*at).map(|route| {
            (route.verdict != RouteVerdict::Chosen, route.verdict == RouteVerdict::Fails, is_far(route))
        })
    });
    order.truncate(ROUTES_MAX);
    order.sort_unstable();
    let shown: Vec<&RouteExplanation> = order.into_iter().filter_map(|at| all.get(at)).collect();
    let width = shown.iter().map(|route| safe(&route.name).chars().count()).max().unwrap_or_default();
    let line = |route: &&RouteExplanation| {
        let (mark, style) = match route.verdict {
            RouteVerdict::Chosen => (">", TextStyle::Green),
            RouteVerdict::Matches => (" ", TextStyle::Plain),
            RouteVerdict::Fails => (" ", TextStyle::Dim),
        };
        (style, format!("{mark} {:width$}  {}", safe(&route.name), safe(&route.why)))
    };
    let mut lines: Vec<Line> = shown.iter().map(line).collect();
    let others = all.len() + explanation.routes_left_out - shown.len();
    lines.extend(others_line(others, "route"));
    lines
}

fn others_line(others: usize, what: &str) -> Option<Line> {
    let several = if others == 1 { "" } else { "s" };
    (others > 0)
        .then(|| (TextStyle::Dim, format!("  and {} {what}{several} more", human::count(others as u64))))
}

fn policies(explanation: &Explanation) -> Vec<Line> {
    let steps = &explanation.steps;
    let width = steps.iter().map(|step| step.policy.chars().count()).max().unwrap_or_default();
    let mut before = "";
    let mut lines: Vec<Line> = Vec::new();
    for step in steps {
        let name = if step.policy == before { "" } else { &step.policy };
        let style = match (step.ends, explanation.answer.verdict) {
            (false, _) => TextStyle::Plain,
            (true, Verdict::Answer) => TextStyle::Green,
            (true, _) => TextStyle::Red,
        };
        lines.push((style, format!("{name:width$}  {}", safe(&step.text))));
        before = &step.policy;
    }
    if !explanation.not_reached.is_empty() {
        lines.push((TextStyle::Dim, format!("not reached: {}", explanation.not_reached.join(", "))));
    }
    lines
}

/// What the endpoint gets otherwise than the client has sent it.
fn headers(headers: &HeadersExplanation) -> Vec<Line> {
    let same =
        |one: &Field, other: &Field| one.name.eq_ignore_ascii_case(&other.name) && one.value == other.value;
    let shown = |mark: &str, field: &Field| {
        format!("{mark} {}: {}", safe(&field.name).to_lowercase(), safe(&field.value))
    };
    let is_in = |field: &Field, list: &[Field]| list.iter().any(|other| same(field, other));
    let gone = headers.before.iter().filter(|field| !is_in(field, &headers.after));
    let new = headers.after.iter().filter(|field| !is_in(field, &headers.before));
    let mut lines: Vec<Line> = gone.map(|field| (TextStyle::Red, shown("-", field))).collect();
    lines.extend(new.map(|field| (TextStyle::Green, shown("+", field))));
    lines
}

fn pool(explanation: &Explanation) -> Vec<Line> {
    let Some(pool) = &explanation.pool else { return Vec::new() };
    let key = explanation.hash_key.as_ref().map(|key| format!(" of {}", safe(key))).unwrap_or_default();
    let most = pool
        .most
        .map(|most| format!(", {} of at most {} in flight", pool.in_flight, most))
        .unwrap_or_default();
    let waiting =
        if pool.waiting > 0 { format!(", {} waiting", human::count(pool.waiting)) } else { String::new() };
    let verb = if pool.picked.is_some() { "picks by " } else { "" };
    let head = format!(
        "{}, {}{key}{most}{waiting}: {verb}{}",
        safe(&pool.name),
        safe(&pool.balance),
        safe(&pool.by)
    );
    let style = if pool.picked.is_some() { TextStyle::Plain } else { TextStyle::Red };
    let mut lines = vec![(style, head)];
    lines.extend(sources(pool));
    let is_offline = explanation.generation.is_none();
    let (shown, left_out) = nearest(pool);
    let width =
        shown.iter().map(|endpoint| safe(&endpoint.address).chars().count()).max().unwrap_or_default();
    for endpoint in shown {
        lines.push(self::endpoint(endpoint, width, is_offline));
        lines.extend(probes(endpoint));
    }
    lines.extend(others_line(left_out, "endpoint"));
    lines
}

/// Those to show, and how many more there are: the one that is picked, and those that are not as they should be, first.
fn nearest(pool: &PoolExplanation) -> (Vec<&EndpointExplanation>, usize) {
    let all = &pool.endpoints;
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|at| all.get(*at).map(|one| (one.role != Role::Picked, one.role == Role::Candidate)));
    order.truncate(ENDPOINTS_MAX);
    order.sort_unstable();
    let shown: Vec<&EndpointExplanation> = order.into_iter().filter_map(|at| all.get(at)).collect();
    let left_out = all.len() - shown.len() + pool.endpoints_left_out;
    (shown, left_out)
}

fn sources(pool: &PoolExplanation) -> impl Iterator<Item = Line> {
    pool.sources.iter().map(|source| {
        let why = match (&source.failing, source.answered) {
            (Some(reason), _) => format!("fails: {}", safe(reason)),
            (None, None) => "has not been asked".to_owned(),
            (None, Some(_)) => format!("names {}", source.endpoints),
        };
        (TextStyle::Dim, format!("  from {}: {why}", safe(&source.source)))
    })
}

fn endpoint(endpoint: &EndpointExplanation, width: usize, is_offline: bool) -> Line {
    let (mark, style) = match (endpoint.role, endpoint.state) {
        (Role::Picked, _) => (">", TextStyle::Green),
        (Role::Excluded | Role::LastResort, _) if !is_offline => (" ", TextStyle::Red),
        (Role::Candidate | Role::Fallback, EndpointState::Healthy) => (" ", TextStyle::Plain),
        _ => (" ", TextStyle::Yellow),
    };
    let style = if is_offline && mark == " " { TextStyle::Plain } else { style };
    let share = match endpoint.role {
        Role::Picked | Role::Candidate => format!("{:.1} % of the traffic", endpoint.expected_share * 100.0),
        Role::Fallback | Role::LastResort | Role::Excluded => String::new(),
    };
    let why = if is_offline { offline(endpoint) } else { safe(&endpoint.why) };
    let parts: Vec<String> = [why, share].into_iter().filter(|part| !part.is_empty()).collect();
    (style, format!("{mark} {:width$}  {}", safe(&endpoint.address), parts.join(", ")))
}

/// The last probes of one that is not well, the newest first.
fn probes(endpoint: &EndpointExplanation) -> Option<Line> {
    if endpoint.state == EndpointState::Healthy || endpoint.probes.is_empty() {
        return None;
    }
    let probe = |probe: &ProbeStatus| {
        let reason = probe.reason.as_ref().map(|reason| format!(": {}", safe(reason))).unwrap_or_default();
        format!("{} {}{reason}", human::date(probe.at), probe.result.name())
    };
    let last: Vec<String> = endpoint.probes.iter().rev().take(PROBES_MAX).map(probe).collect();
    Some((TextStyle::Dim, format!("    last probes: {}", last.join("; "))))
}

/// Nothing is known of its health.
fn offline(endpoint: &EndpointExplanation) -> String {
    match (endpoint.weight, endpoint.backup) {
        (0, _) => "its weight is 0".to_owned(),
        (weight, true) => format!("weight {weight}, a backup"),
        (weight, false) => format!("weight {weight}"),
    }
}

fn times(times: &TimesExplanation) -> Vec<Line> {
    let time = |seconds: f64| human::fine_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let deadline =
        times.deadline_seconds.map_or("no deadline".to_owned(), |end| format!("deadline {}", time(end)));
    let attempt = times.attempt_seconds.map(|limit| format!(", attempt {}", time(limit))).unwrap_or_default();
    let limits = format!(
        "{deadline}; connect {}, response {}, idle {}{attempt}",
        time(times.connect_seconds),
        time(times.response_seconds),
        time(times.idle_seconds),
    );
    let retries = match times.retries {
        0 => "no retries".to_owned(),
        retries => {
            let method =
                if times.repeatable { "" } else { ", of which its method allows only those after connect" };
            let budget = times.budget_left.map(|left| format!("; {} left in the budget", human::count(left)));
            let several = if retries == 1 { "retry" } else { "retries" };
            format!(
                "{retries} {several} after {}{method}{}",
                times.retry_on.join(", "),
                budget.unwrap_or_default()
            )
        }
    };
    let hedge =
        times.hedge_seconds.map(|after| format!("; a second attempt beside the first after {}", time(after)));
    vec![plain(limits), plain(format!("{retries}{}", hedge.unwrap_or_default()))]
}
