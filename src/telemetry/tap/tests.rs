use crate::telemetry::record::TextParts;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::pool::Endpoint;
use crate::telemetry::record::{AttemptRecord, AttemptResult, ClientAddress, Protocol, Record, RequestText};
use crate::telemetry::share::Share;
use crate::wait_queue::WaitsFor;

fn record(target: &str) -> Record {
    let client = ClientAddress::inet(([10, 0, 0, 9], 41_000).into());
    let parts = TextParts {
        method: b"GET",
        host: b"example.com:8080",
        target: target.as_bytes(),
        request_id: b"0123",
        ..TextParts::default()
    };
    let mut record = Record::new(UNIX_EPOCH, client, RequestText::new(parts), Protocol::Http11);
    record.status = 503;
    record.duration = Duration::from_secs(1);
    record.attempts.push(AttemptRecord {
        endpoint: Endpoint::named("10.0.0.1:3000"),
        connect: None,
        first_byte: None,
        result: AttemptResult::Status(503),
        beside: false,
    });
    record
}

fn named(record: &Record) -> NamedRecord<'_> {
    NamedRecord { record, listener: "default", route: Some("api"), pool: Some("blue") }
}

fn request(filter: Filter) -> TapRequest {
    let fields = FieldNames::default();
    TapRequest { filter, in_flight: false, format: TapFormat::Json, secrets: false, fields }
}

fn worker(taps: &Taps) -> (Arc<Wanted>, WorkerTaps) {
    let wanted = Arc::<Wanted>::default();
    (wanted.clone(), taps.worker(wanted))
}

fn lines(tap: &mut Tap) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    while let Some(lines) = tap.next_lines() {
        let lines = str::from_utf8(lines).expect("UTF-8").lines();
        all.extend(lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")));
    }
    all
}

#[test]
fn nothing_is_wanted_but_while_somebody_taps() {
    let taps = Taps::default();
    let (wanted, worker) = worker(&taps);
    assert!(!wanted.is_tapped());
    let mut first = taps.open(request(Filter::default())).expect("room");
    let second = taps.open(TapRequest { in_flight: true, ..request(Filter::default()) }).expect("room");
    assert!(wanted.is_tapped() && wanted.in_flight());
    drop(second);
    assert!(wanted.is_tapped() && !wanted.in_flight());
    let (late, _late) = self::worker(&taps);
    assert!(late.is_tapped(), "a worker that comes later has the tap, too");
    worker.show(named(&record("/x")), None, Instant::now());
    assert_eq!(lines(&mut first).len(), 1);
    drop(first);
    assert!(!wanted.is_tapped() && !late.is_tapped());
    assert_eq!(taps.count(), 0);
}

#[test]
fn there_are_so_many_taps_and_no_more() {
    let taps = Taps::default();
    let open: Vec<_> = (0..TAPS_MAX).map(|_| taps.open(request(Filter::default())).expect("room")).collect();
    assert!(taps.open(request(Filter::default())).is_err());
    drop(open);
    assert!(taps.open(request(Filter::default())).is_ok());
}

#[test]
fn a_slow_reader_loses_lines_that_are_counted() {
    let taps = Taps::default();
    let (_wanted, worker) = worker(&taps);
    let mut tap = taps.open(request(Filter::default())).expect("room");
    for _ in 0..LINES_MAX + 12 {
        worker.show(named(&record("/x")), None, Instant::now());
    }
    assert_eq!((tap.newly_dropped(), tap.newly_dropped()), (12, 0));
    assert_eq!(lines(&mut tap).len(), LINES_MAX);
    worker.show(named(&record("/x")), None, Instant::now());
    assert_eq!((lines(&mut tap).len(), tap.newly_dropped()), (1, 0), "there is room again");
}

#[test]
fn each_condition_chooses() {
    let texts = |text: &str| vec![text.to_owned()];
    let networks = |network: &str| [network.parse().expect("a network")].into_iter().collect();
    let all = Filter::default;
    let has = |filter: Filter| filter.has(named(&record("/v1/x?q=1")), None);
    for (yes, no) in [
        (Filter { listeners: texts("default"), ..all() }, Filter { listeners: texts("other"), ..all() }),
        (Filter { routes: texts("api"), ..all() }, Filter { routes: texts("web"), ..all() }),
        (Filter { pools: texts("blue"), ..all() }, Filter { pools: texts("green"), ..all() }),
        (
            Filter { endpoints: texts("10.0.0.1:3000"), ..all() },
            Filter { endpoints: texts("10.0.0.2:3000"), ..all() },
        ),
        (
            Filter { statuses: vec![500..=599], ..all() },
            Filter { statuses: vec![404..=404, 200..=299], ..all() },
        ),
        (
            Filter { slow: Some(Duration::from_secs(1)), ..all() },
            Filter { slow: Some(Duration::from_secs(2)), ..all() },
        ),
        (
            Filter { clients: networks("10.0.0.0/8"), ..all() },
            Filter { clients: networks("192.0.2.0/24"), ..all() },
        ),
        (Filter { methods: texts("GET"), ..all() }, Filter { methods: texts("POST"), ..all() }),
        (Filter { hosts: texts("EXAMPLE.com"), ..all() }, Filter { hosts: texts("example.org"), ..all() }),
        (Filter { paths: texts("/v1"), ..all() }, Filter { paths: texts("/v"), ..all() }),
        (Filter { paths: texts("/"), ..all() }, Filter { paths: texts("/v1/x/y"), ..all() }),
        (Filter { share: Some(Share::new(1.0)), ..all() }, Filter { share: Some(Share::new(0.0)), ..all() }),
    ] {
        assert!(has(yes.clone()), "{yes:?}");
        assert!(!has(no.clone()), "{no:?}");
    }
    assert!(!has(Filter { routes: texts("api"), methods: texts("POST"), ..all() }), "all must hold");
}

#[test]
fn fields_choose_and_are_shown_and_secrets_are_not() {
    let name = HeaderName::from_static;
    let taps = Taps::default();
    let (wanted, worker) = worker(&taps);
    let tenant = |value: Option<&str>| {
        let header = HeaderFilter { name: name("x-tenant"), value: value.map(str::to_owned) };
        request(Filter { headers: vec![header], ..Filter::default() })
    };
    let fields =
        FieldNames { request: [name("authorization"), name("accept")].into(), ..FieldNames::default() };
    let mut masking = taps.open(TapRequest { fields: fields.clone(), ..tenant(None) }).expect("room");
    let mut root = taps.open(TapRequest { fields, secrets: true, ..tenant(Some("acme")) }).expect("room");
    let mut other = taps.open(tenant(Some("other"))).expect("room");

    let head = http::Request::builder()
        .header("x-tenant", "acme")
        .header("authorization", "Bearer abc")
        .header("accept", "*/*")
        .body(())
        .expect("a request")
        .into_parts()
        .0;
    let mut record = record("/x?token=abc&a=1");
    wanted.capture_request(&mut record, &head);
    worker.show(named(&record), None, Instant::now());
    let [line] = &lines(&mut masking)[..] else { panic!("one line") };
    assert_eq!(line["target"], "/x?token=***&a=1");
    assert_eq!(line["request_headers"], serde_json::json!({ "authorization": "***", "accept": "*/*" }));
    let [line] = &lines(&mut root)[..] else { panic!("one line") };
    assert_eq!(line["target"], "/x?token=abc&a=1");
    assert_eq!(line["request_headers"]["authorization"], "Bearer abc");
    assert!(lines(&mut other).is_empty());

    drop((masking, root, other));
    let mut record = self::record("/x");
    wanted.capture_request(&mut record, &head);
    assert!(record.unusual.is_none(), "nobody asks for fields any more");
}

#[test]
fn requests_in_flight_are_shown_to_who_asks_for_them() {
    let taps = Taps::default();
    let (_wanted, worker) = worker(&taps);
    let mut ended = taps.open(request(Filter::default())).expect("room");
    let mut all = taps.open(TapRequest { in_flight: true, ..request(Filter::default()) }).expect("room");
    let mut record = record("/x");
    (record.status, record.attempts) = (0, Default::default());
    let endpoint = Endpoint::named("10.0.0.1:3000");
    worker.show(named(&record), Some(InFlight::For(WaitsFor::Pool)), Instant::now());
    worker.show(named(&record), Some(InFlight::At(&endpoint)), Instant::now());
    assert!(lines(&mut ended).is_empty());
    let [waits, attempt] = &lines(&mut all)[..] else { panic!("two lines") };
    assert_eq!((&waits["in_flight"], &waits["waiting_for"]), (&"waiting".into(), &"pool".into()));
    assert_eq!((&attempt["in_flight"], &attempt["endpoint"]), (&"attempt".into(), &"10.0.0.1:3000".into()));
    assert!(waits.get("status").is_none());
}
