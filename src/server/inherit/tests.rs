use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use super::*;
use crate::server::fd_passing::{pair, receive, send};

fn listener(name: &str, address: &str) -> Listener {
    let text = format!(
        "listeners: [{{ name: {name}, address: \"{address}\" }}]\nroutes: [{{ pool: p }}]\npools: {{ p: [127.0.0.1:2] }}"
    );
    let config = crate::config::parse(&text, "a file").expect("a valid config");
    config.listeners.into_iter().next().expect("a listener")
}

fn socket() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound").to_string();
    (socket, address)
}

/// Sockets that are all written `127.0.0.1:0`, and their true addresses.
fn handed(names: &[&str]) -> (InheritedSockets, Vec<String>) {
    let (mut inherited, mut addresses) = (InheritedSockets::default(), Vec::new());
    for name in names {
        let (socket, address) = socket();
        let written = "127.0.0.1:0".to_owned();
        let handed = Handed { role: Role::Listener, name: (*name).to_owned(), written, exclusive: true };
        inherited.handed.push((handed, socket.into()));
        addresses.push(address);
    }
    (inherited, addresses)
}

fn taken(inherited: &mut InheritedSockets, listeners: &[Listener]) -> Vec<Option<String>> {
    let take = |listener| {
        let bound = inherited.take(listener, listeners)?;
        Some(bound.expect("a socket that listens").address.to_string())
    };
    listeners.iter().map(take).collect()
}

#[test]
fn a_listener_takes_its_own_socket_first_and_then_one_that_nobody_has() {
    let (mut inherited, addresses) = handed(&["a", "b"]);
    let listeners =
        [listener("new", "127.0.0.1:0"), listener("b", "127.0.0.1:0"), listener("c", "127.0.0.1:0")];
    let [a, b] = [0, 1].map(|index| Some(addresses[index].clone()));
    assert_eq!(taken(&mut inherited, &listeners), [a, b, None]);
}

#[test]
fn what_is_written_otherwise_is_not_taken() {
    let (mut inherited, addresses) = handed(&["a"]);
    assert_eq!(taken(&mut inherited, &[listener("a", &addresses[0])]), [None]);
    assert_eq!(inherited.settle(Vec::new()).stale.lock().len(), 1);
}

#[test]
fn a_socket_from_the_service_manager_is_found_by_its_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let (tcp, address) = socket();
    let mut inherited = InheritedSockets::default();
    for (name, socket) in [("web", OwnedFd::from(tcp)), ("local", unix.into())] {
        inherited.activated.push(Activated { name: name.to_owned(), socket, taken: false });
    }
    let local = format!("unix:{}", path.display());
    let listeners = [listener("a", "127.0.0.1:1"), listener("b", &local), listener("c", &address)];
    assert_eq!(taken(&mut inherited, &listeners), [None, Some(local), Some(address)]);
    drop(inherited);
    assert!(path.exists(), "the file is the service manager's");
}

/// Listeners of a config that the process cannot start with had taken them.
#[test]
fn sockets_from_the_service_manager_can_be_taken_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let (tcp, address) = socket();
    let mut inherited = InheritedSockets::default();
    let stored = fd_store::name(&BoundAddress::Unix(path.clone()));
    for (name, socket) in [("web".to_owned(), OwnedFd::from(tcp)), (stored, unix.into())] {
        inherited.activated.push(Activated { name, socket, taken: false });
    }
    let local = format!("unix:{}", path.display());
    let listeners = [listener("a", &local), listener("b", &address)];
    let both = [Some(local.clone()), Some(address)];
    assert_eq!(taken(&mut inherited, &listeners), both);
    assert_eq!(taken(&mut inherited, &listeners), [None, None], "each is one listener's");
    inherited.put_back();
    assert!(path.exists(), "its file is there for the next one");
    assert_eq!(taken(&mut inherited, &listeners), both);
    assert!(inherited.settle(Vec::new()).stale.lock().is_empty());
}

/// The other end of a channel says these things, one after another, and then nothing more.
fn told(messages: &[&str]) -> (Predecessor, OwnedFd) {
    let (ours, theirs) = pair().expect("a pair");
    messages.iter().for_each(|message| send(&theirs, message.as_bytes(), &[]).expect("sent"));
    rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).expect("shut down");
    (Predecessor::over(ours), theirs)
}

const LIVE: &str = r#"{"live": {"state": {"pools": [{"name": "p", "serves": true}]}, "last": LAST}}"#;

#[test]
fn a_predecessor_is_asked_for_its_live_state() {
    let parts = [LIVE.replace("LAST", "false"), LIVE.replace("LAST", "true")];
    let sockets = r#"{"sockets": {"sockets": [], "last": true, "live": true}}"#;
    let (mut predecessor, theirs) = told(&[r#"{"later": {}}"#, sockets, &parts[0], "\"gossip\"", &parts[1]]);
    assert_eq!(predecessor.sockets().len(), 0);
    assert_eq!(predecessor.live_state().expect("all of it").pools.len(), 2);
    assert_eq!(receive(&theirs).expect("a question").0, b"\"live_wanted\"");
}

/// An older version would take the question for the end of its successor.
#[test]
fn a_predecessor_that_does_not_know_the_question_is_not_asked() {
    let sockets = r#"{"sockets": {"sockets": [], "last": true}}"#;
    let (mut predecessor, theirs) = told(&[sockets]);
    predecessor.sockets();
    assert!(predecessor.live_state().expect("nothing to say").pools.is_empty());
    predecessor.report_waiting("a reason");
    drop(predecessor);
    assert!(receive(&theirs).expect("the end").0.is_empty());
}

/// If a predecessor that should say what it serves stays silent, that does not mean that it serves nothing.
#[tokio::test]
async fn without_the_live_state_every_pool_has_to_serve() {
    let sockets = r#"{"sockets": {"sockets": [], "last": true, "live": true}}"#;
    let part = LIVE.replace("LAST", "false");
    // It stops in the middle, and lives.
    let (mut predecessor, _theirs) = told(&[sockets, &part]);
    predecessor.sockets();
    let inherited = InheritedSockets { predecessor: Some(predecessor), ..InheritedSockets::default() };
    let takeover = inherited.settle(Vec::new());
    assert!(takeover.live_state().pools.is_empty());
    let snapshot = |endpoint| {
        let text = format!(
            "listeners: [{{ name: l, address: 127.0.0.1:0 }}]\npools: {{ p: {{ endpoints: [{endpoint}] }} }}\nroutes: [{{ pool: p }}]"
        );
        let config = crate::config::parse(&text, "a file").expect("a valid config");
        ArcSwap::from_pointee(Snapshot::build(config, None))
    };
    let limit = CHECK_INTERVAL * 5;
    let unresolved = snapshot("a.invalid:1");
    let waits = tokio::time::timeout(limit, takeover.can_serve_as_well(&unresolved)).await;
    assert!(waits.is_err(), "no address of its endpoint is known");
    let ready =
        tokio::time::timeout(Duration::from_secs(60), takeover.can_serve_as_well(&snapshot("127.0.0.1:1")))
            .await;
    assert!(ready.is_ok());
}

#[test]
fn only_its_word_lets_a_successor_begin() {
    let (predecessor, theirs) = told(&[&LIVE.replace("LAST", "true"), "\"later\"", "\"yours\"", "\"later\""]);
    predecessor.wait_until_it_lets_go();
    assert_eq!(predecessor.next().map(|(message, _)| message.is_none()), Some(true));
    assert!(!predecessor.is_gone());
    drop(theirs);
    assert!(predecessor.is_gone());
}
