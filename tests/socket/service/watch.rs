//! `server: { watch: on }`: the file is reloaded when it says something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use crate::harness::{Endpoint, Proxy, ProxyBuilder, eventually};

/// Longer than it takes to notice a change.
const NOTICED: Duration = Duration::from_secs(3);

fn watched(endpoint: &Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).server("threads: 2, watch: on")
}

fn generation(proxy: &Proxy, generation: u64) {
    eventually(&format!("generation {generation}"), || {
        (proxy.status()["generation"] == generation).then_some(())
    });
}

fn refusals(proxy: &Proxy) -> usize {
    proxy.events().iter().filter(|event| event.level() == "error").count()
}

#[test]
fn a_change_of_the_file_is_a_reload() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let mut proxy = watched(&a).start();
    let next = proxy.config_text().replace(a.address(), b.address());
    proxy.write_config(&next);
    generation(&proxy, 2);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    proxy.event("the reload", |event| event.message() == "config reloaded" && event.text("by") == "watch");
    // The same text in another file, as editors do it, is no change.
    let other = proxy.folder().join("other.yaml");
    fs::write(&other, &next).unwrap();
    fs::rename(&other, proxy.config_path()).unwrap();
    thread::sleep(NOTICED);
    assert_eq!(proxy.status()["generation"], 2);
    proxy.is_unharmed(a.open() + b.open());
}

/// Each state of the file is tried once, whatever comes of it.
#[test]
fn a_half_written_file_is_refused_once_and_tried_again_when_it_changes() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = watched(&a).start();
    let next = proxy.config_text().replace(a.address(), b.address());
    proxy.write_config(&next[..next.len() - 40]);
    eventually("a refusal", || (refusals(&proxy) == 1).then_some(()));
    thread::sleep(NOTICED);
    assert_eq!(refusals(&proxy), 1);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    proxy.write_config(&next);
    generation(&proxy, 2);
    fs::remove_file(proxy.config_path()).unwrap();
    eventually("another refusal", || (refusals(&proxy) == 2).then_some(()));
    thread::sleep(NOTICED);
    assert_eq!(refusals(&proxy), 2);
    // It comes back as it was when it last worked: tried again, since something else was tried meanwhile.
    proxy.write_config(&next);
    generation(&proxy, 3);
}

/// A file that changes at each look is still being written, valid or not.
#[test]
fn a_file_in_the_making_is_waited_for() {
    let a = Endpoint::named("a");
    let proxy = watched(&a).start();
    let text = proxy.config_text().to_owned();
    for n in 0..60 {
        proxy.write_config(&format!("{text}# {n}\n"));
        thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(proxy.status()["generation"], 1);
    generation(&proxy, 2);
    thread::sleep(NOTICED);
    assert_eq!(proxy.status()["generation"], 2);
}

/// A ConfigMap of Kubernetes: the file is a symlink through a directory that is itself a symlink, and that is replaced.
#[test]
fn a_turned_symlink_is_a_change() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let builder = watched(&a);
    let folder = builder.folder().to_owned();
    let text = builder.text();
    for (version, text) in [("..1", &text), ("..2", &text.replace(a.address(), b.address()))] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("evenkeel.yaml"), text).unwrap();
    }
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/evenkeel.yaml", folder.join("evenkeel.yaml")).unwrap();
    let proxy = builder.start();
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    symlink("..2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    generation(&proxy, 2);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
}

/// A rollback is not undone by the file that was rolled back from; the next change of it counts.
#[test]
fn a_rollback_is_not_undone() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = watched(&a).start();
    let next = proxy.config_text().replace(a.address(), b.address());
    proxy.write_config(&next);
    generation(&proxy, 2);
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    thread::sleep(NOTICED);
    assert_eq!(proxy.status()["generation"], 3);
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    proxy.write_config(&format!("{next}# again\n"));
    generation(&proxy, 4);
}

/// Without it, only a reload that somebody asks for reads the file.
#[test]
fn nothing_is_watched_unless_asked_for() {
    let [a, b] = ["a", "b"].map(Endpoint::named);
    let proxy = Proxy::to([&a]).start();
    proxy.write_config(&proxy.config_text().replace(a.address(), b.address()));
    thread::sleep(NOTICED);
    assert_eq!(proxy.status()["generation"], 1);
}
