//! The binary is upgraded: a successor takes over the sockets, and whatever goes wrong with it changes nothing.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{self, SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, SIGUSR2};

use crate::harness::{
    ASKS_FOR_WEBSOCKET, Client, Ended, Endpoint, Engine, Event, Gate, Proxy, ProxyBuilder, SOON, SWITCHING,
    SteadyLoad, Stream, engine, eventually, nobody_listens, silent_network,
};

/// Takes its time before it is what it should be.
const SLOW: &str = "sleep 3; exec $BINARY \"$@\"";

/// Clients that connect, ask once and go, until they are stopped: what went wrong.
struct NewClients(Arc<AtomicBool>, JoinHandle<(usize, Vec<String>)>);

impl NewClients {
    fn start(address: &str) -> NewClients {
        let (address, stop) = (address.to_owned(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let clients = thread::spawn(move || {
            let (mut sent, mut failures) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                sent += 1;
                let answer = Stream::connect(&address).and_then(|stream| {
                    let mut client = Client::over(stream);
                    client.try_send("GET /new HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
                    client.try_response_to("GET")
                });
                match answer {
                    Ok(response) if response.status == 200 => {}
                    Ok(response) => failures.push(response.status.to_string()),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            (sent, failures)
        });
        NewClients(stop, clients)
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().unwrap()
    }
}

/// Several in a row under load, with clients that never try again: nobody notices.
#[test]
fn no_request_is_lost() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let address = proxy.address();
    let (steady, new) = (SteadyLoad::start(&address, 4), NewClients::start(&address));
    let first = proxy.pid();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(200));
        proxy.upgrade();
    }
    thread::sleep(Duration::from_millis(200));
    let ((sent, failed), (connected, refused)) = (steady.stop(), new.stop());
    assert_eq!(failed, Vec::<String>::new(), "of {sent}");
    assert_eq!(refused, Vec::<String>::new(), "of {connected}");
    assert_ne!(proxy.pid(), first);
    assert_eq!(proxy.ended().code, Some(0));
    assert_eq!(proxy.metric("evenkeel_upgrades_total", &["succeeded"]), 1.0);
    eventually("the end of those before", || (proxy.processes() == [proxy.pid()]).then_some(()));
}

/// What is in flight stays with the old process, and has its answer there.
#[test]
fn what_is_in_flight_finishes() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client, old) = upgraded_with_a_request_in_flight(&gate);
    proxy.get("/").expect(200);
    assert!(proxy.processes().contains(&old));
    // A service manager would kill the old process with the new one.
    let new = proxy.pid();
    proxy.signal(SIGTERM);
    eventually("the new one's drain", || {
        let stopped = proxy.events().into_iter().find(|event| event.message() == "stopped");
        stopped.map(|_| assert!(proxy.processes().contains(&new)))
    });
    gate.open();
    assert_eq!(client.response().expect(200).text(), "whole answer");
    assert_eq!(proxy.ended().code, Some(0));
    eventually("no process left", || proxy.processes().is_empty().then_some(()));
}

/// A WebSocket stays with the old process, works there, and is told when the drain is over.
#[test]
fn a_websocket_lives_to_the_end_of_the_drain() {
    if engine() == Engine::Pingora {
        // It carries no upgrades but in tests, and cuts them.
        return;
    }
    let endpoint = Endpoint::scripted("a", |exchange| {
        if exchange.target() != "/ws" {
            return exchange.answer("hello");
        }
        exchange.send(SWITCHING);
        exchange.receive();
        exchange.send(b"\x81\x05hello");
        while !exchange.receive().is_empty() {}
        exchange.close();
    });
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 1s").start();
    let mut client = proxy.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.head_only().word(1), "101");
    proxy.upgrade();
    client.send(b"\x81\x82\0\0\0\0hi");
    client.until(b"hello");
    proxy.get("/").expect(200);
    assert_eq!(client.rest(), b"\x88\x02\x03\xe9");
    drop(client);
    assert_eq!(proxy.ended().code, Some(0));
}

/// The signal does the same, and waits for nothing; the log says who serves now.
#[test]
fn a_signal_upgrades() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain_delay: 30s").start();
    proxy.signal(SIGUSR2);
    let upgraded = proxy.event("an upgrade", |event| event.message().starts_with("upgraded"));
    proxy.follow_successor();
    assert_eq!(upgraded.0["successor"], proxy.pid());
    assert_eq!(proxy.ended().code, Some(0));
    proxy.get("/").expect(200);
}

/// Arguments in place of a file are given again.
#[test]
fn a_process_without_a_file_is_upgraded() {
    let a = Endpoint::named("a");
    let arguments = ["run", "--listen", "127.0.0.1:0", a.address()];
    let mut proxy = Proxy::config().arguments(&arguments).run_by_nobody().start();
    proxy.signal(SIGUSR2);
    proxy.event("an upgrade", |event| event.message().starts_with("upgraded"));
    assert_eq!(proxy.ended().code, Some(0));
    proxy.get("/").expect(200);
}

/// The new process reads the config: what is new is bound, what is gone is closed, what stays was never closed.
#[test]
fn listeners_may_change_with_it() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).listen("one", "127.0.0.1:0").listen("two", "127.0.0.2:0").start();
    let (one, two) = (proxy.address_of("one"), proxy.address_of("two"));
    let config =
        proxy.config_text().replace("name: two", "name: three").replace("127.0.0.2:0", "127.0.0.3:0");
    fs::write(proxy.config_path(), config.replace("threads: 2", "threads: 1")).unwrap();
    proxy.upgrade();
    Client::connect(&one).get("/").expect(200);
    Client::connect(&proxy.address_of("three")).get("/").expect(200);
    eventually("the end of listener two", || TcpStream::connect(&two).is_err().then_some(()));
}

/// The file of a unix socket stays where it is, and goes with the last process.
#[test]
fn unix_sockets_keep_their_files() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    let path = builder.folder().join("web.sock");
    let address = format!("unix:{}", path.display());
    let mut proxy = builder.listen("web", &address).start();
    proxy.upgrade();
    assert_eq!(proxy.ended().code, Some(0));
    Client::connect(&address).get("/").expect(200);
    let admin = proxy.folder().join("admin.sock");
    assert!(admin.exists());
    proxy.signal(SIGTERM);
    eventually("the files' end", || (!path.exists() && !admin.exists()).then_some(()));
}

/// What the new config does not want any more leaves no file behind.
#[test]
fn unix_sockets_that_go_lose_their_files() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]).listen("tcp", "127.0.0.1:0");
    let folder = builder.folder().to_owned();
    let mut proxy = builder.listen("web", &format!("unix:{}/web.sock", folder.display())).start();
    let config = proxy.config_text().replace("admin.sock", "other.sock");
    let start = config.find("  - name: web").unwrap();
    let end = config.find("routes:").unwrap();
    fs::write(proxy.config_path(), format!("{}{}", &config[..start], &config[end..])).unwrap();
    assert_eq!(proxy.command(&["upgrade"]).code, Some(0));
    assert_eq!(proxy.ended().code, Some(0));
    assert!(folder.join("other.sock").exists());
    assert!(!folder.join("web.sock").exists() && !folder.join("admin.sock").exists());
    Client::connect(&proxy.address()).get("/").expect(200);
}

/// The number of sockets has no bound.
#[test]
fn forty_listeners_are_handed_over() {
    let endpoint = Endpoint::named("a");
    let builder = (0..40).fold(Proxy::to([&endpoint]), |builder, index| {
        builder.listen(&format!("l{index}"), &format!("127.0.0.{}:0", index + 1))
    });
    let mut proxy = builder.start();
    let addresses: Vec<String> = (0..40).map(|index| proxy.address_of(&format!("l{index}"))).collect();
    proxy.upgrade();
    assert_eq!(proxy.ended().code, Some(0));
    for address in &addresses {
        Client::connect(address).get("/").expect(200);
    }
}

/// The process is the same as before, and says what went wrong.
#[track_caller]
fn goes_on(mut proxy: Proxy, output: &Ended, code: i32, reason: &str) {
    let errors = &output.stderr;
    assert_eq!(output.code, Some(code), "{errors}");
    assert!(errors.contains(reason), "{errors}");
    let event = proxy.event("a failure", |event| event.message().starts_with("upgrade failed"));
    assert!(event.text("reason").contains(reason));
    assert_eq!(proxy.metric("evenkeel_upgrades_total", &["failed"]), 1.0);
    assert_eq!(proxy.status()["pid"], proxy.pid());
    eventually("the end of the successor", || (proxy.processes() == [proxy.pid()]).then_some(()));
    proxy.is_unharmed(0);
    // It can still be upgraded.
    fs::write(proxy.config_path(), proxy.config_text()).unwrap();
    proxy.replace_binary("exec $BINARY \"$@\"");
    proxy.upgrade();
    proxy.get("/").expect(200);
}

fn upgradable(endpoint: &Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).with_own_binary()
}

fn fails_with_binary(script: &str, limit: &str, reason: &str) {
    let endpoint = Endpoint::named("a");
    let proxy = upgradable(&endpoint).server(&format!("threads: 2, upgrade_timeout: {limit}")).start();
    proxy.replace_binary(script);
    let output = proxy.command(&["upgrade"]);
    goes_on(proxy, &output, 1, reason);
}

#[test]
fn a_binary_that_ends_changes_nothing() {
    fails_with_binary("exit 3", "30s", "did not say why");
}

#[test]
fn a_binary_that_crashes_changes_nothing() {
    fails_with_binary("kill -SEGV $$", "30s", "did not say why");
}

#[test]
fn a_binary_that_hangs_changes_nothing() {
    fails_with_binary("exec sleep 60", "3s", "not ready within 3 s");
}

#[test]
fn a_file_that_cannot_be_run_changes_nothing() {
    let endpoint = Endpoint::named("a");
    let proxy = upgradable(&endpoint).start();
    let (path, new) = (proxy.folder().join("evenkeel"), proxy.folder().join("plain"));
    fs::write(&new, "no program").unwrap();
    fs::rename(new, path).unwrap();
    let output = proxy.command(&["upgrade"]);
    goes_on(proxy, &output, 1, "cannot be run");
}

#[test]
fn an_invalid_config_changes_nothing() {
    let endpoint = Endpoint::named("a");
    let proxy = upgradable(&endpoint).start();
    fs::write(proxy.config_path(), "listen: nonsense\nunknown: key\n").unwrap();
    let output = proxy.command(&["upgrade"]);
    goes_on(proxy, &output, 78, "unknown");
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let endpoint = Endpoint::named("a");
    let proxy = upgradable(&endpoint).start();
    let other = Endpoint::named("b");
    let config = proxy.config_text().replace("127.0.0.1:0", other.address());
    fs::write(proxy.config_path(), config).unwrap();
    let output = proxy.command(&["upgrade"]);
    goes_on(proxy, &output, 1, "cannot listen on");
}

/// The successor has the sockets before the old process knows that it serves.
#[test]
fn a_kill_in_the_middle_leaves_the_successor() {
    let endpoint = Endpoint::named("a");
    let builder = upgradable(&endpoint);
    let socket = format!("unix:{}", builder.folder().join("web.sock").display());
    let mut proxy = builder.listen("tcp", "127.0.0.1:0").listen("unix", &socket).start();
    let address = proxy.address_of("tcp");
    proxy.replace_binary(SLOW);
    proxy.signal(SIGUSR2);
    proxy.event("the upgrade", |event| event.message() == "upgrading");
    let old = proxy.pid();
    proxy.follow_successor();
    thread::sleep(Duration::from_millis(300));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(old.cast_signed()), SIGKILL).unwrap();
    // This client is in the queue, and nobody is there to accept it yet.
    Client::connect(&address).get("/").expect(200);
    eventually("the successor's admin address", || fs::metadata(proxy.folder().join("admin.sock")).ok());
    Client::connect(&socket).get("/").expect(200);
    assert_eq!(proxy.status()["state"], "ready");
}

/// A successor would take it for confirmed.
#[test]
fn a_config_that_waits_for_its_confirmation_is_not_handed_on() {
    let endpoint = Endpoint::named("a");
    let mut proxy = upgradable(&endpoint).start();
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    let refused = proxy.command(&["upgrade"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("evenkeel confirm"), "{}", refused.stderr);
    assert_eq!(proxy.command(&["confirm"]).code, Some(0));
    proxy.upgrade();
    proxy.get("/x").expect(200);
}

/// One at a time; and while the successor has read the config already, nothing changes what is in force: it would be undone
/// without a word.
#[test]
fn a_second_one_is_refused() {
    let endpoint = Endpoint::named("a");
    let mut proxy = upgradable(&endpoint).start();
    proxy.replace_binary(SLOW);
    proxy.signal(SIGUSR2);
    proxy.event("the upgrade", |event| event.message() == "upgrading");
    for command in ["upgrade", "reload", "rollback", "confirm"] {
        let output = proxy.command(&[command]);
        assert_eq!(output.code, Some(1));
        assert!(output.stderr.contains("an upgrade is under way"), "{}", output.stderr);
    }
    for operation in ["rollback", "upgrade"] {
        proxy
            .event("a refusal", |event| event.message() == "refused" && event.text("operation") == operation);
    }
    assert_eq!(proxy.metric("evenkeel_upgrades_total", &["failed"]), 0.0);
    // What changes nothing may be asked.
    let file = proxy.config_path().display().to_string();
    assert_eq!(proxy.command(&["plan", &file]).code, Some(0));
    proxy.signal(SIGHUP);
    proxy.event("a success", |event| event.message().starts_with("upgraded"));
    assert_eq!(proxy.ended().code, Some(0));
    assert!(!proxy.events().iter().any(|event| event.message().starts_with("upgrade failed")));
}

/// A stop is a stop: nothing is left behind.
#[test]
fn a_stop_ends_the_successor() {
    let endpoint = Endpoint::named("a");
    let mut proxy = upgradable(&endpoint).start();
    proxy.replace_binary("exec sleep 60");
    proxy.signal(SIGUSR2);
    proxy.event("the upgrade", |event| event.message() == "upgrading");
    let start = Instant::now();
    proxy.signal(SIGTERM);
    assert_eq!(proxy.ended().code, Some(0));
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    eventually("no process left", || proxy.processes().is_empty().then_some(()));
}

/// An old process with a request in flight, and its successor.
fn upgraded_with_a_request_in_flight(gate: &Gate) -> (Endpoint, Proxy, Client, u32) {
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/x" {
            opened.wait();
        }
        exchange.answer("whole answer");
    });
    let mut proxy = Proxy::to([&endpoint]).server("threads: 2, drain: 30s").start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    endpoint.wait_for_requests(1);
    let old = proxy.pid();
    proxy.upgrade();
    (endpoint, proxy, client, old)
}

fn send(pid: u32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

fn is_draining_already(event: &Event) -> bool {
    event.message() == "draining already, one more signal stops at once"
}

/// Nobody has told the old process to stop yet: the first signal, which may be for both, is no second one.
#[test]
fn a_stop_after_an_upgrade_cuts_nothing() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client, old) = upgraded_with_a_request_in_flight(&gate);
    let new = proxy.pid();
    for pid in [old, new] {
        send(pid, SIGTERM);
    }
    proxy.event("the signal to be heard", is_draining_already);
    assert!(proxy.is_running());
    gate.open();
    assert_eq!(client.response().expect(200).text(), "whole answer");
    assert_eq!(proxy.ended().code, Some(0));
    eventually("no process left", || proxy.processes().is_empty().then_some(()));
    let cut = |event: &Event| event.message().starts_with("stopped") && event.0["cut"] != 0;
    assert!(!proxy.events().iter().any(cut));
}

#[test]
fn a_second_stop_after_an_upgrade_is_an_order() {
    let gate = Gate::closed();
    let (_endpoint, mut proxy, mut client, old) = upgraded_with_a_request_in_flight(&gate);
    send(old, SIGTERM);
    proxy.event("the signal to be heard", is_draining_already);
    send(old, SIGTERM);
    assert_eq!(proxy.ended().code, Some(1));
    assert!(client.try_response_to("GET").is_err());
    gate.open();
    proxy.get("/").expect(200);
}

/// The successor can serve, and the old process has not seen that yet: whoever has come by then is served, whichever of
/// the two is left.
#[test]
fn a_stop_in_the_handover_loses_nobody() {
    let gate = Gate::closed();
    let endpoint = |name| {
        let opened = gate.clone();
        Endpoint::scripted(name, move |exchange| {
            opened.wait();
            exchange.answer("whole answer");
        })
    };
    let (known, probed, silent) = (endpoint("a"), endpoint("b"), silent_network());
    let mut proxy = Proxy::to([&known])
        .server("threads: 2, drain: 30s")
        .health_check("type: tcp, interval: 30s, timeout: 1s")
        .start();
    let old = proxy.pid();
    // Two new endpoints: the probe of one shows that the successor has what the old process hands over, and the other
    // holds its probe, and so the successor, up.
    let more = format!("{known}\n      - {probed}\n      - {silent}");
    proxy.write_config(&proxy.config_text().replace(&known.to_string(), &more));
    proxy.signal(SIGUSR2);
    proxy.follow_successor();
    eventually("its first probe", || (probed.silent() > 0).then_some(()));
    send(old, SIGSTOP);
    let successor = proxy.pid();
    eventually("its workers", || threads(successor).iter().any(|name| name == "worker 1").then_some(()));
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    // If the successor serves already, it has them by then.
    thread::sleep(Duration::from_millis(300));
    send(old, SIGTERM);
    send(old, SIGCONT);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().expect(200).text(), "whole answer");
    }
    assert_eq!(proxy.ended().code, Some(0));
}

fn threads(pid: u32) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let name = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

/// A successor that is told to stop before it serves says so, and nobody hands over to it.
#[test]
fn a_stop_of_a_successor_that_does_not_serve_changes_nothing() {
    let gate = Gate::closed();
    let (opened, held) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let holds = held.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/health" && holds.load(Ordering::Relaxed) {
            opened.wait();
        }
        exchange.answer("hello");
    });
    let mut proxy =
        Proxy::to([&endpoint]).health_check("type: http, path: /health, interval: 60s, timeout: 9s").start();
    let (old, probes) = (proxy.pid(), endpoint.count_of("/health"));
    held.store(true, Ordering::Relaxed);
    proxy.signal(SIGUSR2);
    eventually("its first probe", || (endpoint.count_of("/health") > probes).then_some(()));
    proxy.follow_successor();
    send(proxy.pid(), SIGTERM);
    let failed = proxy.event("the failure", |event| event.message().starts_with("upgrade failed"));
    assert!(failed.text("reason").contains("SIGTERM told it to stop"), "{failed:?}");
    eventually("the end of the successor", || (proxy.processes() == [old]).then_some(()));
    gate.open();
    assert_eq!(proxy.status()["pid"], old);
    proxy.get("/x").expect(200);
}

/// Who waits in the queue because both processes are full is the successor's: the old one, in which places become free,
/// takes nobody in any more.
#[test]
fn the_queue_is_the_successors() {
    let endpoint = Endpoint::named("a");
    let mut proxy =
        Proxy::to([&endpoint]).server("threads: 2, max_connections: 2, drain_idle: 500ms").start();
    let keeps = |proxy: &Proxy| {
        let mut client = proxy.client();
        client.get("/kept").expect(200);
        client
    };
    let _of_the_old = [keeps(&proxy), keeps(&proxy)];
    proxy.upgrade();
    let of_the_new = [keeps(&proxy), keeps(&proxy)];
    let mut waiting = proxy.client();
    // It holds nothing but idle clients, which are closed.
    assert_eq!(proxy.ended_within(SOON).code, Some(0));
    waiting.send("GET /waiting HTTP/1.1\r\nHost: test.example\r\n\r\n");
    drop(of_the_new);
    assert_ne!(waiting.response().expect(200).header("connection"), Some("close"));
}

/// What is known of an endpoint goes on: one probe that fails says as little to the successor as to the process before.
#[test]
fn health_and_counts_go_on() {
    let failing = Arc::new(AtomicUsize::new(0));
    let left = failing.clone();
    let fails =
        move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target() {
        "/healthz" if fails() => exchange.status("503 Service Unavailable", "", ""),
        _ => exchange.answer("a"),
    });
    let mut proxy = Proxy::to([&endpoint])
        .health_check("type: http, path: /healthz, interval: 30s, timeout: 10s, unhealthy_after: 3")
        .start();
    proxy.wait_until(endpoint.address(), "healthy");
    (0..5).for_each(|_| drop(proxy.get("/before").expect(200)));
    let before = proxy.endpoint_status(endpoint.address()).unwrap();
    // Either process may ask next.
    failing.store(2, Ordering::SeqCst);
    proxy.upgrade();
    // For a moment the old process still accepts, and counts for itself.
    let after = eventually("a request of the successor's own", || {
        proxy.get("/after").expect(200);
        proxy.endpoint_status(endpoint.address()).filter(|after| after["requests"].as_u64() > Some(5))
    });
    assert_eq!((&after["state"], &after["since"]), (&before["state"], &before["since"]));
    assert!(after["checks_failed"].as_u64() > Some(0), "{after}");
}

/// A container lives as long as its first process.
#[test]
fn the_first_process_of_a_container_is_not_upgraded() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may make a namespace of processes");
        return;
    }
    let endpoint = Endpoint::named("a");
    let proxy =
        Proxy::to([&endpoint]).after_shell("exec unshare --pid --fork --kill-child \"$0\" \"$@\"").start();
    let output = proxy.command(&["upgrade"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("first process of its container"), "{}", output.stderr);
    proxy.get("/").expect(200);
}

/// Requests that wait in the old process for an endpoint are decided by the config that its successor has.
#[test]
fn requests_that_wait_are_decided_by_the_new_config() {
    let dead = nobody_listens();
    let well = Endpoint::named("well");
    let mut proxy = Proxy::to([&dead]).with("when_none_healthy: { wait: 60s }").start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    eventually("four that wait", || (proxy.status()["pools"][0]["waiting"] == 4).then_some(()));
    proxy.write_config(&proxy.config_text().replace(dead.address(), well.address()));
    proxy.upgrade();
    for client in &mut clients {
        assert_eq!(client.response().expect(200).text(), "well");
    }
    assert_eq!(well.count_of("/held"), 4);
}

/// What nobody has confirmed is not what the successor has in force, whatever the config file says.
#[test]
fn requests_that_wait_are_not_decided_by_what_was_taken_back() {
    let (mut late, unwanted) = (nobody_listens(), Endpoint::named("unwanted"));
    let mut proxy = Proxy::to([&late]).with("when_none_healthy: { wait: 60s }").start();
    proxy.write_config(&proxy.config_text().replace(late.address(), unwanted.address()));
    assert_eq!(proxy.command(&["reload", "--confirm", "1m"]).code, Some(0));
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    let mut client = proxy.client();
    client.send("GET /held HTTP/1.1\r\nHost: test.example\r\n\r\n");
    eventually("one that waits", || (proxy.status()["pools"][0]["waiting"] == 1).then_some(()));
    proxy.upgrade();
    proxy.event("a decision", |event| event.message().starts_with("requests that wait are decided"));
    late.start();
    client.response().expect(200);
    assert_eq!((late.count_of("/held"), unwanted.count_of("/held")), (1, 0));
}
