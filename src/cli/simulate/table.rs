//! The result of a simulation as text: what was simulated, a table of the endpoints, and a timeline with the events.

use std::fmt::Write;
use std::time::Duration;

use crate::human;
use crate::simulate::Report;
use crate::simulate::report::{EventReport, PeriodReport, Totals};

/// The most endpoints whose shares the timeline has.
const SHARES_MAX: usize = 8;

/// The most events that are shown; a JSON document has more.
const EVENTS_MAX: usize = 60;

pub(super) fn render(report: &Report) -> String {
    let mut out = head(report);
    out.push('\n');
    table(&mut out, &endpoints(report), 1);
    out.push('\n');
    causes(&mut out, report);
    out.push('\n');
    timeline(&mut out, report);
    out
}

fn head(report: &Report) -> String {
    let load = &report.load;
    let times = if report.constant { "always the same" } else { "exponential" };
    let clients = match (load.rate, load.clients) {
        (Some(rate), _) => format!(
            "{} requests/s, {:.0} % of the {} that the endpoints can serve ({times} times of service)",
            number(rate),
            100.0 * rate / load.capacity,
            number(load.capacity),
        ),
        (None, clients) => format!(
            "{} clients, endpoints that can serve {} requests/s ({times} times of service)",
            human::count(clients.unwrap_or_default() as u64),
            number(load.capacity),
        ),
    };
    format!(
        "route {}, pool {}, {}, endpoints: {}\n{clients}\n{} s, seed {}\n",
        human::safe(&report.route),
        human::safe(&report.pool),
        human::safe(&report.balance),
        report.endpoints.len(),
        report.seconds,
        report.seed,
    )
}

fn endpoints(report: &Report) -> Vec<Vec<String>> {
    let heads =
        ["", "ENDPOINT", "SHARE", "REQUESTS", "P50", "P99", "ERRORS", "RETRIES", "IN FLIGHT", "EJECTED"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (endpoint, number) in report.endpoints.iter().zip(1..) {
        rows.push(vec![
            format!("{number}"),
            human::safe(&endpoint.address),
            percent(endpoint.share),
            human::count(endpoint.requests),
            millis(endpoint.p50_ms),
            millis(endpoint.p99_ms),
            human::count(endpoint.errors),
            human::count(endpoint.retries),
            format!("{:.1}, at most {}", endpoint.in_flight_mean, endpoint.in_flight_most),
            human::count(endpoint.ejections),
        ]);
    }
    let Totals { requests, errors, retries, p50_ms, p99_ms, .. } = &report.totals;
    rows.push(vec![
        String::new(),
        "for clients".to_owned(),
        String::new(),
        human::count(*requests),
        millis(*p50_ms),
        millis(*p99_ms),
        human::count(*errors),
        human::count(*retries),
    ]);
    rows
}

fn causes(out: &mut String, report: &Report) {
    let Totals { requests, errors, attempts, waited, .. } = &report.totals;
    let _ = write!(
        out,
        "{} of {} requests failed ({:.3} %), {:.2} attempts a request",
        human::count(*errors),
        human::count(*requests),
        100.0 * *errors as f64 / (*requests).max(1) as f64,
        *attempts as f64 / (*requests).max(1) as f64,
    );
    if *waited > 0 {
        let _ = write!(out, ", {} waited in a queue", human::count(*waited));
    }
    out.push('\n');
    for cause in &report.causes {
        let _ = writeln!(out, "  {:>9} {}", human::count(cause.requests), human::safe(&cause.cause));
    }
}

/// The endpoints whose shares are shown, by index: where there are too many, those that something happens to.
fn shown_shares(report: &Report) -> Vec<usize> {
    let all = 0..report.endpoints.len();
    if all.len() <= SHARES_MAX {
        return all.collect();
    }
    let happens =
        |index: &usize| report.events.iter().any(|event| event.endpoint == report.endpoints[*index].address);
    all.filter(happens).take(SHARES_MAX).collect()
}

fn timeline(out: &mut String, report: &Report) {
    let shares = shown_shares(report);
    let heads = ["FROM", "REQUESTS", "P50", "P99", "ERRORS", "RETRIES", "WAITING"].map(str::to_owned);
    let mut rows =
        vec![heads.into_iter().chain(shares.iter().map(|index| format!("% OF {}", index + 1))).collect()];
    rows.extend(report.rows.periods.iter().map(|period| row(period, &shares)));
    let mut text = String::new();
    table(&mut text, &rows, 0);
    let mut events = report.events.iter().take(EVENTS_MAX).peekable();
    let mut lines = text.lines();
    let _ = writeln!(out, "{}", lines.next().unwrap_or_default());
    for (line, period) in lines.zip(&report.rows.periods) {
        let _ = writeln!(out, "{line}");
        let end = period.seconds + report.rows.step_seconds;
        while let Some(event) = events.next_if(|event| event.seconds < end) {
            out.push_str(&event_line(event));
        }
    }
    events.for_each(|event| out.push_str(&event_line(event)));
    let more = report.events.len().saturating_sub(EVENTS_MAX) as u64 + report.events_lost;
    if more > 0 {
        let _ = writeln!(out, "and {} more events", human::count(more));
    }
}

fn event_line(event: &EventReport) -> String {
    let mark = if event.given { "*" } else { ">" };
    format!(
        "    {mark} {:.3}s {} {}\n",
        event.seconds,
        human::safe(&event.endpoint),
        human::safe(&event.what)
    )
}

fn row(period: &PeriodReport, shares: &[usize]) -> Vec<String> {
    let begin = [
        format!("{}s", round(period.seconds)),
        human::count(period.requests),
        millis(period.p50_ms),
        millis(period.p99_ms),
        human::count(period.errors),
        human::count(period.retries),
        human::count(period.waiting),
    ];
    let share = |index: &usize| period.shares.get(*index).map_or(0.0, |share| share * 100.0);
    begin.into_iter().chain(shares.iter().map(|index| format!("{:.1}", share(index)))).collect()
}

/// Columns aligned to the right, but for the one of words.
fn table(out: &mut String, rows: &[Vec<String>], words: usize) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column| rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, width) in widths.iter().enumerate() {
            let cell = cell(row, column);
            let gap = if column == 0 { "" } else { "  " };
            let _ = match column == words {
                true => write!(line, "{gap}{cell:<width$}"),
                false => write!(line, "{gap}{cell:>width$}"),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn millis(time: Option<f64>) -> String {
    let shown = |millis: f64| human::fine_duration(Duration::from_secs_f64(millis / 1e3));
    time.map_or_else(|| "-".to_owned(), shown)
}

/// A rate: whole where it is large.
fn number(value: f64) -> String {
    if value >= 10.0 { human::count(value.round() as u64) } else { format!("{value:.2}") }
}

/// Without the noise of binary fractions.
fn round(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
