//! Draws what is known on a terminal of any size. Without colours nothing is lost: words and marks say the same.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::details;
use super::model::Model;
use super::rows::{Health, Row, Totals};
use super::view::{Extent, Mode, Sort, View};
use crate::admin::Status;
use crate::admin::status::ProcessState;
use crate::human;

/// The state of the process, the sum of its requests, what is wrong, and the headings.
const HEAD: u16 = 4;

/// Lines about the selected row.
const DETAILS: u16 = 2;

/// Lines of events are at most this part of the screen.
const EVENTS_PART: u16 = 4;

/// A screen with fewer lines has no events.
const EVENTS_FROM: u16 = 14;

const KEYS: &str = "q quit  ? keys  s sort  r reverse  / filter  t trouble  p pools  d u drain";

const HELP: [&str; 17] = [
    "q, Ctrl-C      quit",
    "up, down       select a line; PgUp, PgDn, Home, End, and j k g G as well",
    "s, S, r        sort by the next column, by the one before; turn the order round",
    "/              only names with this text; Enter keeps the filter, Esc ends it",
    "t              only lines with trouble: not healthy, errors, or a queue",
    "p              pools and endpoints, only pools, all endpoints in one list",
    "d, u           drain the selected endpoint, undrain it; asks first",
    "",
    "Rates and percentiles are of the last 5 s, or of a longer interval.",
    "Percentiles are reckoned from buckets, as if times were evenly spread in each.",
    "REQ/S, ERR/S   of a pool: requests that ended, and answers 5xx to clients;",
    "               of an endpoint: attempts, and those that failed or ended in 5xx",
    "P50, P99       to the first byte of an endpoint's response; in the second line",
    "               those of whole requests, as clients see them",
    "ACTIVE, QUEUE  requests at endpoints, and those that wait",
    "SHARE          of the pool's attempts, in per cent: what it had / is due",
    "EJECT          how often it was ejected for its answers since the start",
];

struct Column {
    heading: &'static str,
    width: u16,
    /// Only on screens as wide as this.
    from: u16,
    is_word: bool,
    cell: fn(&Row) -> String,
}

const COLUMNS: [Column; 13] = [
    Column { heading: "STATE", width: 11, from: 0, is_word: true, cell: |row| row.state.clone() },
    Column { heading: "REQ/S", width: 5, from: 0, is_word: false, cell: |row| rate(row.rate) },
    Column { heading: "ERR/S", width: 5, from: 0, is_word: false, cell: |row| rate(row.errors) },
    Column {
        heading: "P50",
        width: 6,
        from: 0,
        is_word: false,
        cell: |row| or_dash(row.p50.map(|it| it.text())),
    },
    Column {
        heading: "P99",
        width: 6,
        from: 0,
        is_word: false,
        cell: |row| or_dash(row.p99.map(|it| it.text())),
    },
    Column { heading: "ACTIVE", width: 6, from: 0, is_word: false, cell: |row| short(row.in_flight as f64) },
    Column {
        heading: "QUEUE",
        width: 5,
        from: 0,
        is_word: false,
        cell: |row| row.waiting.map(|waiting| short(waiting as f64)).unwrap_or_default(),
    },
    Column { heading: "SHARE", width: 7, from: 0, is_word: false, cell: share },
    Column { heading: "EJECT", width: 5, from: 90, is_word: false, cell: |row| short(row.ejections as f64) },
    Column {
        heading: "WEIGHT",
        width: 6,
        from: 100,
        is_word: false,
        cell: |row| row.weight.map(|weight| weight.to_string()).unwrap_or_default(),
    },
    Column { heading: "IDLE", width: 5, from: 110, is_word: false, cell: |row| short(row.idle as f64) },
    Column { heading: "IN/S", width: 6, from: 130, is_word: false, cell: |row| bytes(row.sent) },
    Column { heading: "OUT/S", width: 6, from: 130, is_word: false, cell: |row| bytes(row.received) },
];

/// A screen as wide as this says why an endpoint is in its state.
const WHY_FROM: u16 = 160;
const WHY_WIDTH: u16 = 40;

/// Draws lines from top to bottom.
struct Lines<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    colours: bool,
}

/// `rows`: those that the view shows.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, view: &View, rows: &[Row], colours: bool) {
    let area = frame.area();
    let mut lines = Lines { buffer: frame.buffer_mut(), area, colours };
    let status = &model.newest().status;
    lines.put(0, &title(status), lines.bold());
    lines.put(1, &totals(&model.totals()), Style::new());
    if let Some((text, health)) = notice(model) {
        lines.put(2, &text, lines.style(health));
    }
    let events = if area.height < EVENTS_FROM { 0 } else { area.height / EVENTS_PART };
    let below = DETAILS + events + u16::from(events > 0) + 1;
    let table = area.height.saturating_sub(HEAD + below);
    lines.put(3, &headings(view, area.width), lines.bold());
    if view.mode == Mode::Help {
        let space = area.height.saturating_sub(HEAD);
        (HEAD - 1..).zip(HELP).take(usize::from(space)).for_each(|(y, line)| lines.put_over(y, line));
        (HEAD - 1 + HELP.len() as u16..area.height.saturating_sub(1)).for_each(|y| lines.put_over(y, ""));
        return lines.put(area.height.saturating_sub(1), "any key: back", lines.bold());
    }
    let selected = view.selected_in(rows);
    let first = (selected + 1).saturating_sub(usize::from(table));
    for (y, (at, row)) in (HEAD..HEAD + table).zip(rows.iter().enumerate().skip(first)) {
        let style = lines.style(row.health);
        let style = if at == selected { style.add_modifier(Modifier::REVERSED) } else { style };
        let line = table_line(row, view.extent, at == selected, area.width);
        lines.put(y, &line, style);
    }
    if rows.is_empty() {
        lines.put(HEAD, "nothing is like that: Esc ends the filter, t shows what is well, too", Style::new());
    }
    let mut y = HEAD + table;
    if let Some(row) = rows.get(selected) {
        let about = details::of(status, &row.subject);
        (y..).zip(about).for_each(|(y, line)| lines.put(y, &line, Style::new()));
    }
    y += DETAILS;
    if events > 0 {
        lines.put(y, "EVENTS", lines.bold());
        let last = model
            .last_events(usize::from(events))
            .map(|event| format!("{} {}", event.at.get(11..19).unwrap_or_default(), event.text));
        (y + 1..).zip(last).for_each(|(y, line)| lines.put(y, &line, Style::new()));
    }
    bottom(&mut lines, view);
}

/// The last line: a question, a filter, or the keys.
fn bottom(lines: &mut Lines<'_>, view: &View) {
    let y = lines.area.height.saturating_sub(1);
    match &view.mode {
        Mode::Question(order) => {
            let (command, endpoint, pool) =
                (order.command.name(), human::safe(&order.endpoint), human::safe(&order.pool));
            lines.put(
                y,
                &format!("{command} {endpoint} of {pool}? y: yes, any other key: no"),
                lines.style(Health::Bad),
            );
        }
        Mode::Filter => lines.put(y, &format!("filter: {}_", human::safe(&view.filter)), lines.bold()),
        Mode::Table | Mode::Help => lines.put(y, KEYS, Style::new().add_modifier(Modifier::DIM)),
    }
}

/// `evenkeel 1.0.0 ready, pid 7, generation 2, up 3m 12s, /etc/evenkeel/evenkeel.yaml`
fn title(status: &Status) -> String {
    let state = match status.state {
        ProcessState::Ready => "ready",
        ProcessState::Starting => "starting",
        ProcessState::Draining => "draining",
    };
    let file = status.file.as_ref().map(|file| format!(", {}", human::safe(file))).unwrap_or_default();
    format!(
        "evenkeel {} {state}, pid {}, generation {}, up {}{file}",
        human::safe(&status.version),
        status.pid,
        status.generation,
        human::coarse_duration(Duration::try_from_secs_f64(status.uptime_seconds).unwrap_or_default()),
    )
}

fn totals(totals: &Totals) -> String {
    let Totals { rate: requests, errors, p50, p99, in_flight, connections } = totals;
    format!(
        "{} req/s, {} 5xx, p50 {}, p99 {}, {} in flight, {} connections",
        rate(*requests),
        or_dash(errors.map(|part| format!("{:.1} %", part * 100.0))),
        or_dash(p50.map(|it| it.text())),
        or_dash(p99.map(|it| it.text())),
        human::count(*in_flight),
        human::count(*connections),
    )
}

/// What somebody should know before anything else.
fn notice(model: &Model) -> Option<(String, Health)> {
    if let Some((since, why)) = model.silent() {
        let age = Duration::try_from(Timestamp::now().duration_since(*since)).unwrap_or_default();
        let text = format!("NO ANSWER for {}, asking on: {}", human::coarse_duration(age), human::safe(why));
        return Some((text, Health::Bad));
    }
    let status = &model.newest().status;
    if let Some(left) = status.confirm_seconds {
        let left = human::coarse_duration(Duration::try_from_secs_f64(left).unwrap_or_default());
        let text = format!("the config waits for `evenkeel confirm`: the one before comes back in {left}");
        return Some((text, Health::Impaired));
    }
    let incident = status.last_incident.as_ref()?;
    let text = format!("last incident {}: {}", human::date(incident.at), human::safe(&incident.reason));
    Some((text, Health::Impaired))
}

fn columns(width: u16) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| column.from <= width)
}

/// What the columns leave.
fn name_width(width: u16) -> usize {
    let columns: u16 = columns(width).map(|column| column.width + 1).sum();
    let why = if width >= WHY_FROM { WHY_WIDTH + 1 } else { 0 };
    usize::from(width.saturating_sub(columns + why).max(8))
}

fn headings(view: &View, width: u16) -> String {
    let order = match (view.sort, view.reversed) {
        (Sort::Config, _) => String::new(),
        (sort, false) => format!(" by {}", sort.name()),
        (sort, true) => format!(" by {} (r)", sort.name()),
    };
    let filter =
        if view.filter.is_empty() { String::new() } else { format!(" /{}", human::safe(&view.filter)) };
    let trouble = if view.trouble { "trouble: " } else { "" };
    let name = format!("{trouble}{}{order}{filter}", view.extent.name());
    let mut line = fitted(&name, name_width(width), true);
    columns(width).for_each(|it| push_cell(&mut line, it.heading, it));
    if width >= WHY_FROM {
        line.push_str(" WHY");
    }
    line
}

/// An endpoint stands below its pool; where endpoints of several pools are in a list, each names its own.
fn table_line(row: &Row, extent: Extent, is_selected: bool, width: u16) -> String {
    let name = match (&row.subject.endpoint, extent) {
        (None, _) => human::safe(&row.subject.pool),
        (Some(endpoint), Extent::Endpoints) => {
            format!("{} {}", human::safe(endpoint), human::safe(&row.subject.pool))
        }
        (Some(endpoint), _) => format!(" {}", human::safe(endpoint)),
    };
    let mark = if is_selected { '>' } else { ' ' };
    let mut line = fitted(&format!("{mark}{name}"), name_width(width), true);
    columns(width).for_each(|it| push_cell(&mut line, &(it.cell)(row), it));
    if width >= WHY_FROM {
        line.push(' ');
        line.push_str(&fitted(&human::safe(&row.why), usize::from(WHY_WIDTH), true));
    }
    line
}

fn push_cell(line: &mut String, text: &str, column: &Column) {
    line.push(' ');
    line.push_str(&fitted(text, usize::from(column.width), column.is_word));
}

/// Text of exactly this width: filled, or cut with two dots at its end.
fn fitted(text: &str, width: usize, is_word: bool) -> String {
    if text.chars().count() > width {
        let kept: String = text.chars().take(width.saturating_sub(2)).collect();
        return format!("{kept:.<width$}");
    }
    if is_word { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn rate(rate: Option<f64>) -> String {
    or_dash(rate.map(short))
}

/// At most five letters: `0`, `0.4`, `12`, `999`, `1.2k`, `34k`, `1.2M`.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 9.95 && value.fract() != 0.0 => format!("{value:.1}"),
        value if value < 999.5 => format!("{value:.0}"),
        value if value < 9_950.0 => format!("{:.1}k", value / 1e3),
        value if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        value if value < 9_950_000.0 => format!("{:.1}M", value / 1e6),
        value => format!("{:.0}M", value / 1e6),
    }
}

fn bytes(rate: Option<f64>) -> String {
    or_dash(rate.map(|rate| human::bytes(rate as u64)))
}

/// `33/50`: what it had and what it is due, in per cent.
fn share(row: &Row) -> String {
    let Some((had, due)) = row.share else { return String::new() };
    let had = had.map_or_else(|| "-".to_owned(), |had| format!("{:.0}", had * 100.0));
    format!("{had}/{:.0}", due * 100.0)
}

// === impl Lines ===

impl Lines<'_> {
    fn put(&mut self, y: u16, text: &str, style: Style) {
        if y < self.area.height {
            let width = usize::from(self.area.width);
            self.buffer.set_stringn(self.area.x, self.area.y + y, text, width, style);
        }
    }

    /// The same, over what is there.
    fn put_over(&mut self, y: u16, text: &str) {
        let width = usize::from(self.area.width);
        self.put(y, &format!("{text:<width$}"), Style::reset());
    }

    fn bold(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn style(&self, health: Health) -> Style {
        match (health, self.colours) {
            (Health::Well, _) => Style::new(),
            (Health::Impaired, true) => Style::new().fg(Color::Yellow),
            (Health::Bad, true) => Style::new().fg(Color::Red),
            (Health::Impaired | Health::Bad, false) => self.bold(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_into_five_letters() {
        let shown = [0.0, 0.04, 0.4, 3.0, 9.96, 999.4, 999.6, 9_949.0, 34_000.0, 999_600.0, 2e8].map(short);
        assert_eq!(shown, ["0", "0.0", "0.4", "3", "10", "999", "1.0k", "9.9k", "34k", "1.0M", "200M"]);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(fitted("10.0.0.1:3000", 8, true), "10.0.0..");
        assert_eq!([fitted("ab", 4, true), fitted("ab", 4, false)], ["ab  ", "  ab"]);
    }
}
