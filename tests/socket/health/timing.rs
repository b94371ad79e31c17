//! That checks run beside each other: none waits for another one, and none comes at the same moment as all others.

use std::time::{Duration, Instant};

use crate::harness::{Endpoint, Exchange, Proxy, SOON, lasted};

/// Answers nothing until the prober gives up.
fn hangs(exchange: &mut Exchange) {
    exchange.hang();
}

/// The longest pause between two requests at an endpoint.
fn longest_pause(endpoint: &Endpoint) -> Duration {
    let times: Vec<Instant> = endpoint.requests().iter().map(|seen| seen.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

/// Fault 25: a health endpoint that hangs times out, and the others' checks are not delayed by it. Pingora alone runs
/// the checks of a pool one after another.
#[test]
fn a_hanging_check_delays_no_other() {
    let hanging = Endpoint::scripted("hanging", hangs);
    let well = Endpoint::named("well");
    let proxy = Proxy::to([&hanging, &well])
        .health_check("type: http, interval: 200ms, timeout: 3s, healthy_after: 1, unhealthy_after: 1")
        .start();
    let change = proxy.event("the hanging endpoint to leave", |event| {
        event.message() == "endpoint is unhealthy" && event.text("endpoint") == hanging.address()
    });
    let reason = change.text("reason").to_ascii_lowercase();
    assert!(reason.contains("time") || reason.contains("within"), "the reason is: {reason}");
    well.wait_for_requests(8);
    let pause = longest_pause(&well);
    assert!(pause < Duration::from_secs(2), "a probe came {pause:?} after the one before");
}

/// A health answer that trickles in does not hold the check: the timeout is for the whole probe. Pingora alone has one
/// second for each read.
#[test]
fn a_trickling_check_has_a_total_deadline() {
    let trickling = Endpoint::scripted("trickling", |exchange| {
        for byte in
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Padding: 0123456789012345678901234567890\r\n\r\n"
        {
            if !exchange.send([*byte]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let proxy = Proxy::to([&trickling])
        .health_check("type: http, interval: 100ms, timeout: 300ms, unhealthy_after: 1")
        .start();
    let event = proxy.event("a state", |event| {
        event.message().starts_with("endpoint is ") && event.text("endpoint") == trickling.address()
    });
    assert_eq!(event.message(), "endpoint is unhealthy");
}

/// A body that never ends does not hold a check either: the status has been seen.
#[test]
fn an_endless_health_body_is_not_read_for_ever() {
    let endless = Endpoint::scripted("endless", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while exchange.chunk("more") {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let _proxy = Proxy::to([&endless])
        .health_check("type: http, interval: 100ms, timeout: 300ms, unhealthy_after: 1")
        .start();
    endless.wait_for_requests(4);
    let pause = longest_pause(&endless);
    assert!(pause < SOON, "a probe came {pause:?} after the one before");
}

/// Forty endpoints that hang are found as fast as one, and an endpoint that is well is not kept waiting by them.
#[test]
fn many_hanging_checks_run_in_parallel() {
    let hanging: Vec<Endpoint> = (0..40).map(|n| Endpoint::scripted(&format!("h{n}"), hangs)).collect();
    let well = Endpoint::named("well");
    let mut all: Vec<String> = hanging.iter().map(ToString::to_string).collect();
    all.push(well.to_string());
    let proxy = Proxy::to(all)
        .health_check("type: http, interval: 300ms, timeout: 500ms, unhealthy_after: 1")
        .start();
    let start = Instant::now();
    proxy.wait_until(well.address(), "healthy");
    assert!(start.elapsed() < SOON, "the well one took {:?}", start.elapsed());
    proxy.event_within(SOON, "forty unhealthy endpoints", |_| {
        proxy.events().iter().filter(|event| event.message() == "endpoint is unhealthy").count() == 40
    });
}

/// Checks that started together part at once: the second ones are spread over an interval, so that those of thousands of
/// endpoints do not come as one burst. From then on a tenth of jitter keeps them from meeting again.
#[test]
fn checks_are_spread_over_the_interval() {
    let endpoints: Vec<Endpoint> = (0..20).map(|n| Endpoint::named(&format!("e{n}"))).collect();
    let _proxy = Proxy::to(&endpoints).health_check("type: http, interval: 400ms, timeout: 1s").start();
    for endpoint in &endpoints {
        endpoint.wait_for_requests(6);
    }
    let times = |index: usize| endpoints.iter().map(move |endpoint| endpoint.requests()[index].at);
    let spread = times(1).max().unwrap() - times(1).min().unwrap();
    assert!(spread > Duration::from_millis(150), "the second probes came within {spread:?}");
    // From the second to the sixth there are four pauses: 1.6 s, a tenth more or less, and as much as the machine is late.
    for (second, sixth) in times(1).zip(times(5)) {
        lasted(Duration::from_millis(1400), sixth - second);
    }
}
