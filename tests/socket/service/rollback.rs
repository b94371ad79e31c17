//! `evenkeel rollback`: the config before, from memory or from the state directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::harness::{Endpoint, Proxy, eventually};

/// The files with texts of configs in the state directory.
fn state(proxy: &Proxy) -> Vec<PathBuf> {
    let entries = fs::read_dir(proxy.folder().join("state")).into_iter().flatten();
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect()
}

#[test]
fn a_rollback_returns_to_the_config_before() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let mut proxy = Proxy::to([&a]).start();
    let none = proxy.command(&["rollback"]);
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (Some(1), "error: there is no earlier config to go back to\n")
    );

    let next = proxy.config_text().replace(a.address(), b.address());
    proxy.reload(&next);
    eventually("generation 2", || (proxy.status()["generation"] == 2).then_some(()));
    // A reload of the same text is none to go back from.
    assert_eq!(proxy.command(&["reload"]).code, Some(0));

    let said = proxy.command(&["rollback"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.starts_with("generation 4 is in force\n"), "{}", said.stdout);
    assert!(said.stdout.contains(&format!("  + {} of default\n", a.address())), "{}", said.stdout);
    let note = format!("{} says something else and is not touched: ", proxy.config_path().display());
    assert!(said.stdout.contains(&note), "{}", said.stdout);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    assert_eq!(fs::read_to_string(proxy.config_path()).unwrap(), next);
    proxy.event("the rollback", |event| {
        event.message() == "config reloaded" && event.text("by") == "rollback"
    });

    // Once more would bring back what somebody did not want.
    assert_eq!(proxy.command(&["rollback"]).code, Some(1));
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    proxy.is_unharmed(a.open() + b.open());
}

/// What is kept survives the process: two files of the owner alone, whole at any time.
#[test]
fn the_state_directory_survives_the_process() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let builder = Proxy::to([&a]);
    let state_path = builder.folder().join("kept");
    let builder = builder.server(&format!("threads: 2, state: {}", state_path.display()));
    let first = builder.text();
    let second = first.replace(a.address(), b.address());
    let proxy = builder.start();
    proxy.reload(&second);
    let texts = eventually("both texts", || {
        let files = fs::read_dir(&state_path).ok()?.map(|entry| entry.unwrap().path());
        let mut texts: Vec<_> =
            files.filter_map(|path| Some((fs::read_to_string(&path).ok()?, path))).collect();
        texts.retain(|(_, path)| path.extension().is_some_and(|ending| ending == "yaml"));
        // The one before has the longer ending, and comes first.
        texts.sort_by_key(|(_, path)| !path.to_string_lossy().ends_with(".before.yaml"));
        (texts.len() == 2 && texts[0].0 == first && texts[1].0 == second).then_some(texts)
    });
    for (_, path) in texts {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // A process of the same file, after this one: it goes back to where that one would have.
    let mut proxy = proxy.restarted();
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    proxy.is_unharmed(a.open() + b.open());
}

/// What never served was never in force: the next start, and a rollback, go by what was.
#[test]
fn a_successor_that_fails_leaves_what_is_kept() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let first = proxy.config_text();
    let kept = || state(&proxy).into_iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
    eventually("what is kept", || (kept() == [first]).then_some(()));
    // Bound once all else is known to be well.
    let taken = Endpoint::named("taken");
    proxy.write_config(&first.replace("127.0.0.1:0", taken.address()));
    let refused = proxy.command(&["upgrade"]);
    assert!(refused.stderr.contains("cannot listen on"), "{}", refused.stderr);
    assert_eq!(kept(), [first]);
}

/// Without a place to write to, everything but the rollback after a restart works, and it is said.
#[test]
fn without_a_state_directory_memory_serves() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).server("threads: 2, state: /proc/no/such/place").start();
    let warning = proxy
        .event("a warning", |event| event.level() == "warn" && event.message().contains("state directory"));
    assert!(warning.text("reason").starts_with("/proc/no/such/place: "), "{warning:?}");
    proxy.write_config(&proxy.config_text().replace(a.address(), b.address()));
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

#[test]
fn with_state_off_nothing_is_written() {
    let a = Endpoint::named("a");
    let proxy = Proxy::to([&a]).server("threads: 2, state: off").start();
    assert_eq!(proxy.command(&["reload"]).code, Some(0));
    assert!(!proxy.folder().join("state").exists());
    assert!(proxy.events().iter().all(|event| event.level() == "info"));
}

/// What was kept may have been spoilt since: then the config in force stays.
#[test]
fn a_spoilt_state_is_refused() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).start();
    proxy.reload(&proxy.config_text().replace(a.address(), b.address()));
    let is_before = |path: &PathBuf| path.to_string_lossy().ends_with(".before.yaml");
    // Written last.
    let in_force = |path: &PathBuf| {
        !is_before(path) && fs::read_to_string(path).is_ok_and(|text| text.contains(b.address()))
    };
    eventually("what is kept", || state(&proxy).iter().any(in_force).then_some(()));
    let before = state(&proxy).into_iter().find(is_before).expect("written first");
    fs::write(before, "listen: nonsense\n").unwrap();
    let proxy = proxy.restarted();
    let said = proxy.command(&["rollback"]);
    assert_eq!(said.code, Some(78), "{}", said.stderr);
    assert!(said.stderr.contains("the earlier config"), "{}", said.stderr);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
}
