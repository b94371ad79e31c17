//! Running it without a file.

use crate::harness::{Endpoint, Proxy, SOON, eventually};

/// `run --listen ADDRESS ENDPOINT...` balances over them with nothing written.
#[test]
fn it_runs_without_a_file() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::config()
        .arguments(&["run", "--listen", "127.0.0.1:0", a.address(), b.address()])
        .run_by_nobody()
        .start();
    let mut answers: Vec<String> = (0..4).map(|_| proxy.get("/").expect(200).text().to_owned()).collect();
    answers.sort();
    assert_eq!(answers, ["a", "a", "b", "b"]);
}

/// `--print` writes the config that the arguments stand for, and that config does the same.
#[test]
fn it_prints_what_the_arguments_stand_for() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let printed = Proxy::config()
        .arguments(&["run", "--listen", "127.0.0.1:0", a.address(), b.address(), "--print"])
        .spawn()
        .ended();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let builder = Proxy::config();
    let admin = format!("admin: {{ listen: 'unix:{}/admin.sock' }}\n", builder.folder().display());
    let proxy = builder.yaml(format!("{}\n{admin}", printed.stdout)).start();
    proxy.get("/").expect(200);
    proxy.wait_until(a.address(), "healthy");
    proxy.wait_until(b.address(), "healthy");
}

/// A reload has nothing to read there; it is refused and nothing happens. Pingora alone would die of the signal.
#[test]
fn a_reload_without_a_file_is_refused() {
    let a = Endpoint::named("a");
    let mut proxy =
        Proxy::config().arguments(&["run", "--listen", "127.0.0.1:0", a.address()]).run_by_nobody().start();
    proxy.signal(nix::sys::signal::Signal::SIGHUP);
    proxy.event("a refusal", |event| event.level() == "error" && event.message().contains("reload"));
    proxy.get("/").expect(200);
    assert!(proxy.is_running());
}

/// `evenkeel demo`: three endpoints of its own, balanced, with nothing written at all.
#[test]
fn the_demo_balances_over_three() {
    let mut proxy = Proxy::config().arguments(&["demo", "--listen", "127.0.0.1:0"]).run_by_nobody().spawn();
    eventually("ready", || proxy.stderr().contains("ready").then_some(()));
    assert!(proxy.stderr().contains("address=unix:"), "the image's health check asks the default socket");
    let address = eventually("the demo's address", || {
        let stderr = proxy.stderr();
        let line = stderr.lines().find(|line| line.contains("listening"))?;
        let at = line.find("127.0.0.1:")?;
        Some(line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect::<String>())
    });
    let mut client = crate::harness::Client::connect(&address);
    let mut answers: Vec<String> = (0..9).map(|_| client.get("/").expect(200).text().to_owned()).collect();
    let first_lines = |text: &String| text.lines().next().unwrap_or_default().to_owned();
    answers = answers.iter().map(first_lines).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 3, "{answers:?}");
    drop(client);
    proxy.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
}
