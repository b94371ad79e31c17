//! `evenkeel reload --confirm`: a config that goes by itself unless somebody says that it may stay.

use nix::sys::signal::Signal::SIGHUP;

use crate::harness::{Endpoint, Proxy, SOON, SteadyLoad, eventually};

fn two() -> (Endpoint, Endpoint, Proxy, String) {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).start();
    let next = proxy.config_text().replace(a.address(), b.address());
    proxy.write_config(&next);
    (a, b, proxy, next)
}

#[test]
fn without_a_confirmation_the_config_before_comes_back() {
    let (_a, _b, proxy, _) = two();
    let steady = SteadyLoad::start(&proxy.address(), 2);
    let said = proxy.command(&["reload", "--confirm", "1500ms"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let first = "generation 2 is in force, and waits for `evenkeel confirm`: without it, the config before comes back in ";
    assert!(said.stdout.starts_with(first), "{}", said.stdout);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    assert!(proxy.status()["confirm_seconds"].as_f64().is_some_and(|left| left > 0.0 && left <= 1.5));
    assert_eq!(proxy.metric("evenkeel_config_confirmation_awaited", &[]) as u64, 1);
    let status = proxy.command(&["status"]);
    assert!(status.stdout.contains("generation 2 waits for `evenkeel confirm`: "), "{}", status.stdout);
    let waits = proxy.event("the wait", |event| event.message() == "config waits for its confirmation");
    assert_eq!((waits.0["generation"].as_u64(), waits.0["seconds"].as_f64()), (Some(2), Some(1.5)));

    eventually("generation 3", || (proxy.status()["generation"] == 3).then_some(()));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    proxy.event("the end of the wait", |event| {
        event.level() == "warn" && event.message() == "config not confirmed in time"
    });
    proxy.event("the way back", |event| event.message() == "config reloaded" && event.text("by") == "expiry");
    assert!(proxy.status()["confirm_seconds"].is_null());
    assert_eq!(proxy.metric("evenkeel_config_confirmation_awaited", &[]) as u64, 0);
    assert_eq!(proxy.metric("evenkeel_config_reloads_total", &["rolled_back"]) as u64, 1);
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());
    // The file still says what nobody confirmed, and may be tried again.
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
}

#[test]
fn a_confirmed_config_stays() {
    let (_a, _b, proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1s"]).code, Some(0));
    let said = proxy.command(&["confirm"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "generation 2 is confirmed\n"));
    proxy.event("the confirmation", |event| event.message() == "config confirmed");
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(proxy.status()["generation"], 2);
    let again = proxy.command(&["confirm"]);
    assert_eq!(
        (again.code, again.stderr.as_str()),
        (Some(1), "error: no config waits for its confirmation\n")
    );
    // It is what a rollback leaves now.
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

/// While one config waits, no other one may take its place: nobody would know what comes back.
#[test]
fn a_reload_has_to_wait_for_the_confirmation() {
    let (_a, _b, proxy, next) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    let said = proxy.command(&["reload"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("`evenkeel confirm`") && said.stderr.contains("`evenkeel rollback`"),
        "{}",
        said.stderr
    );
    proxy.signal(SIGHUP);
    proxy.event("a refusal", |event| event.level() == "error" && event.text("by") == "signal");
    assert_eq!(proxy.status()["generation"], 2);
    // A rollback need not wait.
    let said = proxy.command(&["rollback"]);
    assert_eq!(said.code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    assert!(proxy.status()["confirm_seconds"].is_null());
    proxy.reload(&next);
    eventually("generation 4", || (proxy.status()["generation"] == 4).then_some(()));
}

#[test]
fn a_stop_does_not_wait_for_the_confirmation() {
    let (_a, _b, mut proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
}

#[test]
fn the_time_to_confirm_is_a_time() {
    let (_a, _b, proxy, _) = two();
    for time in ["0s", "60", "soon", "25h", ""] {
        assert_eq!(proxy.command(&["reload", "--confirm", time]).code, Some(2), "{time}");
    }
    let path = "POST /reload?confirm=soon HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let admin = format!("unix:{}", proxy.folder().join("admin.sock").display());
    crate::harness::Client::connect(&admin).send(path).response().expect(400);
    assert_eq!(proxy.status()["generation"], 1);
}
