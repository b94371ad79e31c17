//! Keys, samples and screens, without a terminal and without a process.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::json;

use super::draw::draw;
use super::model::{Answer, Model};
use super::rows::Row;
use super::sample::{Command, Event, Order, Sample};
use super::scrape::Scrape;
use super::view::{Action, Extent, Mode, View};
use crate::admin::Status;

fn now() -> Timestamp {
    "2026-11-24T12:01:10Z".parse().expect("a time")
}

/// A pool of two endpoints and one of a single bad one; `second`: since the start.
fn status(second: u64) -> Status {
    let endpoint = |address: &str, state: &str, requests: u64, failures: u64| {
        json!({
            "address": address, "state": state, "since": 1_795_521_600.0, "reason": "a probe passed", "weight": 1,
            "backup": false, "requests": requests, "in_flight": 3, "idle_connections": 2, "failures": failures,
            "bytes_in": 0, "bytes_out": requests * 1000, "share": 0.5, "expected_share": 0.5, "ejections": 2,
            "checks_passed": 1, "checks_failed": 0,
        })
    };
    let pool = |name: &str, endpoints: Vec<serde_json::Value>| {
        json!({
            "name": name, "balance": "round_robin", "waiting": 4, "in_flight": 6, "most": null, "refused": 0,
            "sources": [], "endpoints": endpoints,
        })
    };
    serde_json::from_value(json!({
        "version": "1.2.3", "pid": 7, "file": "/etc/evenkeel/evenkeel.yaml", "generation": 2,
        "started": 1_795_521_600.0, "uptime_seconds": second as f64, "state": "ready",
        "listeners": [{
            "name": "default", "address": "0.0.0.0:80", "connections": 12,
            "requests": { "accepted": 9, "answered": 0, "refused": 0, "client_gone": 0, "cut": 0, "in_flight": 9 },
        }],
        "pools": [
            pool("api", vec![
                endpoint("10.0.0.1:3000", "healthy", 300 * second, 0),
                endpoint("10.0.0.2:3000", "ejected", 100 * second, 5 * second),
            ]),
            pool("web", vec![endpoint("web.example.com:8080 (10.0.0.9:8080)", "healthy", 10 * second, 0)]),
        ],
        "log_dropped": { "access": 0, "events": 0 },
    }))
    .expect("a status")
}

fn sample(second: u64) -> Sample {
    let count = second * 400;
    let text = format!(
        "evenkeel_requests_total{{pool=\"api\",status=\"2xx\"}} {}
evenkeel_requests_total{{pool=\"api\",status=\"5xx\"}} {}
evenkeel_request_duration_seconds_bucket{{route=\"r\",pool=\"api\",le=\"0.01\"}} {count}
evenkeel_request_duration_seconds_bucket{{route=\"r\",pool=\"api\",le=\"+Inf\"}} {count}
evenkeel_first_byte_duration_seconds_bucket{{pool=\"api\",le=\"0.005\"}} {count}
evenkeel_first_byte_duration_seconds_bucket{{pool=\"api\",le=\"+Inf\"}} {count}
evenkeel_endpoint_first_byte_duration_seconds_bucket{{pool=\"api\",endpoint=\"10.0.0.2:3000\",le=\"0.005\"}} 0
evenkeel_endpoint_first_byte_duration_seconds_bucket{{pool=\"api\",endpoint=\"10.0.0.2:3000\",le=\"+Inf\"}} {count}
evenkeel_endpoint_responses_total{{pool=\"api\",endpoint=\"10.0.0.2:3000\",status=\"5xx\"}} {second}
",
        second * 396,
        second * 4,
    );
    Sample {
        at: Duration::from_secs(second),
        status: status(second),
        scrape: Scrape::parse(&text),
        events: vec![event(0, "INFO     ready")],
    }
}

fn event(second: u64, text: &str) -> Event {
    Event { at: format!("2026-11-24T12:01:{second:02}.000000Z"), text: text.into() }
}

/// After ten seconds.
fn model() -> Model {
    let mut model = Model::new(sample(1));
    (2..=10).for_each(|second| model.take(Answer::Sample(Box::new(sample(second))), now()));
    model
}

fn press(view: &mut View, model: &Model, key: KeyCode) -> Option<Action> {
    let rows = view.rows(&model.groups());
    view.press(KeyEvent::new(key, KeyModifiers::NONE), &rows)
}

fn type_in(view: &mut View, model: &Model, keys: &str) {
    keys.chars().for_each(|key| assert_eq!(press(view, model, KeyCode::Char(key)), None));
}

/// The names in the table, from top to bottom.
fn names(view: &View, model: &Model) -> Vec<String> {
    let name = |row: Row| row.subject.endpoint.unwrap_or(row.subject.pool);
    view.rows(&model.groups()).into_iter().map(name).collect()
}

fn drawn(width: u16, height: u16, model: &Model, view: &View, colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let rows = view.rows(&model.groups());
    terminal.draw(|frame| draw(frame, model, view, &rows, colours)).expect("it is drawn");
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect();
    let trimmed = |line: String| line.trim_end().to_owned();
    buffer.content().chunks(width).map(line).map(trimmed).collect()
}

const SMALL: &str = "\
evenkeel 1.2.3 ready, pid 7, generation 2, up 10s, /etc/evenkeel/evenkeel.yaml
400 req/s, 1.0 % 5xx, p50 5.0ms, p99 9.9ms, 9 in flight, 12 connections

pools and endpoints   STATE       REQ/S ERR/S    P50    P99 ACTIVE QUEUE   SHARE
>api                  1/2 up        400     4  2.5ms  5.0ms      6     4
  10.0.0.1:3000       healthy       300     0      -      -      3         75/50
  10.0.0.2:3000       ejected       100     6 >5.0ms >5.0ms      3         25/50
 web                  1/1 up          0     0      -      -      6     4
  web.example.com:8.. healthy        10     0      -      -      3        100/50





round_robin; 6 in flight; refused 0: full 0, queue full 0, late 0, shed 0
waited: 0; retries of ten seconds: 0, refused by the budget: 0
EVENTS
12:01:00 INFO     ready





q quit  ? keys  s sort  r reverse  / filter  t trouble  p pools  d u drain";

#[test]
fn the_screen_of_80_columns_has_all() {
    let (model, view) = (model(), View::default());
    let lines = lines(&drawn(80, 24, &model, &view, true));
    assert_eq!(lines.join("\n"), SMALL);
}

#[test]
fn a_large_screen_has_more_columns_and_any_size_is_drawn() {
    let (model, mut view) = (model(), View::default());
    let large = lines(&drawn(200, 50, &model, &view, true));
    for heading in ["EJECT", "WEIGHT", "IDLE", "IN/S", "OUT/S", "WHY"] {
        assert!(large[3].contains(heading), "{heading}: {}", large[3]);
    }
    assert!(large[5].ends_with("a probe passed") && large[5].contains("300kB"), "{}", large[5]);
    assert_eq!(large.len(), 50);
    for mode in [Mode::Table, Mode::Filter, Mode::Help] {
        view.mode = mode;
        for (width, height) in [(1, 1), (5, 3), (40, 10), (80, 14), (300, 100)] {
            drawn(width, height, &model, &view, true);
        }
    }
}

#[test]
fn without_colours_there_are_none_and_words_say_the_same() {
    let (model, view) = (model(), View::default());
    let colours = |colours| {
        let buffer = drawn(80, 24, &model, &view, colours);
        buffer.content().iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 0);
    let text = |colours| lines(&drawn(80, 24, &model, &view, colours));
    assert_eq!(text(true), text(false));
}

#[test]
fn rates_are_those_of_the_last_seconds() {
    let mut model = model();
    // A second in which nothing happens.
    let still = Sample { at: Duration::from_secs(11), ..sample(10) };
    model.take(Answer::Sample(Box::new(still)), now());
    let rows = View::default().rows(&model.groups());
    let rates: Vec<_> = rows.iter().map(|row| row.rate).collect();
    assert_eq!(rates, [Some(320.0), Some(240.0), Some(80.0), Some(0.0), Some(8.0)]);
    let errors: Vec<_> = rows.iter().map(|row| row.errors).collect();
    assert_eq!(errors, [Some(3.2), Some(0.0), Some(4.8), Some(0.0), Some(0.0)]);
    assert_eq!(rows[1].share, Some((Some(0.75), 0.5)));
    assert_eq!(model.totals().errors, Some(0.01));
}

#[test]
fn the_first_sample_has_no_rates() {
    let model = Model::new(sample(5));
    assert!(View::default().rows(&model.groups()).iter().all(|row| row.rate.is_none() && row.p99.is_none()));
    assert!(lines(&drawn(80, 24, &model, &View::default(), true))[1].starts_with("- req/s, - 5xx"));
}

#[test]
fn a_process_that_goes_is_said_and_its_successor_counts_anew() {
    let mut model = model();
    let told = |model: &Model| model.last_events(100).map(|event| event.text.clone()).collect::<Vec<_>>();
    for _ in 0..3 {
        model.take(Answer::Silent("no evenkeel answers on \x1b[2J".into()), now());
    }
    let screen = lines(&drawn(80, 24, &model, &View::default(), true));
    assert!(screen[2].starts_with("NO ANSWER for ") && screen[2].contains("\\x1b[2J"), "{}", screen[2]);
    let mut successor = sample(11);
    successor.status.pid = 8;
    successor.status.generation = 1;
    model.take(Answer::Sample(Box::new(successor)), now());
    let reloaded = |second| {
        let mut sample = sample(second);
        (sample.status.pid, sample.status.generation) = (8, 2);
        sample
    };
    assert!(model.groups().iter().all(|group| group.pool.rate.is_none()));
    model.take(Answer::Sample(Box::new(reloaded(12))), now());
    assert!(model.groups().iter().all(|group| group.pool.rate.is_some()));
    let expected = [
        "INFO     ready",
        "top      no answer: no evenkeel answers on \\x1b[2J",
        "top      pid 8 answers",
        "top      pid 8 has taken the place of pid 7",
        "top      generation 2 is in force",
    ];
    assert_eq!(told(&model), expected);
}

#[test]
fn events_are_shown_once_and_in_order() {
    let mut model = Model::new(sample(1));
    let with = |second, events: Vec<Event>| Answer::Sample(Box::new(Sample { events, ..sample(second) }));
    let [a, b, c] = [event(5, "a"), event(5, "b"), event(6, "c")];
    model.take(with(2, vec![event(0, "INFO     ready"), a.clone()]), now());
    model.take(with(3, vec![a.clone(), b.clone(), c.clone()]), now());
    model.take(with(4, vec![a, b, c]), now());
    let texts: Vec<_> = model.last_events(3).map(|event| &*event.text).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(model.last_events(100).count(), 4);
}

#[test]
fn rows_are_sorted_by_keys() {
    let (model, mut view) = (model(), View::default());
    let [api, web] = ["api", "web"];
    let [one, two, nine] = ["10.0.0.1:3000", "10.0.0.2:3000", "web.example.com:8080 (10.0.0.9:8080)"];
    assert_eq!(names(&view, &model), [api, one, two, web, nine]);
    // By name, by state.
    type_in(&mut view, &model, "ss");
    assert_eq!(names(&view, &model), [api, two, one, web, nine]);
    // By rate, and turned round.
    type_in(&mut view, &model, "s");
    assert_eq!(names(&view, &model), [api, one, two, web, nine]);
    type_in(&mut view, &model, "r");
    assert_eq!(names(&view, &model), [web, nine, api, two, one]);
    type_in(&mut view, &model, "rs");
    assert_eq!(names(&view, &model), [api, two, one, web, nine], "by errors");
    type_in(&mut view, &model, "p");
    assert_eq!(names(&view, &model), [api, web]);
    type_in(&mut view, &model, "p");
    assert_eq!(
        (names(&view, &model), view.extent),
        (vec![two.into(), one.into(), nine.into()], Extent::Endpoints)
    );
    type_in(&mut view, &model, "pSSSS");
    assert_eq!(names(&view, &model), [api, one, two, web, nine], "as in the config again");
}

#[test]
fn rows_are_filtered_by_keys() {
    let (model, mut view) = (model(), View::default());
    type_in(&mut view, &model, "/0.2q");
    assert_eq!(view.mode, Mode::Filter);
    assert!(names(&view, &model).is_empty());
    press(&mut view, &model, KeyCode::Backspace);
    press(&mut view, &model, KeyCode::Enter);
    assert_eq!(names(&view, &model), ["api", "10.0.0.2:3000"]);
    press(&mut view, &model, KeyCode::Esc);
    type_in(&mut view, &model, "/WEB");
    press(&mut view, &model, KeyCode::Enter);
    assert_eq!(names(&view, &model).len(), 2);
    press(&mut view, &model, KeyCode::Esc);
    type_in(&mut view, &model, "tp");
    assert_eq!(names(&view, &model), ["api", "web"], "both have a queue");
    type_in(&mut view, &model, "p");
    assert_eq!(names(&view, &model), ["10.0.0.2:3000"]);
}

#[test]
fn an_endpoint_is_drained_after_a_question_only() {
    let (model, mut view) = (model(), View::default());
    assert!(matches!(press(&mut view, &model, KeyCode::Char('d')), Some(Action::Tell(_))), "this is a pool");
    // The selection stays with its endpoint when the order changes.
    press(&mut view, &model, KeyCode::Down);
    type_in(&mut view, &model, "ssd");
    let order = Order { command: Command::Drain, pool: "api".into(), endpoint: "10.0.0.1:3000".into() };
    assert_eq!(view.mode, Mode::Question(order.clone()));
    let screen = lines(&drawn(80, 24, &model, &view, false));
    assert_eq!(screen[23], "drain 10.0.0.1:3000 of api? y: yes, any other key: no");
    assert_eq!(press(&mut view, &model, KeyCode::Char('n')), None);
    assert_eq!(view.mode, Mode::Table);
    type_in(&mut view, &model, "d");
    assert_eq!(press(&mut view, &model, KeyCode::Char('y')), Some(Action::Send(order)));
    type_in(&mut view, &model, "u");
    assert!(
        matches!(press(&mut view, &model, KeyCode::Char('y')), Some(Action::Send(order)) if order.command == Command::Undrain)
    );
}

#[test]
fn help_is_shown_and_any_key_ends_it() {
    let (model, mut view) = (model(), View::default());
    type_in(&mut view, &model, "?");
    let screen = lines(&drawn(80, 24, &model, &view, true));
    assert!(screen.iter().all(|line| line.chars().count() < 80), "{screen:#?}");
    assert!(screen.iter().any(|line| line.starts_with("d, u ")), "{screen:#?}");
    assert!(screen.iter().any(|line| line.starts_with("EJECT ")), "{screen:#?}");
    type_in(&mut view, &model, "q");
    assert_eq!(view.mode, Mode::Table);
    assert_eq!(press(&mut view, &model, KeyCode::Char('q')), Some(Action::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    view.mode = Mode::Filter;
    assert_eq!(view.press(control_c, &[]), Some(Action::Quit));
}
