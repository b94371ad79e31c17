//! `evenkeel reload --confirm`: a config that goes by itself unless somebody says that it may stay.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal::{self, SIGHUP, SIGKILL, SIGTERM};

use crate::harness::{
    Authority, Client, Endpoint, Event, Proxy, SOON, SteadyLoad, eventually, nobody_listens,
};

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

/// The file in the state directory whose name ends like this. A start writes it once it serves.
fn kept(proxy: &Proxy, is_it: impl Fn(&str) -> bool) -> PathBuf {
    eventually("what is kept", || {
        let mut files = fs::read_dir(proxy.folder().join("state")).ok()?.map(|entry| entry.unwrap().path());
        files.find(|path| is_it(&path.to_string_lossy()))
    })
}

fn unconfirmed_file(proxy: &Proxy) -> PathBuf {
    kept(proxy, |path| path.ends_with(".unconfirmed"))
}

fn in_force_file(proxy: &Proxy) -> PathBuf {
    kept(proxy, |path| path.ends_with(".yaml") && !path.ends_with(".before.yaml"))
}

/// What cannot be read as a file, nor replaced by one.
fn made_a_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir_all(path.join("full")).unwrap();
}

fn is_reverted(event: &Event) -> bool {
    event.message() == "started with the earlier config, because that of the file was not confirmed"
}

/// A config that ends the process has not been confirmed by that: the next one has it, and what is left of the time.
fn waits_on_after(signal: Signal) {
    let (_a, _b, proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    let proxy = proxy.restarted_after(signal);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    let left = proxy.status()["confirm_seconds"].as_f64().expect("it waits");
    assert!(left > 0.0 && left < 60.0, "{left}");
    assert!(proxy.command(&["upgrade"]).stderr.contains("evenkeel confirm"));
    // Confirmed, it stays.
    assert_eq!(proxy.command(&["confirm"]).code, Some(0));
    let proxy = proxy.restarted_after(signal);
    assert!(proxy.status()["confirm_seconds"].is_null());
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

#[test]
fn a_crash_confirms_nothing() {
    waits_on_after(SIGKILL);
}

#[test]
fn a_restart_confirms_nothing() {
    waits_on_after(SIGTERM);
}

/// Waits until the process has counted itself among those that have started with the config that waits.
fn is_counted(proxy: &Proxy, start: u32) {
    let counted = || fs::read_to_string(unconfirmed_file(proxy)).ok();
    let is_counted = |text: String| text.lines().next()?.ends_with(&format!(" {start}")).then_some(());
    eventually("the count", || counted().and_then(is_counted));
}

/// One that ends every process that starts with it would end all of them, until its time is over.
#[test]
fn a_third_start_goes_back() {
    let (_a, _b, mut proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1h"]).code, Some(0));
    for start in 1..=2 {
        proxy = proxy.restarted_after(SIGKILL);
        assert_eq!(proxy.get("/x").expect(200).text(), "b");
        is_counted(&proxy, start);
    }
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("the reason", is_reverted);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

/// Nobody has to wait for the end of its time.
#[test]
fn what_waits_and_cannot_be_started_with_gives_way_to_the_config_before() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let (free_one, free_two) = (nobody_listens(), nobody_listens());
    let (one, two) = (free_one.address(), free_two.address());
    let mut proxy = Proxy::to([&a]).listen("web", one).start();
    let text = proxy.config_text().replace(a.address(), b.address()).replace(one, two);
    proxy.write_config(&text);
    assert_eq!(proxy.command(&["reload", "--confirm", "1h"]).code, Some(0));
    proxy.signal(SIGKILL);
    let taken = eventually("the address", || TcpListener::bind(two).ok());
    for _ in 0..2 {
        proxy = proxy.restarted_after(SIGKILL);
        proxy.event("the reason", is_reverted);
        assert_eq!(answers(one), "a");
        assert!(proxy.status()["confirm_seconds"].is_null());
        let is_why = |event: &Event| event.message().contains("waits for its confirmation");
        let why = proxy.events().into_iter().find(is_why);
        assert!(why.is_none_or(|why| why.text("reason").contains(two)));
    }
    // The file is asked for again, and its address is free.
    drop(taken);
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert_eq!(answers(two), "b");
}

/// What it says has been right, or it would not have come into force; but nobody has confirmed it.
#[test]
fn a_file_that_is_wrong_by_now_and_was_not_confirmed_prevents_no_start() {
    let (_a, _b, proxy, next) = two();
    let file = Authority::new().issue(proxy.folder(), "ca", &["a.example"]).cert;
    let other = format!("  other: {{ endpoints: [127.0.0.1:1], tls: {{ ca: {} }} }}\n", file.display());
    proxy.write_config(&next.replace("pools:\n", &format!("pools:\n{other}")));
    assert_eq!(proxy.command(&["reload", "--confirm", "1h"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    fs::remove_file(&file).unwrap();
    let proxy = proxy.restarted_after(SIGKILL);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    let said = proxy.stderr();
    assert!(said.contains("ca.pem") && said.contains("nobody has confirmed what the file says"), "{said}");
    // Once confirmed, it is an error like any other.
    assert_eq!(proxy.command(&["reload"]).code, Some(78));
}

/// Over the end of its time, too; and a start says loudly that the file stands for something else, each time.
#[test]
fn a_start_after_the_time_has_the_config_before() {
    let (_a, _b, proxy, next) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1s"]).code, Some(0));
    let reloaded = std::time::Instant::now();
    proxy.signal(SIGKILL);
    std::thread::sleep(std::time::Duration::from_millis(1100).saturating_sub(reloaded.elapsed()));
    let mut proxy = proxy.restarted_after(SIGKILL);
    for signal in [SIGKILL, SIGTERM] {
        assert_eq!(proxy.event("the reason", is_reverted).level(), "error");
        assert_eq!(proxy.get("/x").expect(200).text(), "a");
        assert!(proxy.status()["confirm_seconds"].is_null());
        proxy = proxy.restarted_after(signal);
    }
    // Whoever asks for it has it.
    assert_eq!(fs::read_to_string(proxy.config_path()).unwrap(), next);
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    let proxy = proxy.restarted_after(SIGKILL);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
}

/// What ran out or was taken back in the process is so for the next one as well.
#[test]
fn what_was_taken_back_does_not_return_with_a_crash() {
    let (_a, b, proxy, next) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("the reason", is_reverted);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    // A file that says something else by now is a config like any other.
    proxy.write_config(&format!("{next}# looked at\n"));
    let proxy = proxy.restarted_after(SIGKILL);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    assert_eq!(b.count_of("/x"), 1);
}

#[test]
fn a_spoilt_memory_of_it_is_said() {
    let (_a, _b, proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    let file = unconfirmed_file(&proxy);
    let text = fs::read(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("a word about it", |event| {
        let reason = event.text("reason");
        event.level() == "error"
            && reason.contains("it is not what was written")
            && reason.contains("`evenkeel reload`")
    });
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    // What was in force for good still is, should somebody mend it.
    fs::write(&file, &text).unwrap();
    let proxy = proxy.restarted_after(SIGKILL);
    assert!(proxy.status()["confirm_seconds"].as_f64().is_some());
    // Nor is it lost where another one cannot be put in force.
    is_counted(&proxy, 1);
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    let proxy = proxy.restarted_after(SIGKILL);
    let config = fs::read(proxy.config_path()).unwrap();
    proxy.write_config("listen: nonsense\n");
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(78));
    fs::write(proxy.config_path(), config).unwrap();
    assert!(fs::read(&file).is_ok_and(|kept| kept == text[..text.len() / 2]));
}

/// A config in force that was not confirmed in time, because the address of the one before is taken.
struct NoWayBack {
    _endpoints: [Endpoint; 4],
    proxy: Proxy,
    /// Where the config before has its listener, and the one in force.
    addresses: [String; 2],
    taken: TcpListener,
    /// What the config file says, which is in force.
    text: String,
}

fn no_way_back() -> NoWayBack {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let free = [nobody_listens(), nobody_listens()];
    let [one, two] = free.each_ref().map(|endpoint| endpoint.address().to_owned());
    let [free_one, free_two] = free;
    let proxy = Proxy::to([&a]).listen("web", &one).start();
    let text = proxy.config_text().replace(a.address(), b.address()).replace(&one, &two);
    proxy.write_config(&text);
    assert_eq!(proxy.command(&["reload", "--confirm", "1s"]).code, Some(0));
    let taken = eventually("the address", || TcpListener::bind(&one).ok());
    proxy.event("a refusal", is_refused_way_back);
    eventually("the end of the wait", || proxy.status()["confirm_seconds"].is_null().then_some(()));
    NoWayBack { _endpoints: [a, b, free_one, free_two], proxy, addresses: [one, two], taken, text }
}

/// Once the address of the config before is free again.
#[track_caller]
fn goes_back_at_the_next_start(proxy: Proxy, address: &str, taken: TcpListener) {
    proxy.signal(SIGKILL);
    drop(taken);
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("the reason", is_reverted);
    assert_eq!(answers(address), "a");
}

fn is_refused_way_back(event: &Event) -> bool {
    event.message().starts_with("reload refused") && event.text("by") == "expiry"
}

fn answers(address: &str) -> String {
    Client::connect(address).get("/x").expect(200).text().to_owned()
}

/// Whatever keeps the config before from coming back, nobody has confirmed the other one. It comes back once it can.
#[test]
fn a_way_back_that_is_refused_confirms_nothing() {
    let NoWayBack { _endpoints, proxy, addresses: [one, two], taken, .. } = no_way_back();
    assert_eq!(answers(&two), "b");
    let refused = proxy.command(&["confirm"]);
    assert_eq!(refused.code, Some(1), "it was not confirmed in time");
    drop(taken);
    eventually("generation 3", || (proxy.status()["generation"] == 3).then_some(()));
    assert_eq!(answers(&one), "a");
    let refusals = proxy.events().into_iter().filter(is_refused_way_back).count();
    assert_eq!(refusals, 1, "a reason is said once");
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("the reason", is_reverted);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

/// Whoever cannot go back serves what there is.
#[test]
fn a_start_whose_way_back_has_no_address_serves_the_file() {
    let NoWayBack { _endpoints, proxy, addresses: [one, two], taken, .. } = no_way_back();
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("a word about it", |event| {
        event.message().ends_with("the earlier one cannot come back") && event.text("reason").contains(&one)
    });
    assert_eq!(answers(&two), "b");
    assert_eq!(proxy.command(&["confirm"]).code, Some(1));
    drop(taken);
    eventually("generation 2", || (proxy.status()["generation"] == 2).then_some(()));
    assert_eq!(answers(&one), "a");
}

/// The file of a config that was not confirmed may be asked for again, with more time.
#[test]
fn another_trial_goes_back_to_what_was_confirmed() {
    let NoWayBack { _endpoints, proxy, addresses: [one, two], taken, text } = no_way_back();
    for again in [&text, &format!("{text}# another one\n")] {
        proxy.write_config(again);
        let said = proxy.command(&["reload", "--confirm", "500ms"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(said.stdout.contains("could not come back until now: listener web"), "{}", said.stdout);
        eventually("the end of the wait", || proxy.status()["confirm_seconds"].is_null().then_some(()));
        assert_eq!(answers(&two), "b");
    }
    goes_back_at_the_next_start(proxy, &one, taken);
}

#[test]
fn a_refused_trial_confirms_nothing() {
    let NoWayBack { _endpoints, proxy, addresses: [one, _], taken, text } = no_way_back();
    proxy.write_config("listen: nonsense\n");
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(78));
    proxy.write_config(&text);
    goes_back_at_the_next_start(proxy, &one, taken);
}

/// It need not be tried again then.
#[test]
fn a_reload_keeps_what_was_not_confirmed() {
    let NoWayBack { _endpoints, proxy, addresses: [_, two], taken, .. } = no_way_back();
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    drop(taken);
    let proxy = proxy.restarted_after(SIGKILL);
    assert_eq!(answers(&two), "b");
    assert!(!proxy.events().iter().any(|event| event.level() == "error"));
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
}

/// A successor does as any start does, but the process before it serves where it cannot.
#[test]
fn an_upgrade_is_refused_where_its_way_back_has_no_address() {
    let NoWayBack { _endpoints, proxy, addresses: [one, two], taken, .. } = no_way_back();
    let refused = proxy.command(&["upgrade"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains(&one), "{}", refused.stderr);
    assert_eq!(answers(&two), "b");
    drop(taken);
}

/// The same where a start cannot bring it back: once it can be, the next one does.
#[test]
fn a_start_without_a_way_back_confirms_nothing() {
    let (_a, _b, proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    let file = in_force_file(&proxy);
    let first = fs::read(&file).unwrap();
    fs::write(&file, "listen: nonsense\n").unwrap();
    let mut proxy = proxy;
    for _ in 0..2 {
        proxy = proxy.restarted_after(SIGKILL);
        proxy.event("a word about it", |event| {
            event.level() == "error" && event.message().ends_with("the earlier one cannot come back")
        });
        assert_eq!(proxy.get("/x").expect(200).text(), "b");
    }
    fs::write(&file, &first).unwrap();
    assert_eq!(proxy.command(&["rollback"]).code, Some(78), "it remembers what it could not read");
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("the reason", is_reverted);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

/// Nobody can tell then what would come back. It is not lost: who makes it readable again has it.
#[test]
fn what_cannot_be_read_confirms_nothing() {
    let (_a, _b, proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    let file = in_force_file(&proxy);
    let first = fs::read(&file).unwrap();
    made_a_directory(&file);
    let proxy = proxy.restarted_after(SIGKILL);
    proxy.event("a word about it", |event| {
        event.level() == "error" && event.message().starts_with("it is not known whether")
    });
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    fs::remove_dir_all(&file).unwrap();
    fs::write(&file, &first).unwrap();
    let proxy = proxy.restarted_after(SIGKILL);
    assert!(proxy.status()["confirm_seconds"].as_f64().is_some());
}

/// Whatever the disk had of it: a start must know what to go back to.
#[test]
fn what_comes_back_is_written_first() {
    let (_a, _b, proxy, _) = two();
    let file = in_force_file(&proxy);
    let first = fs::read(&file).unwrap();
    fs::write(&file, "# of last year\n").unwrap();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    assert_eq!(fs::read(&file).unwrap(), first);
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    made_a_directory(&file);
    let said = proxy.command(&["reload", "--confirm", "1m"]);
    assert!(said.stdout.contains("nothing is kept on the disk (`server.state`)"), "{}", said.stdout);
}

/// A confirmation that only this process knows of is half of one.
#[test]
fn a_confirmation_that_cannot_be_written_is_said() {
    let (_a, _b, proxy, _) = two();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    let file = in_force_file(&proxy);
    made_a_directory(&file);
    let said = proxy.command(&["confirm"]);
    assert_eq!(said.code, Some(0));
    assert!(said.stdout.contains("cannot be written to the disk"), "{}", said.stdout);
    // Nor is what other commands know.
    let said = proxy.command(&["reload"]);
    assert!(said.code == Some(0) && said.stdout.contains("cannot be written to the disk"), "{}", said.stdout);
    let said = proxy.command(&["rollback"]);
    assert!(said.code == Some(0) && said.stdout.contains("cannot be written to the disk"), "{}", said.stdout);
    fs::remove_dir_all(&file).unwrap();
    let said = proxy.command(&["reload"]);
    assert!(said.code == Some(0) && !said.stdout.contains("disk"), "{}", said.stdout);
    let proxy = proxy.restarted_after(SIGKILL);
    assert!(proxy.status()["confirm_seconds"].is_null());
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
}

/// Without a place on the disk it cannot be promised, and whoever relies on it is told.
#[test]
fn without_a_state_directory_it_is_said() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).server("threads: 2, state: off").start();
    proxy.write_config(&proxy.config_text().replace(a.address(), b.address()));
    let said = proxy.command(&["reload", "--confirm", "1m"]);
    assert!(said.stdout.contains("nothing is kept on the disk (`server.state`)"), "{}", said.stdout);
    assert_eq!(proxy.command(&["confirm"]).code, Some(0));
}

#[test]
fn the_time_to_confirm_is_a_time() {
    let (_a, _b, proxy, _) = two();
    for time in ["0s", "60", "soon", "25h", ""] {
        assert_eq!(proxy.command(&["reload", "--confirm", time]).code, Some(2), "{time}");
    }
    let path = "POST /reload?confirm=soon HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let admin = format!("unix:{}", proxy.folder().join("admin.sock").display());
    Client::connect(&admin).send(path).response().expect(400);
    assert_eq!(proxy.status()["generation"], 1);
}
