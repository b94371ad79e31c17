//! Configs as people write them, with addresses and paths of their own, made to run in a test.

mod curl;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Authority, Endpoint, Engine, Exchange, engine, nobody_listens};

pub use curl::Request;

/// A file of users, where nothing else is known of it.
const USERS: &str = "alice:$2y$05$1v5vRwZs6JAujyeuM/v.8.WdtstQgKHtN0NtnDNRhz1xhl/ynQjHS\n";

/// What `evenkeel check` says of a config; empty if there is nothing to say.
pub fn checked(folder: &Path, text: &str) -> String {
    let file = folder.join("checked.yaml");
    std::fs::write(&file, text).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let output = command.args(["check", "-q", "-c"]).arg(&file).output().expect("the binary was built");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), !said.contains("error"), "{said}");
    said
}

/// Writes the files that a config names, and names them where they are. `known` has the texts of some of them.
pub fn with_files(folder: &Path, known: &[(String, String)], text: &str) -> String {
    let paths = regex::Regex::new(r"/(?:etc|srv|var/log)/[A-Za-z0-9._/-]+").expect("an expression");
    let moved = paths.replace_all(text, |found: &regex::Captures<'_>| {
        let path = folder.join(found[0].trim_start_matches('/'));
        if !path.exists() {
            write_file(known, &found[0], &path);
        }
        path.display().to_string()
    });
    moved.into_owned()
}

/// What is known of it; else by the ending of the name: a certificate with its key, users, or a key for cookies.
fn write_file(known: &[(String, String)], name: &str, path: &Path) {
    let folder = path.parent().expect("a folder");
    std::fs::create_dir_all(folder).expect("the folder is ours");
    let known = known.iter().find(|(file, _)| file == name);
    match (known, path.extension().and_then(|ending| ending.to_str())) {
        (Some((_, text)), _) => std::fs::write(path, text).expect("the folder is ours"),
        (None, Some("pem")) => {
            let issued = Authority::new().issue(folder, "issued", &["example.com", "*.example.com"]);
            // Certbot calls the key privkey.pem; others have NAME.key beside NAME.pem.
            let key = match path.ends_with("fullchain.pem") {
                true => folder.join("privkey.pem"),
                false => path.with_extension("key"),
            };
            std::fs::rename(issued.cert, path).expect("the folder is ours");
            std::fs::rename(issued.key, key).expect("the folder is ours");
        }
        (None, Some("log")) => {}
        (None, None) => std::fs::write(path, USERS).expect("the folder is ours"),
        (None, _) => std::fs::write(path, "0a".repeat(32)).expect("the folder is ours"),
    }
    if path.exists() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
}

/// Endpoints in the place of those that are written, each of which does what the script says for the address that is
/// written. Those of 10.255.0.0/16 are down. `endpoints` has those that are there already.
pub fn with_endpoints(
    text: &str,
    endpoints: &mut Vec<Endpoint>,
    script: fn(&str, &mut Exchange<'_>),
) -> String {
    let addresses = regex::Regex::new(r"(?:10|127)(?:\.[0-9]+){3}:[0-9]+").expect("an expression");
    let replaced = addresses.replace_all(text, |found: &regex::Captures<'_>| {
        let address = &found[0];
        let known = endpoints.iter().find(|endpoint| endpoint.name == *address);
        let own = known.map(|endpoint| endpoint.address().to_owned());
        own.unwrap_or_else(|| {
            let name = address.to_owned();
            let mut endpoint = match address.starts_with("10.255.") {
                true => nobody_listens(),
                false => Endpoint::scripted(address, move |exchange| script(&name, exchange)),
            };
            address.clone_into(&mut endpoint.name);
            endpoints.push(endpoint);
            endpoints.last().map(|endpoint| endpoint.address().to_owned()).unwrap_or_default()
        })
    });
    replaced.into_owned()
}

/// Listeners at ports that are free: the text, and each port that is written with the name of its listener.
pub fn with_listeners(text: &str) -> (String, Vec<(String, String)>) {
    let names = regex::Regex::new(r"\bname: ([a-z0-9-]+)").expect("an expression");
    let addresses = regex::Regex::new(r#"\b(listen|address): "?[^" ]*:([0-9]+)"?"#).expect("an expression");
    let (mut listeners, mut name) = (Vec::new(), "default".to_owned());
    let mut adapted = String::new();
    let mut is_before_routes = true;
    for line in text.lines() {
        is_before_routes &= !line.starts_with("routes:") && !line.starts_with("endpoints:");
        if let Some(found) = names.captures(line).filter(|_| is_before_routes) {
            found[1].clone_into(&mut name);
        }
        let Some(found) = addresses.captures(line).filter(|_| is_before_routes) else {
            let _ = writeln!(adapted, "{line}");
            continue;
        };
        listeners.push((found[2].to_owned(), name.clone()));
        let is_native = engine() == Engine::Native || &found[1] == "listen";
        let own = if is_native { "" } else { "engine: pingora, " };
        let free = match line.contains('{') {
            true => format!("{own}{}: 127.0.0.1:0", &found[1]),
            false if is_native => format!("{}: 127.0.0.1:0", &found[1]),
            false => format!("{}: 127.0.0.1:0\n    engine: pingora", &found[1]),
        };
        let _ = writeln!(adapted, "{}", line.replacen(&found[0], &free, 1));
    }
    (adapted, listeners)
}

/// Files and sockets of the process itself are in the folder of the test.
pub fn add_surroundings(text: &mut String, folder: &Path) {
    let folder = folder.display();
    for (key, value) in [
        ("server", "{ threads: 2, drain: 1s }".to_owned()),
        ("admin", format!("{{ listen: \"unix:{folder}/admin.sock\" }}")),
        ("access_log", format!("{{ output: \"{folder}/access.log\", format: json }}")),
        ("log", "{ format: json }".to_owned()),
    ] {
        if !text.lines().any(|line| line.starts_with(&format!("{key}:"))) {
            let _ = writeln!(text, "{key}: {value}");
        }
    }
}

pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Answers as authelia does who has no cookie of a session: sends browsers to its page where it is asked in the way of
/// Traefik and Caddy, and says 401 where it is asked in the way of nginx.
pub fn authelia(exchange: &mut Exchange<'_>) {
    if exchange.header("cookie").is_some_and(|cookie| cookie.contains("authelia_session=")) {
        let user = "Remote-User: john\r\nRemote-Groups: admins,dev\r\nRemote-Name: John\r\n\
                    Remote-Email: john@example.com\r\n";
        return exchange.answer_with(user, "");
    }
    let told = |name| exchange.header(name).unwrap_or_default().to_owned();
    let is_nginx = exchange.target().starts_with("/api/authz/auth-request");
    let url = match is_nginx {
        true => told("x-original-url"),
        false => {
            let [scheme, host, target] =
                ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"].map(told);
            format!("{scheme}://{host}{target}")
        }
    };
    let location = format!("Location: https://auth.example.com/?rd={url}\r\n");
    exchange.status(if is_nginx { "401 Unauthorized" } else { "302 Found" }, &location, "");
}
