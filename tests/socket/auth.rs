//! Who may pass a route: names and passwords, and an auth service that is asked.
//!
//! Each test plays one of the public mistakes of other proxies, or a neighbour of it: `docs/auth.md` says what holds.

mod basic;
mod forward;
mod jwt;
mod recipes;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Endpoint, ProxyBuilder};

/// The forms in which an endpoint may read `Remote-User`.
const ALIASES: [&str; 6] =
    ["Remote-User", "remote-user", "REMOTE-USER", "Remote_User", "remote.user", "Remote.user"];

/// The field of a name and a password, as a whole line.
fn credentials(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

/// Writes the users of `users.htpasswd` in the proxy's folder: bcrypt of the smallest cost.
pub fn write_users(folder: &std::path::Path, users: &[(&str, &str)]) -> String {
    let lines: String = users
        .iter()
        .map(|(user, password)| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap()))
        .collect();
    let path = folder.join("users.htpasswd");
    std::fs::write(&path, lines).unwrap();
    path.display().to_string()
}

/// A proxy whose default route has this `auth`; `USERS` in it is a file with alice and bob.
fn guarded(endpoint: &Endpoint, auth: &str) -> ProxyBuilder {
    let builder = crate::harness::Proxy::to([endpoint]);
    let users = write_users(builder.folder(), &[("alice", "open sesame"), ("bob", "p:w")]);
    let route = format!("name: default, pool: default, auth: {}", auth.replace("USERS", &users));
    builder.routes(&[&route])
}

/// The fields that an endpoint saw and could take for that of this name.
fn read_as(head: &str, name: &str) -> Vec<String> {
    let fold = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
    let lines = head
        .lines()
        .skip(1)
        .filter(|line| line.split_once(':').is_some_and(|(other, _)| fold(other.trim()) == fold(name)));
    lines.map(str::to_owned).collect()
}
