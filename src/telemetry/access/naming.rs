//! Lines in JSON with the names of others, or with some fields only: made of the usual line, member by member, so that
//! no other line takes longer.

use std::borrow::Cow;

use crate::config::{AccessLogOptions, CLIENT_PARTS, LogNames};

/// What stands before the names that others have no name for.
const OWN: &str = "evenkeel.";

/// Our name, that of OpenTelemetry's semantic conventions, and that of the Elastic Common Schema; empty: they have none.
const NAMES: [(&str, &str, &str); 15] = [
    ("time", "timestamp", "@timestamp"),
    ("method", "http.request.method", "http.request.method"),
    ("target", "", "url.original"),
    ("protocol", "network.protocol.version", "http.version"),
    ("tls", "tls.protocol.version", "tls.version"),
    ("status", "http.response.status_code", "http.response.status_code"),
    ("bytes_in", "http.request.body.size", "http.request.body.bytes"),
    ("bytes_out", "http.response.body.size", "http.response.body.bytes"),
    ("request_id", "", "http.request.id"),
    ("user_agent", "user_agent.original", "user_agent.original"),
    ("referer", "", "http.request.referrer"),
    ("user", "user.name", "user.name"),
    ("cause", "error.type", "error.type"),
    ("detail", "error.message", "error.message"),
    ("duration_seconds", "http.server.request.duration", "event.duration"),
];

/// Our name of an address with a port, and their names of both.
const ADDRESSES: [(&str, [&str; 2], [&str; 2]); 3] = [
    ("client", ["client.address", "client.port"], ["client.address", "client.port"]),
    ("peer", ["network.peer.address", "network.peer.port"], ["source.address", "source.port"]),
    ("host", ["server.address", "server.port"], ["url.domain", "url.port"]),
];

/// Makes lines of usual ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naming {
    /// `None`: all fields.
    chosen: Option<Box<[&'static str]>>,
    names: LogNames,
}

/// The members of the line that is written.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Naming {
    /// `None`: the usual line is as the config wants it.
    pub fn of(options: &AccessLogOptions) -> Option<Self> {
        let AccessLogOptions { chosen, names, .. } = options;
        let is_usual = chosen.is_none() && *names == LogNames::Evenkeel;
        (!is_usual).then(|| Self { chosen: chosen.clone(), names: *names })
    }

    /// Writes a line of the usual one.
    pub fn write(&self, out: &mut Vec<u8>, line: &[u8]) {
        out.push(b'{');
        let mut members = Members { out, empty: true };
        for (key, value) in members_of(line) {
            let key = str::from_utf8(key).unwrap_or_default();
            if self.has(key) {
                match self.names {
                    LogNames::Evenkeel => members.add(key, value),
                    LogNames::Otel => otel(&mut members, key, value),
                    LogNames::Ecs => ecs(&mut members, key, value),
                }
            }
            if key == "client" && self.names == LogNames::Evenkeel {
                self.client_parts(&mut members, value);
            }
        }
        out.push(b'}');
    }

    fn has(&self, key: &str) -> bool {
        self.chosen.as_ref().is_none_or(|chosen| chosen.contains(&key))
    }

    fn client_parts(&self, members: &mut Members<'_>, value: &[u8]) {
        let [address, port] = CLIENT_PARTS;
        let is_chosen = |name| self.chosen.as_ref().is_some_and(|chosen| chosen.contains(&name));
        let names = [(address, is_chosen(address)), (port, is_chosen(port))];
        members.add_address(names.map(|(name, chosen)| if chosen { name } else { "" }), value);
    }
}

fn otel(members: &mut Members<'_>, key: &str, value: &[u8]) {
    match key {
        "target" => {
            let text = unquoted(value);
            let path = text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
            let (path, query) = text.split_at(path);
            members.add_text("url.path", path);
            if let Some(query) = query.get(1..) {
                members.add_text("url.query", query);
            }
        }
        "referer" => members.add("http.request.header.referer", &[b"[", value, b"]"].concat()),
        "request_headers" => members.add_each("http.request.header.", value),
        "response_headers" => members.add_each("http.response.header.", value),
        _ => plain(members, key, value, |[otel, _]| otel, |[otel, _]| otel),
    }
}

fn ecs(members: &mut Members<'_>, key: &str, value: &[u8]) {
    match key {
        "duration_seconds" => members.add("event.duration", &nanoseconds(value)),
        _ => plain(members, key, value, |[_, ecs]| ecs, |[_, ecs]| ecs),
    }
}

/// Writes what has one name, or is an address with a port.
fn plain(
    members: &mut Members<'_>,
    key: &str,
    value: &[u8],
    name: fn([&'static str; 2]) -> &'static str,
    parts: fn([[&'static str; 2]; 2]) -> [&'static str; 2],
) {
    if let Some((_, otel, ecs)) = ADDRESSES.into_iter().find(|(ours, ..)| *ours == key) {
        return members.add_address(parts([otel, ecs]), value);
    }
    let theirs = NAMES.into_iter().find(|(ours, ..)| *ours == key).map(|(_, otel, ecs)| name([otel, ecs]));
    let theirs = theirs.filter(|name| !name.is_empty());
    let value = match key {
        "protocol" | "tls" => version(value),
        _ => Cow::Borrowed(value),
    };
    match theirs {
        Some(name) => members.add(name, &value),
        None => members.add(&[OWN, key].concat(), &value),
    }
}

/// `"1.1"` of `"HTTP/1.1"`, `"2"` of `"HTTP/2.0"`, `"1.3"` of `"TLSv1.3"`.
fn version(value: &[u8]) -> Cow<'_, [u8]> {
    let text = unquoted(value);
    let number = text.iter().position(u8::is_ascii_digit).and_then(|at| text.get(at..)).unwrap_or(text);
    let number = number.strip_suffix(b".0").filter(|number| *number != b"1").unwrap_or(number);
    Cow::Owned([b"\"", number, b"\""].concat())
}

/// The number of nanoseconds in seconds with six decimal places.
fn nanoseconds(seconds: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = seconds.iter().copied().filter(u8::is_ascii_digit).collect();
    let micros = digits.iter().position(|digit| *digit != b'0').and_then(|at| digits.get(at..));
    micros.map_or_else(|| b"0".to_vec(), |micros| [micros, b"000"].concat())
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

// === impl Members ===

impl Members<'_> {
    /// `value` is JSON.
    fn add(&mut self, key: &str, value: &[u8]) {
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out.extend_from_slice(value);
    }

    /// `text` is what stands between the quotes.
    fn add_text(&mut self, key: &str, text: &[u8]) {
        self.add(key, &[b"\"", text, b"\""].concat());
    }

    /// The members of an object, each as a list of its value.
    fn add_each(&mut self, before: &str, object: &[u8]) {
        for (key, value) in members_of(object) {
            let name = [before, str::from_utf8(key).unwrap_or_default()].concat();
            self.add(&name, &[b"[", value, b"]"].concat());
        }
    }

    /// An address, and its port if it has one; not what has an empty name.
    fn add_address(&mut self, [address, port]: [&str; 2], value: &[u8]) {
        let (host, number) = divided(unquoted(value));
        if !address.is_empty() {
            self.add_text(address, host);
        }
        if let Some(number) = number.filter(|_| !port.is_empty()) {
            self.add(port, number);
        }
    }
}

/// `10.0.0.1:5000`, `[::1]:80`, `example.com`, `::1`: the address, and the port.
fn divided(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = text.iter().rposition(|byte| *byte == b':');
    let (host, port) = match colon.map(|at| text.split_at(at)) {
        // An address of IPv6 without brackets has no port.
        Some((host, _)) if host.contains(&b':') && !host.ends_with(b"]") => (text, None),
        Some((host, port)) => (host, port.get(1..)),
        None => (text, None),
    };
    let is_number = |port: &&[u8]| {
        (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit) && !port.starts_with(b"0")
    };
    let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    match port {
        Some(port) if is_number(&port) => (bare, Some(port)),
        Some(_) => (text, None),
        None => (bare, None),
    }
}

/// The members of an object that [`super::json`] has written: without spaces, and with no escape in a key.
fn members_of(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = object.strip_prefix(b"{").unwrap_or_default();
    std::iter::from_fn(move || {
        let key_end = rest.get(1..)?.iter().position(|byte| *byte == b'"')? + 1;
        let key = rest.get(1..key_end)?;
        let value = rest.get(key_end + 2..)?;
        let end = value_end(value);
        rest = value.get(end + 1..).unwrap_or_default();
        Some((key, value.get(..end)?))
    })
}

/// Where the value at the front ends: at a comma or brace that is not within it.
fn value_end(text: &[u8]) -> usize {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b',' | b'}' | b']' if depth == 0 => return at,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}
