//! The sites of `conf/examples`, each beside the nginx configuration that people use for it: the same requests come to the
//! same answers, and endpoints see the same, or the difference is explained where the requests stand.

mod application;
mod grpc;
mod nginx;
mod outcome;
mod script;
mod site;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::harness::lacks;
use crate::written::{checked, with_files};
use grpc::GrpcSite;
use nginx::Nginx;
use outcome::{Outcome, differences};
use script::{Script, Sent};
use site::Site;

macro_rules! sites {
    ($($site:ident)*) => {
        const SITES: &[&str] = &[$(stringify!($site)),*];
        $(
            #[test]
            fn $site() {
                is_like_nginx(stringify!($site));
            }
        )*
    };
}

sites! {
    authelia canary chat gitea gitlab grafana grpc home_assistant jellyfin keycloak maintenance matrix nextcloud prometheus
    rate_limits redirects registry s3 spa vaultwarden wordpress
}

/// How many requests each site gets at least.
const LEAST: usize = 50;

fn folder_of(site: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/examples")).join(site.replace('_', "-"))
}

fn read(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the site's configs name below `/srv`: whatever else is in its folder.
fn files_of(folder: &Path) -> Vec<(String, String)> {
    let known = ["evenkeel.yaml", "nginx.conf", "requests.txt"];
    let entries = std::fs::read_dir(folder).expect("the folder of a site").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let others = names.filter(|name| !known.contains(&name.as_str()));
    others.map(|name| (format!("/srv/{name}"), read(folder, &name))).collect()
}

#[test]
fn every_example_has_a_test_and_a_row_in_the_readme() {
    let folder = folder_of("");
    let readme = read(&folder, "README.md");
    let entries = std::fs::read_dir(&folder).expect("conf/examples").flatten();
    let found: BTreeSet<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let tested = SITES.iter().map(|site| site.replace('_', "-")).collect();
    assert_eq!(found, tested);
    for site in &found {
        assert!(readme.contains(&format!("| [{site}]({site}/evenkeel.yaml) |")), "{site}");
    }
}

#[test]
fn every_example_is_right_and_passes_its_tests() {
    for site in SITES {
        let folder = folder_of(site);
        let own = tempfile::tempdir().expect("a folder");
        let text = with_files(own.path(), &files_of(&folder), &read(&folder, "evenkeel.yaml"));
        let said = checked(own.path(), &text);
        assert!(said.is_empty(), "{site}: {said}");
    }
}

fn is_like_nginx(name: &str) {
    let folder = folder_of(name);
    let (config, nginx) = (read(&folder, "evenkeel.yaml"), read(&folder, "nginx.conf"));
    if !Nginx::is_installed() {
        eprintln!("skipped: nginx is not installed");
        return;
    }
    if config.contains(" compress:") && lacks("`compress`, `intercept_errors`") {
        return;
    }
    let script = Script::read(&read(&folder, "requests.txt"), &read(&folder_of(""), "common.txt"));
    let (wrong, told) = if nginx.contains("grpc_pass") {
        let mut site = GrpcSite::start(&config, &nginx);
        (all_wrong(&script, |command| site.send(command)), site.told())
    } else {
        let mut site = Site::start(&config, &nginx, &files_of(&folder));
        (all_wrong(&script, |command| site.send(command)), site.told())
    };
    assert!(wrong.is_empty(), "conf/examples/{}:\n{wrong}{told}", name.replace('_', "-"));
    assert!(script.requests.len() >= LEAST, "only {} requests", script.requests.len());
}

/// What is not as the script explains it. `send` gives what a command comes to at nginx, and at evenkeel.
fn all_wrong(script: &Script, mut send: impl FnMut(&str) -> (Outcome, Outcome)) -> String {
    let mut wrong = String::new();
    let mut used = BTreeSet::new();
    for sent in &script.requests {
        let (there, here) = send(&sent.command);
        wrong += &judged(script, sent, &differences(&there, &here), &mut used);
    }
    for (number, difference) in script.everywhere.iter().enumerate() {
        if !used.contains(&number) && !difference.may_be_absent {
            let _ = writeln!(wrong, "no request has the difference `{}`", difference.written());
        }
    }
    wrong
}

/// What is not as it is explained for this request.
fn judged(
    script: &Script,
    sent: &Sent,
    found: &[(String, String, String)],
    used: &mut BTreeSet<usize>,
) -> String {
    let mut wrong = String::new();
    for (aspect, there, here) in found {
        let by_request = sent.differences.iter().any(|difference| difference.explains(aspect, there, here));
        let place = script.everywhere.iter().position(|difference| difference.explains(aspect, there, here));
        used.extend(place.filter(|_| !by_request));
        if !by_request && place.is_none() {
            let _ = writeln!(wrong, "  {aspect}: nginx has {there:?}, evenkeel {here:?}");
        }
    }
    for difference in sent.differences.iter().filter(|difference| !difference.may_be_absent) {
        for aspect in difference.aspects() {
            if !found.iter().any(|(found, ..)| found == aspect) {
                let _ = writeln!(wrong, "  {aspect} is the same");
            }
        }
    }
    if wrong.is_empty() { wrong } else { format!("{}\n{wrong}", sent.command) }
}
