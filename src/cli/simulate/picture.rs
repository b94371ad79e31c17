//! The result of a simulation as a picture (SVG): shares, times and failures over time, with the events.

use std::fmt::Write;

use crate::escape;
use crate::simulate::Report;
use crate::simulate::report::PeriodReport;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 880.0;
/// The height of a panel, and the room between two.
const PANEL: f64 = 170.0;
const GAP: f64 = 62.0;
const TOP: f64 = 64.0;
/// The most endpoints that have a line, and the legend for them.
const LINES_MAX: usize = 10;

/// Colours that can be told apart on light and dark ground (Okabe and Ito), and more of the same kind.
const COLOURS: [&str; LINES_MAX] = [
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8a00", "#8c6bb1", "#a6611a",
    "#7f7f7f",
];

const STYLE: &str = "
  text { font: 12px sans-serif; fill: #222; }
  .title { font-size: 14px; font-weight: bold; }
  .ground { fill: #fff; }
  .grid { stroke: #ccc; stroke-width: 1; }
  .event { stroke: #888; stroke-width: 1; stroke-dasharray: 4 3; }
  .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  .ink { stroke: #222; }
  .bad { stroke: #d62728; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd; }
    .ground { fill: #161b22; }
    .grid { stroke: #3a3f47; }
    .event { stroke: #999; }
    .ink { stroke: #ddd; }
    .bad { stroke: #ff6b6b; }
  }
";

/// One of the panels: its place, and the values at its foot and its head.
struct Panel {
    top: f64,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        let scaled = |value: f64| if self.logarithmic { value.max(self.low).log10() } else { value };
        let (low, high) = (scaled(self.low), scaled(self.high));
        let part = (scaled(value.clamp(self.low, self.high)) - low) / (high - low);
        self.top + PANEL * (1.0 - part)
    }

    fn title(&self, out: &mut String, text: &str) {
        let _ = writeln!(out, r#"<text class="title" x="{LEFT}" y="{:.1}">{text}</text>"#, self.top - 8.0);
    }

    /// A line across, with its value.
    fn grid(&self, out: &mut String, value: f64, shown: &str) {
        let y = self.y(value);
        let _ = writeln!(out, r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/>"#);
        let _ = writeln!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{shown}</text>"#,
            LEFT - 8.0,
            y + 4.0
        );
    }

    /// The values of all periods; where one has none, the line has a gap.
    fn line(
        &self,
        out: &mut String,
        report: &Report,
        attributes: &str,
        value: impl Fn(&PeriodReport) -> Option<f64>,
    ) {
        let (mut path, mut draws) = (String::new(), false);
        for period in &report.timeline.periods {
            let Some(value) = value(period) else {
                draws = false;
                continue;
            };
            let x = x(report, period.seconds + report.timeline.step_seconds / 2.0);
            let _ = write!(path, "{}{x:.1} {:.1}", if draws { "L" } else { "M" }, self.y(value));
            draws = true;
        }
        let _ = writeln!(out, r#"<path {attributes} d="{path}"/>"#);
    }
}

pub(super) fn draw(report: &Report) -> String {
    let panel_top = |index: usize| TOP + index as f64 * (PANEL + GAP);
    let height = panel_top(2) + PANEL + 44.0 + legend_height(report);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n<style>{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let title = format!(
        "pool {}, {}: {} requests, {} failed",
        report.pool, report.balance, report.totals.requests, report.totals.errors
    );
    let _ = writeln!(out, r#"<text class="title" x="{LEFT}" y="24">{}</text>"#, text(&title));
    shares(&mut out, report, panel_top(0));
    times(&mut out, report, panel_top(1));
    failures(&mut out, report, panel_top(2));
    axis(&mut out, report, panel_top(2) + PANEL);
    events(&mut out, report, panel_top(0), panel_top(2) + PANEL);
    legend(&mut out, report, panel_top(2) + PANEL + 44.0);
    out.push_str("</svg>\n");
    out
}

fn shares(out: &mut String, report: &Report, top: f64) {
    let all = || report.timeline.periods.iter().flat_map(|period| period.shares.iter().copied());
    let high = nice(all().fold(0.0, f64::max) * 100.0);
    let panel = Panel { top, low: 0.0, high, logarithmic: false };
    panel.title(out, "share of the requests");
    for part in [0.0, 0.5, 1.0] {
        panel.grid(out, high * part, &format!("{} %", high * part));
    }
    for (index, colour) in COLOURS.iter().enumerate().take(report.endpoints.len()) {
        let attributes = format!(r#"class="line" stroke="{colour}""#);
        panel.line(out, report, &attributes, |period| Some(period.shares.get(index)? * 100.0));
    }
}

fn times(out: &mut String, report: &Report, top: f64) {
    let all = || report.timeline.periods.iter().flat_map(|period| [period.p50_ms, period.p99_ms]).flatten();
    let low = 10f64.powf(all().fold(f64::MAX, f64::min).clamp(1e-3, 1e6).log10().floor());
    let high = 10f64.powf(all().fold(low * 1.1, f64::max).log10().ceil());
    let panel = Panel { top, low, high, logarithmic: true };
    panel.title(out, "time of a request: p99, and p50 beneath it");
    let mut value = low;
    while value <= high * 1.001 {
        let shown = if value >= 1e3 { format!("{} s", value / 1e3) } else { format!("{value} ms") };
        panel.grid(out, value, &shown);
        value *= 10.0;
    }
    panel.line(out, report, r#"class="line ink""#, |period| period.p99_ms);
    panel.line(out, report, r#"class="line ink" opacity="0.45""#, |period| period.p50_ms);
}

fn failures(out: &mut String, report: &Report, top: f64) {
    let per_second = |count: u64| count as f64 / report.timeline.step_seconds;
    let all = report.timeline.periods.iter().flat_map(|period| [period.errors, period.retries]);
    let high = nice(all.map(per_second).fold(1.0, f64::max));
    let panel = Panel { top, low: 0.0, high, logarithmic: false };
    panel.title(out, "failed requests (red) and retries a second");
    for part in [0.0, 0.5, 1.0] {
        panel.grid(out, high * part, &format!("{}", high * part));
    }
    panel.line(out, report, r#"class="line ink" opacity="0.45""#, |period| Some(per_second(period.retries)));
    panel.line(out, report, r#"class="line bad""#, |period| Some(per_second(period.errors)));
}

/// The seconds below the last panel.
fn axis(out: &mut String, report: &Report, bottom: f64) {
    for part in 0..=6 {
        let seconds = report.seconds * f64::from(part) / 6.0;
        let shown = (seconds * 10.0).round() / 10.0;
        let _ = writeln!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{shown} s</text>"#,
            x(report, seconds),
            bottom + 18.0
        );
    }
}

/// What was done to the endpoints, as marks with numbers that the legend explains.
fn events(out: &mut String, report: &Report, top: f64, bottom: f64) {
    for (event, number) in given(report) {
        let x = x(report, event.seconds);
        let _ = writeln!(out, r#"<path class="event" d="M{x:.1} {top}V{bottom}"/>"#);
        let y = top - 24.0;
        let _ = writeln!(out, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{number}</text>"#);
    }
}

/// The events of the scenario, with letters.
fn given(report: &Report) -> impl Iterator<Item = (&crate::simulate::report::EventReport, char)> {
    report.events.iter().filter(|event| event.given).zip('A'..='Z')
}

const LEGEND_LINE: f64 = 18.0;

fn legend_height(report: &Report) -> f64 {
    let lines = report.endpoints.len().min(LINES_MAX).max(given(report).count());
    lines as f64 * LEGEND_LINE + 8.0
}

fn legend(out: &mut String, report: &Report, top: f64) {
    let line = |index: usize| top + index as f64 * LEGEND_LINE;
    for (index, (endpoint, colour)) in report.endpoints.iter().zip(COLOURS).enumerate() {
        let y = line(index);
        let _ = writeln!(
            out,
            r#"<path class="line" stroke="{colour}" stroke-width="3" d="M{LEFT} {:.1}h18"/><text x="{:.1}" y="{y:.1}">{}</text>"#,
            y - 4.0,
            LEFT + 26.0,
            text(&endpoint.address)
        );
    }
    for (index, (event, letter)) in given(report).enumerate() {
        let shown = format!("{letter}  {} s: {} {}", event.seconds, event.endpoint, event.what);
        let _ = writeln!(out, r#"<text x="450" y="{:.1}">{}</text>"#, line(index), text(&shown));
    }
}

fn x(report: &Report, seconds: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * seconds / report.seconds
}

/// The next of 1, 2 and 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let decade = 10f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * decade).find(|nice| *nice >= value).unwrap_or(value)
}

fn text(text: &str) -> String {
    escape::to_text(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
