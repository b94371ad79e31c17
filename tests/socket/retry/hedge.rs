//! A second attempt beside the first: when it begins, who answers, and what becomes of the other.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Endpoint, Exchange, Proxy, ProxyBuilder, Record, lacks};

const ROW: &str = "`retry.hedge`";

/// After 50 ms, as often as there are requests.
const AT_ONCE: &str = "retry: { hedge: { after: 50ms, share: 100% } }";

/// As long as no attempt may take here that has been overtaken.
const LONG: Duration = Duration::from_secs(3);

/// To GETs.
fn hangs() -> Endpoint {
    for_gets(|exchange| {
        exchange.hang();
    })
}

fn started(builder: ProxyBuilder) -> Proxy {
    builder.with("outliers: off").start()
}

/// The record of the first GET that has been tried at `endpoint`.
fn first_at(proxy: &Proxy, endpoint: &str, target: &str) -> (Record, Duration) {
    for count in 1..=6 {
        let begun = Instant::now();
        proxy.get(target).expect(200);
        let took = begun.elapsed();
        let tried = |record: &Record| record.endpoints().iter().any(|tried| tried == endpoint);
        if let Some(record) = proxy.records_of(target, count).into_iter().find(tried) {
            return (record, took);
        }
    }
    panic!("none of six requests went to {endpoint}");
}

/// Answers what is no GET at once, and does to GETs what `script` says.
fn for_gets(script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
    Endpoint::scripted("scripted", move |exchange| {
        exchange.drain_body();
        if exchange.method() == "GET" { script(exchange) } else { exchange.answer("warm") }
    })
}

#[test]
fn the_client_gets_the_first_answer_and_the_other_attempt_is_cancelled() {
    if lacks(ROW) {
        return;
    }
    let cancelled = Arc::new(Mutex::new(Vec::new()));
    let noted = cancelled.clone();
    let slow = for_gets(move |exchange| {
        let hung = exchange.hang();
        noted.lock().unwrap().push(hung);
    });
    let fast = Endpoint::named("fast");
    let proxy = started(Proxy::to([&slow, &fast]).with(AT_ONCE));
    let (record, took) = first_at(&proxy, slow.address(), "/x");
    assert_eq!(record.results(), ["overtaken", "200"]);
    assert_eq!(record.endpoints(), [slow.address(), fast.address()]);
    assert_eq!((record.text("hedge"), record.cause()), ("won", ""));
    assert!((Duration::from_millis(50)..Duration::from_secs(1)).contains(&took), "{took:?}");
    slow.wait_until_free(Duration::from_secs(1));
    let hung = cancelled.lock().unwrap()[0];
    assert!(hung < Duration::from_secs(1), "cancelled after {hung:?}");
    assert_eq!(proxy.metric("evenkeel_hedges_total", &[r#"result="won""#]), 1.0);
    let retries = proxy.metrics().lines().filter(|line| line.starts_with("evenkeel_retries_total")).count();
    assert!(retries > 0);
    assert_eq!(proxy.metric("evenkeel_retries_total", &[r#"reason="status""#]), 0.0);
    // Nothing is left in flight.
    let endpoints = proxy.status()["pools"][0]["endpoints"].clone();
    assert!(endpoints.as_array().unwrap().iter().all(|endpoint| endpoint["in_flight"] == 0), "{endpoints}");
}

#[test]
fn over_http2_too() {
    if lacks(ROW) {
        return;
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let noted = ended.clone();
    let slow = Http2Endpoint::scripted(move |mut call| {
        let noted = noted.clone();
        async move {
            let _ = call.body_length().await;
            // RST_STREAM.
            let _ = std::future::poll_fn(|context| call.respond.poll_reset(context)).await;
            noted.fetch_add(1, SeqCst);
        }
    });
    let fast = Http2Endpoint::named("fast");
    let proxy = started(Proxy::to([&slow, &fast]).with("protocol: h2").with(AT_ONCE));
    let (record, _) = first_at(&proxy, &slow.to_string(), "/x");
    assert_eq!((record.results(), record.text("hedge")), (vec!["overtaken".into(), "200".into()], "won"));
    let begun = Instant::now();
    while ended.load(SeqCst) == 0 {
        assert!(begun.elapsed() < LONG, "the stream is not reset");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((slow.connections(), proxy.get("/y").status), (1, 200));
}

#[test]
fn who_answers_in_time_has_no_second_attempt() {
    if lacks(ROW) {
        return;
    }
    let endpoints = [Endpoint::named("a"), Endpoint::named("b")];
    let proxy = Proxy::to(&endpoints).with("retry: { hedge: { after: 2s, share: 100% } }").start();
    (0..50).for_each(|_| drop(proxy.get("/x").expect(200)));
    assert_eq!(endpoints.iter().map(Endpoint::count).sum::<usize>(), 50);
    assert!(proxy.records_of("/x", 50).iter().all(|record| record.text("hedge").is_empty()));
}

#[test]
fn only_a_get_or_head_without_a_body_has_one() {
    if lacks(ROW) {
        return;
    }
    let slow = || {
        Endpoint::scripted("slow", |exchange| {
            exchange.drain_body();
            thread::sleep(Duration::from_millis(300));
            exchange.answer("slow");
        })
    };
    let endpoints = [slow(), slow()];
    let proxy = started(Proxy::to(&endpoints).with(AT_ONCE));
    let before: usize = endpoints.iter().map(Endpoint::count).sum();
    for (method, body) in [("POST", "x"), ("PUT", ""), ("DELETE", ""), ("GET", "x")] {
        proxy.client().upload(method, &format!("/{method}"), body.as_bytes()).expect(200);
    }
    assert_eq!(endpoints.iter().map(Endpoint::count).sum::<usize>(), before + 4);
    proxy.client().request("HEAD", "/head", "").expect(200);
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.count_of("/head")).sum::<usize>(), 2);
}

/// A bad answer of one is nothing while the other may still answer well.
#[test]
fn a_bad_answer_waits_for_a_better_one() {
    if lacks(ROW) {
        return;
    }
    let slow = for_gets(|exchange| {
        thread::sleep(Duration::from_millis(400));
        exchange.answer("slow");
    });
    let bad = for_gets(|exchange| exchange.status("503 Service Unavailable", "", "bad"));
    let proxy = started(Proxy::to([&slow, &bad]).with(AT_ONCE));
    let answers: Vec<_> = (0..2).map(|_| proxy.get("/x").status).collect();
    // Who begins at the bad one gets its answer: nothing else is under way then.
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    let records = proxy.records_of("/x", 2);
    let hedged = records.iter().find(|record| record.status() == 200).expect("one of them");
    assert_eq!((hedged.results(), hedged.text("hedge")), (vec!["503".into(), "200".into()], "failed"));
}

/// The first attempt breaks while the second is under way: no retry is needed.
#[test]
fn the_second_attempt_goes_on_alone() {
    if lacks(ROW) {
        return;
    }
    let breaks = for_gets(|exchange| {
        thread::sleep(Duration::from_millis(200));
        exchange.reset();
    });
    let slow = for_gets(|exchange| {
        thread::sleep(Duration::from_millis(500));
        exchange.answer("slow");
    });
    let proxy =
        started(Proxy::to([&breaks, &slow]).with("retry: { limit: 0, hedge: { after: 50ms, share: 100% } }"));
    let answers: Vec<_> = (0..2).map(|_| proxy.get("/x").expect(200).text().to_owned()).collect();
    assert_eq!(answers, ["slow", "slow"]);
    let mut seen: Vec<_> = proxy
        .records_of("/x", 2)
        .iter()
        .map(|record| (record.results().join(" "), record.text("hedge").to_owned()))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ("endpoint_reset 200".to_owned(), "failed".to_owned()),
            ("endpoint_reset 200".to_owned(), "won".to_owned())
        ]
    );
}

#[test]
fn where_both_hang_the_request_fails_in_time() {
    if lacks(ROW) {
        return;
    }
    let endpoints = [hangs(), hangs()];
    let proxy =
        Proxy::to(&endpoints).with("timeouts: { response: 600ms }").with("outliers: off").with(AT_ONCE);
    let proxy = proxy.start();
    let begun = Instant::now();
    proxy.get("/x").expect(504);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    let hedged = proxy.record("/x");
    assert_eq!((hedged.results(), hedged.cause()), (vec!["response_timeout".into(); 2], "response_timeout"));
}

#[test]
fn a_client_that_goes_cancels_both() {
    if lacks(ROW) {
        return;
    }
    let endpoints = [hangs(), hangs()];
    let proxy = started(Proxy::to(&endpoints).with(AT_ONCE));
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    for endpoint in &endpoints {
        endpoint.wait_within(LONG, "a GET", |state| state.requests.iter().any(|seen| seen.target() == "/x"));
    }
    drop(client);
    endpoints.iter().for_each(|endpoint| endpoint.wait_until_free(Duration::from_secs(1)));
    assert_eq!(proxy.record("/x").cause(), "client_gone");
}

/// Interim responses of the second attempt are nobody's, and a bounded number.
#[test]
fn interim_responses_are_no_answer() {
    if lacks(ROW) {
        return;
    }
    for (hints, hedge) in [(20, "won"), (30, "failed")] {
        let slow = for_gets(|exchange| {
            thread::sleep(Duration::from_millis(600));
            exchange.answer("slow");
        });
        let hinting = for_gets(move |exchange| {
            for _ in 0..hints {
                exchange.send("HTTP/1.1 103 Early Hints\r\n\r\n");
            }
            exchange.answer("hinting");
        });
        let proxy = started(Proxy::to([&slow, &hinting]).with(AT_ONCE));
        let records: Vec<Record> = (0..2)
            .map(|count| {
                proxy.get("/x");
                proxy.records_of("/x", count + 1).pop().expect("a line")
            })
            .collect();
        let hedged = records.iter().find(|record| record.attempts().len() == 2).expect("one of them");
        assert_eq!((hedged.status(), hedged.text("hedge")), (200, hedge), "{hints} {hedged:?}");
    }
}

/// At most so many of a hundred requests, whatever the endpoints do.
#[test]
fn there_are_never_more_than_the_share() {
    if lacks(ROW) {
        return;
    }
    let slow = || {
        Endpoint::scripted("slow", |exchange| {
            thread::sleep(Duration::from_millis(30));
            exchange.answer("slow");
        })
    };
    let endpoints = [slow(), slow(), slow()];
    let proxy = Proxy::to(&endpoints).with("retry: { hedge: { after: 10ms, share: 5% } }").start();
    let tally = crate::harness::load(&proxy.address(), 6, 150);
    assert_eq!(tally.values().sum::<usize>(), 900);
    let attempts: usize = endpoints.iter().map(Endpoint::count).sum();
    assert!((905..=946).contains(&attempts), "{attempts} attempts");
    let refused = proxy.metric("evenkeel_hedges_total", &[r#"result="refused""#]);
    assert!(refused >= 800.0, "{refused}");
}

/// By default it begins after what 95 % of the route's requests have not exceeded.
#[test]
fn p95_is_that_of_the_route() {
    if lacks(ROW) {
        return;
    }
    let slow_now_and_then = || {
        Endpoint::scripted("x", |exchange| {
            let is_slow = exchange.target() == "/slow";
            thread::sleep(Duration::from_millis(if is_slow { 1_500 } else { 10 }));
            exchange.answer("x");
        })
    };
    let endpoints = [slow_now_and_then(), slow_now_and_then()];
    let proxy = Proxy::to(&endpoints).with("retry: { hedge: { share: 50% } }").start();
    let mut client = proxy.client();
    proxy.get("/slow").expect(200);
    (0..250).for_each(|_| drop(client.get("/fast").expect(200)));
    let begun = Instant::now();
    proxy.get("/slow").expect(200);
    let record = proxy.records_of("/slow", 2).pop().expect("the second");
    assert_eq!(record.attempts().len(), 2, "{record:?} after {:?}", begun.elapsed());
    assert_eq!(record.text("hedge"), "lost");
    assert!(endpoints.iter().map(|endpoint| endpoint.count_of("/fast")).sum::<usize>() < 290);
}
