//! Listeners that come, go and move while the process runs; and how their connections are spread over the workers.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::harness::{Client, Endpoint, Engine, Gate, Proxy, SOON, SteadyLoad, engine, eventually, nobody};

/// Idle clients of listeners that go are closed before long.
const BRIEF: &str = "threads: 2, drain_idle: 300ms";

const GET: &str = "GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n";

/// Reloads, and waits until this generation is in force.
#[track_caller]
fn reload_to(proxy: &Proxy, config: &str, generation: u64) {
    proxy.reload(config);
    eventually(&format!("generation {generation}"), || {
        (proxy.status()["generation"] == generation).then_some(())
    });
}

/// The config that the proxy was started with, with these listeners: name, address, and one more key.
fn with_listeners(proxy: &Proxy, listeners: &[(&str, &str, &str)]) -> String {
    let text = proxy.config_text();
    let (before, rest) = text.split_once("listeners:\n").unwrap();
    let (_, after) = rest.split_once("routes:\n").unwrap();
    let lines: String = listeners
        .iter()
        .map(|(name, address, key)| format!("  - name: {name}\n    address: \"{address}\"\n    {key}\n"))
        .collect();
    format!("{before}listeners:\n{lines}routes:\n{after}")
}

/// Where the listener is bound now.
#[track_caller]
fn bound(proxy: &Proxy, name: &str) -> String {
    eventually("the listener", || {
        let status = proxy.status();
        let found = status["listeners"].as_array()?.iter().find(|listener| listener["name"] == name)?;
        found["address"].as_str().map(str::to_owned)
    })
}

fn names(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let listeners = status["listeners"].as_array().unwrap();
    listeners.iter().map(|listener| listener["name"].as_str().unwrap().to_owned()).collect()
}

/// The inode of the socket that listens there; `None` if none does.
fn inode(address: &str) -> Option<String> {
    let (_, port) = address.rsplit_once(':').unwrap();
    let port = format!(":{:04X}", port.parse::<u16>().unwrap());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_it = |fields: &Vec<&str>| fields[1].ends_with(&port) && fields[3] == "0A";
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .find(is_it)
        .map(|fields: Vec<&str>| fields[9].to_owned())
}

#[track_caller]
fn refuses(address: &str) {
    eventually("a closed address", || {
        TcpStream::connect(address)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            .then_some(())
    });
}

/// A new one is served, status and log say so, and the one that was there keeps its very socket and its clients.
#[test]
fn a_listener_comes_and_goes() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).server(BRIEF).start();
    let first = proxy.address();
    let socket = inode(&first).expect("a socket");
    let mut old = proxy.client();
    old.get("/1").expect(200);

    let two = [("default", "127.0.0.1:0", "limits: { header_count: 50 }"), ("more", "127.0.0.1:0", "")];
    reload_to(&proxy, &with_listeners(&proxy, &two), 2);
    assert_eq!(names(&proxy), ["default", "more"]);
    let second = bound(&proxy, "more");
    assert_eq!(proxy.address_of("more"), second);
    let mut visitor = Client::connect(&second);
    visitor.get("/2").expect(200);
    assert_eq!(proxy.record("/2").text("listener"), "more");
    assert_eq!(inode(&first), Some(socket.clone()));
    assert_ne!(old.get("/3").expect(200).header("connection"), Some("close"));

    reload_to(&proxy, &with_listeners(&proxy, &two[..1]), 3);
    assert_eq!(names(&proxy), ["default"]);
    proxy.event("the end of it", |event| {
        event.message() == "listener closed" && event.text("listener") == "more"
    });
    refuses(&second);
    visitor.closed_within(SOON);
    assert_eq!(inode(&first), Some(socket));
    assert_ne!(old.get("/4").expect(200).header("connection"), Some("close"));
    proxy.is_unharmed(endpoint.open());
}

/// What has arrived on a listener that goes is served as its config was, and its client told that the connection ends.
#[test]
fn a_removed_listener_finishes_what_it_has() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let endpoint = Endpoint::scripted("a", move |exchange| {
        if exchange.target() == "/held" {
            opened.wait();
        }
        exchange.answer("whole");
    });
    let proxy = Proxy::to([&endpoint])
        .server(BRIEF)
        .listen("default", "127.0.0.1:0")
        .listen("more", "127.0.0.1:0")
        .start();
    let address = proxy.address_of("more");
    let mut idle = Client::connect(&address);
    idle.get("/1").expect(200);
    let mut held = Client::connect(&address);
    held.send(
        "GET /held HTTP/1.1\r\nHost: test.example\r\n\r\nGET /next HTTP/1.1\r\nHost: test.example\r\n\r\n",
    );
    let mut silent = Client::connect(&address);
    endpoint.wait_for_requests(2);
    eventually("three connections", || {
        (proxy.metric("evenkeel_connections", &["listener=\"more\""]) as u64 == 3).then_some(())
    });

    reload_to(&proxy, &with_listeners(&proxy, &[("default", "127.0.0.1:0", "")]), 2);
    idle.closed_within(SOON);
    refuses(&address);
    assert!(held.is_open() && silent.is_open());
    let last = silent.get("/last").expect(200);
    assert_eq!((last.text(), last.header("connection")), ("whole", Some("close")));
    gate.open();
    let targets: &[&str] = match engine() {
        Engine::Native => &["/held", "/next"],
        // It knows nothing of what has been sent ahead.
        Engine::Pingora => &["/held"],
    };
    for target in targets {
        let response = held.response().expect(200);
        let told = (Some(target) == targets.last()).then_some("close");
        assert_eq!((response.text(), response.header("connection")), ("whole", told), "{target}");
    }
    held.closed_within(SOON);
    assert_eq!(proxy.record("/held").text("listener"), "more");
}

/// Clients that still wait in the queue of a listener that goes are let in.
#[test]
fn nobody_in_the_queue_is_lost() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listen("default", "127.0.0.1:0").listen("more", "127.0.0.1:0").start();
    let one_at_a_time =
        [("default", "127.0.0.1:0", ""), ("more", "127.0.0.1:0", "limits: { connections: 1 }")];
    reload_to(&proxy, &with_listeners(&proxy, &one_at_a_time), 2);
    let address = bound(&proxy, "more");
    let mut first = Client::connect(&address);
    first.get("/1").expect(200);
    let mut waiting: Vec<_> = (0..20).map(|_| Client::connect(&address)).collect();
    for client in &mut waiting {
        client.send(GET);
    }
    reload_to(&proxy, &with_listeners(&proxy, &one_at_a_time[..1]), 3);
    // Each goes when it has its answer, and makes room for the next.
    for mut client in waiting.drain(..) {
        let response = client.response().expect(200);
        assert_eq!(response.header("connection"), Some("close"));
    }
    refuses(&address);
    assert_eq!(endpoint.count_of("/x"), 20);
}

/// All or nothing: an address that cannot be bound refuses the whole reload, and says which and why.
#[test]
fn what_cannot_be_bound_changes_nothing() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let bad = with_listeners(
        &proxy,
        &[("default", "127.0.0.1:0", ""), ("good", "127.0.0.2:0", ""), ("bad", &taken, "")],
    );
    proxy.reload(&bad.replace(a.address(), b.address()));
    let refusal = proxy.event("a refusal", |event| event.level() == "error");
    let reason = refusal.text("reason");
    assert!(reason.contains("listener bad cannot listen on") && reason.contains("in use"), "{reason}");
    assert_eq!((proxy.status()["generation"].as_u64(), names(&proxy)), (Some(1), vec!["default".into()]));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");

    // Its own socket stands in the way: it would only be closed afterwards.
    let port = proxy.address().rsplit_once(':').unwrap().1.to_owned();
    proxy.reload(&with_listeners(&proxy, &[("default", &format!("0.0.0.0:{port}"), "")]));
    proxy.event("the reason", |event| event.text("reason").contains("listener default has it until"));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

/// A new name for an address is a new listener on the same socket.
#[test]
fn a_renamed_listener_keeps_its_socket() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).server(BRIEF).start();
    let address = proxy.address();
    let socket = inode(&address);
    let mut old = proxy.client();
    old.get("/1").expect(200);
    reload_to(&proxy, &with_listeners(&proxy, &[("renamed", "127.0.0.1:0", "")]), 2);
    assert_eq!((names(&proxy), inode(&address)), (vec!["renamed".to_owned()], socket));
    old.closed_within(SOON);
    proxy.get("/2").expect(200);
    assert_eq!(proxy.record("/2").text("listener"), "renamed");
}

/// A unix listener's file comes and goes with it; a file that is somebody else's by then stays.
#[test]
fn unix_listeners_come_and_go() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let path = |name: &str| proxy.folder().join(name);
    let unix = |name: &str| format!("unix:{}", path(name).display());
    let (one, two) = (unix("one"), unix("two"));
    let listeners = [("default", "127.0.0.1:0", ""), ("one", &*one, ""), ("two", &*two, "")];
    reload_to(&proxy, &with_listeners(&proxy, &listeners), 2);
    for address in [&one, &two] {
        Client::connect(address).get("/x").expect(200);
    }
    let file = fs::metadata(path("one")).unwrap().ino();
    reload_to(&proxy, &with_listeners(&proxy, &listeners), 3);
    assert_eq!(fs::metadata(path("one")).unwrap().ino(), file);

    fs::rename(path("two"), path("ours")).unwrap();
    let _theirs = UnixListener::bind(path("two")).unwrap();
    reload_to(&proxy, &with_listeners(&proxy, &listeners[..1]), 4);
    eventually("the file to be removed", || (!path("one").exists()).then_some(()));
    assert!(path("two").exists());
}

/// Others come and go twenty times while clients of one keep at it: none of them notices, and nothing is left over.
#[test]
fn those_who_stay_notice_nothing() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let steady = SteadyLoad::start(&proxy.address(), 3);
    for generation in 2..=21 {
        let name = format!("n{generation}");
        let more = [("default", "127.0.0.1:0", ""), (name.as_str(), "127.0.0.1:0", "")];
        reload_to(&proxy, &with_listeners(&proxy, &more), generation);
        Client::connect(&bound(&proxy, &name)).get("/visit").expect(200);
    }
    let (sent, failures) = steady.stop();
    assert!(failures.is_empty() && sent > 20, "{failures:?}");
    reload_to(&proxy, proxy.config_text(), 22);
    proxy.is_unharmed(endpoint.open());
}

/// Connections that last are spread over the workers, those that say nothing too.
#[test]
fn connections_are_spread_evenly() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let counts = |proxy: &Proxy| {
        ["worker=\"0\"", "worker=\"1\""]
            .map(|worker| proxy.metric("evenkeel_worker_connections", &[worker]) as usize)
    };
    let mut clients: Vec<_> = (0..200).map(|_| proxy.client()).collect();
    let spread = eventually("all of them", || {
        let spread = counts(&proxy);
        (spread.iter().sum::<usize>() == 200).then_some(spread)
    });
    assert!(spread.iter().all(|count| (80..=120).contains(count)), "{spread:?}");
    // Whoever serves them, they are served.
    let begun = Instant::now();
    for client in &mut clients {
        client.get("/x").expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(8));
    drop(clients);
    eventually("none", || (counts(&proxy) == [0, 0]).then_some(()));
}

/// The mode, owner and group of a unix listener's file.
fn access(path: &std::path::Path) -> (u32, u32, u32) {
    let found = std::fs::metadata(path).unwrap();
    (found.mode() & 0o777, found.uid(), found.gid())
}

/// A server in front, of another user, is let in by the mode and the group of the socket's file, at a start, at a reload
/// and at an upgrade.
#[test]
fn the_file_of_a_unix_listener_has_the_mode_and_owner_of_the_config() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::config().pool("default", [&endpoint]);
    let socket = builder.folder().join("http.sock");
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    // Only root may give files away.
    let (owner, group) = if uid == 0 { (65_534, 65_533) } else { (uid, gid) };
    let access_of = |mode: &str| format!("socket: {{ mode: \"{mode}\", owner: {owner}, group: {group} }}");
    let mut proxy =
        builder.listen("default", &format!("unix:{}", socket.display())).listener(&access_of("0620")).start();
    assert_eq!(access(&socket), (0o620, owner, group));
    let text = proxy.config_text().to_owned();
    for (mode, bits) in [("0666", 0o666), ("0600", 0o600)] {
        proxy.write_config(&text.replace("0620", mode));
        let reloaded = proxy.command(&["reload"]);
        assert!(reloaded.stdout.contains("~ default: socket"), "{}{}", reloaded.stdout, reloaded.stderr);
        assert_eq!(access(&socket), (bits, owner, group));
    }
    proxy.write_config(&text);
    proxy.upgrade();
    assert_eq!(access(&socket), (0o620, owner, group));
    proxy.get("/").expect(200);
}

#[test]
fn a_file_that_cannot_be_given_away_ends_the_start() {
    if nobody().is_err() {
        return;
    }
    let endpoint = Endpoint::named("a");
    let builder = Proxy::config().pool("default", [&endpoint]).run_by_nobody();
    let socket = format!("unix:{}", builder.folder().join("http.sock").display());
    let ended = builder.listen("default", &socket).listener("socket: { owner: 0 }").start_and_fail();
    assert_eq!(ended.code, Some(1));
    for words in [socket.as_str(), "cannot be given to that owner", "CAP_CHOWN"] {
        assert!(ended.stderr.contains(words), "no {words} in {}", ended.stderr);
    }
}
