//! The operations. Each has a function that prepares it and returns the closure to count.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;

use evenkeel::config::{AccessFormat, AccessLog, LogOutput};
use evenkeel::exchange::{Edits, RequestScope, decide};
use evenkeel::http1::head::{Request, Response};
use evenkeel::http1::write::{self, Connection, RequestForm, ResponseForm};
use evenkeel::message::Framing;
use evenkeel::pool::{MayProbe, PickRequest, Picked, TriedEndpoints};
use evenkeel::telemetry::access;
use evenkeel::telemetry::metrics::Metrics;

use super::traffic::{self, BROWSER, PLAIN, RESPONSE, Read, Times};

pub struct Operation {
    pub name: &'static str,
    pub prepare: fn() -> Box<dyn FnMut()>,
}

pub const OPERATIONS: [Operation; 18] = [
    Operation { name: "read a request's head", prepare: || read_request(PLAIN) },
    Operation { name: "read a browser's head", prepare: || read_request(BROWSER) },
    Operation { name: "read a response's head", prepare: read_response },
    Operation { name: "write a request's head", prepare: || write_request(PLAIN) },
    Operation { name: "write a browser's head", prepare: || write_request(BROWSER) },
    Operation { name: "write a response's head", prepare: write_response },
    Operation { name: "decide, 1 route", prepare: || decide_among(1) },
    Operation { name: "decide, 100 routes", prepare: || decide_among(100) },
    Operation { name: "pick, round robin", prepare: || pick("p") },
    Operation { name: "pick, weights and a backup", prepare: || pick("weighted") },
    Operation { name: "pick, least requests of 100", prepare: || pick("many") },
    Operation { name: "pick for a retry", prepare: pick_again },
    Operation { name: "edits of a request", prepare: request_edits },
    Operation { name: "life of a request", prepare: life },
    Operation { name: "count a record", prepare: count_record },
    Operation { name: "log a record, JSON", prepare: || log_record(AccessFormat::Json) },
    Operation { name: "log a record, combined", prepare: || log_record(AccessFormat::Combined) },
    Operation { name: "log a record, text", prepare: || log_record(AccessFormat::Text) },
];

fn pinned() -> Arc<RequestScope> {
    traffic::pinned(&traffic::snapshot(1), &traffic::telemetry())
}

fn read_request(head: &'static [u8]) -> Box<dyn FnMut()> {
    let (mut request, limits) = (Request::default(), traffic::limits());
    Box::new(move || {
        black_box(request.parse(black_box(head), &limits));
    })
}

fn read_response() -> Box<dyn FnMut()> {
    let mut response = Response::default();
    Box::new(move || {
        black_box(response.parse(black_box(RESPONSE)));
    })
}

fn write_request(head: &'static [u8]) -> Box<dyn FnMut()> {
    let read = Read::of(head);
    let (pinned, times) = (pinned(), Times::new());
    let mut exchange = traffic::begin(&pinned, &read.view(), &traffic::client(), times);
    traffic::admit_and_connect(&mut exchange, &read.view(), times);
    let mut edits = Edits::default();
    exchange.request_edits(&read.view(), read.view().connection(), &mut edits);
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        let form =
            RequestForm { edits: &edits, framing: Framing::None, upgrade: false, trailers: false, host: "" };
        write::request(&mut out, &read.view(), &form);
        black_box(&out);
    })
}

fn write_response() -> Box<dyn FnMut()> {
    let (read, response) = (Read::of(PLAIN), traffic::response());
    let (pinned, times) = (pinned(), Times::new());
    let mut exchange = traffic::begin(&pinned, &read.view(), &traffic::client(), times);
    traffic::admit_and_connect(&mut exchange, &read.view(), times);
    traffic::answer(&mut exchange, times);
    let (mut edits, mut out) = (Edits::default(), Vec::new());
    Box::new(move || {
        let head = response.view(RESPONSE);
        exchange.response_edits(200, || head.fields(), &mut edits);
        out.clear();
        let (framing, connection) = (Framing::Length(100), Connection::Silent);
        write::response(
            &mut out,
            &head,
            &ResponseForm { edits: &edits, framing, connection, upgrade: false, date: None },
        );
        black_box(&out);
    })
}

fn decide_among(routes: usize) -> Box<dyn FnMut()> {
    let (snapshot, read) = (traffic::snapshot(routes), Read::of(PLAIN));
    Box::new(move || {
        black_box(decide(&snapshot, &read.view(), None).route.is_some());
    })
}

fn first(tried: &TriedEndpoints) -> PickRequest<'_> {
    PickRequest { tried, key: None, sticky: None, may_probe: MayProbe::AtOnce, now: Instant::now() }
}

fn pick(pool: &'static str) -> Box<dyn FnMut()> {
    let pool = traffic::snapshot(1).pool(pool).expect("it is in the config").clone();
    let none = TriedEndpoints::default();
    Box::new(move || {
        black_box(pool.pick(&first(&none)));
    })
}

fn pick_again() -> Box<dyn FnMut()> {
    let pool = traffic::snapshot(1).pool("p").expect("it is in the config").clone();
    let Picked::Endpoint { endpoint, .. } = pool.pick(&first(&TriedEndpoints::default())) else {
        unreachable!("there are no health checks")
    };
    let mut tried = TriedEndpoints::default();
    tried.add(endpoint);
    Box::new(move || {
        black_box(pool.pick(&first(&tried)));
    })
}

fn request_edits() -> Box<dyn FnMut()> {
    let (pinned, read, times) = (pinned(), Read::of(BROWSER), Times::new());
    let mut exchange = traffic::begin(&pinned, &read.view(), &traffic::client(), times);
    traffic::admit_and_connect(&mut exchange, &read.view(), times);
    let mut edits = Edits::default();
    Box::new(move || {
        exchange.request_edits(&read.view(), read.view().connection(), &mut edits);
        black_box(&edits);
    })
}

/// All that `exchange` does for a request, except for the edits.
fn life() -> Box<dyn FnMut()> {
    let (pinned, read, times) = (pinned(), Read::of(PLAIN), Times::new());
    let client = traffic::client();
    Box::new(move || {
        let mut exchange = traffic::begin(&pinned, &read.view(), &client, times);
        traffic::admit_and_connect(&mut exchange, &read.view(), times);
        traffic::answer(&mut exchange, times);
        black_box(exchange.finish(Some(200), 100, times.later()).status);
    })
}

fn count_record() -> Box<dyn FnMut()> {
    let (metrics, record) = (Metrics::new(SystemTime::UNIX_EPOCH), traffic::record(PLAIN));
    Box::new(move || metrics.request(traffic::named(black_box(&record))))
}

fn log_record(format: AccessFormat) -> Box<dyn FnMut()> {
    let output = LogOutput::File("/dev/null".into());
    let config = AccessLog { output, format, ..traffic::snapshot(1).config().access_log.clone() };
    let log = access::AccessLog::start(&config, 1).expect("it can always be opened");
    let (worker, record, now) = (log.worker(), traffic::record(BROWSER), Times::new().later());
    Box::new(move || worker.log(traffic::named(black_box(&record)), now))
}
