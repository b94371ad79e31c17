//! The requests of the recipes, through real sockets.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;

use super::blocks::{self, Section, Shown};
use super::{RECIPES, with_files};
use crate::harness::{Client, Endpoint, Engine, Exchange, Proxy, engine, lacks, nobody_listens};

/// Keys that engine `pingora` refuses, and the row of docs/engines.md that says so.
const NATIVE_ALONE: [(&str, &str); 1] = [("compress:", "`compress`, `intercept_errors`")];

#[test]
fn every_request_of_the_recipes_is_answered_as_written() {
    let mut seen = 0;
    for section in blocks::sections(RECIPES).iter().filter(|section| !section.requests.is_empty()) {
        let Some(config) = section.configs.first() else { panic!("{} has no config", section.title) };
        seen += section.requests.len();
        let lacking = NATIVE_ALONE.iter().find(|(key, _)| config.contains(key));
        if lacking.is_some_and(|(_, row)| lacks(row)) {
            continue;
        }
        let site = Site::start(section, config);
        for request in &section.requests {
            site.answers(request, &section.title);
        }
    }
    assert!(seen >= 30, "only {seen} requests");
}

/// A recipe's config in a process of its own, with endpoints behind it.
struct Site {
    proxy: Proxy,
    /// The ports of its listeners as they are written, with their names.
    listeners: Vec<(String, String)>,
    _endpoints: Vec<Endpoint>,
}

impl Site {
    fn start(section: &Section, config: &str) -> Site {
        let builder = Proxy::config();
        let text = with_files(builder.folder(), section, config);
        let (text, endpoints) = with_endpoints(&text);
        let (mut text, listeners) = with_listeners(&text);
        add_surroundings(&mut text, builder.folder());
        Site { proxy: builder.yaml(text).start(), listeners, _endpoints: endpoints }
    }

    fn answers(&self, shown: &Shown, title: &str) {
        let request = Request::parse(&shown.command);
        let (_, name) = self
            .listeners
            .iter()
            .find(|(port, _)| *port == request.port)
            .unwrap_or_else(|| panic!("{title}: no listener has port {}", request.port));
        let mut client = Client::connect(&self.proxy.address_of(name));
        client.send(&request.bytes);
        let response = client.response_to(&request.method);
        let place = format!("{title}: {}\n{}{}", shown.command, response.head.raw, lossy(&response.body));
        assert_eq!(response.head.start_line, shown.start_line, "{place}");
        for field in shown.fields.iter().filter(|field| *field != "...") {
            let (name, value) = field.split_once(": ").unwrap_or_else(|| panic!("{field} is no field"));
            assert!(response.head.all(name).contains(&value), "{field} in {place}");
        }
        if let Some(body) = &shown.body {
            assert_eq!(lossy(&response.body).trim_end(), body.trim_end(), "{place}");
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Endpoints in the place of those that are written, which answer with the address that is written and what they got.
/// Those of 10.255.0.0/16 are down.
fn with_endpoints(text: &str) -> (String, Vec<Endpoint>) {
    let addresses = regex::Regex::new(r"(?:10|127)(?:\.[0-9]+){3}:[0-9]+").expect("an expression");
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let replaced = addresses.replace_all(text, |found: &regex::Captures<'_>| {
        let address = &found[0];
        let known = endpoints.iter().find(|endpoint| endpoint.name == *address);
        let own = known.map(|endpoint| endpoint.address().to_owned());
        own.unwrap_or_else(|| {
            let mut endpoint = match address {
                _ if address.starts_with("10.255.") => nobody_listens(),
                "127.0.0.1:9091" => Endpoint::scripted(address, auth_service),
                _ => {
                    let name = address.to_owned();
                    Endpoint::scripted(address, move |exchange| answer(&name, exchange))
                }
            };
            endpoint.name = address.to_owned();
            endpoints.push(endpoint);
            endpoints.last().map(|endpoint| endpoint.address().to_owned()).unwrap_or_default()
        })
    });
    (replaced.into_owned(), endpoints)
}

fn answer(name: &str, exchange: &mut Exchange<'_>) {
    let (method, target) = (exchange.method().to_owned(), exchange.target().to_owned());
    if target.ends_with(".js") {
        let script = "console.log('on an even keel');\n".repeat(100);
        return exchange.answer_with("Content-Type: text/javascript\r\n", &script);
    }
    let fields = "Content-Type: text/plain\r\nX-Powered-By: a test\r\n";
    exchange.answer_with(fields, &format!("{name} received {method} {target}\n"));
}

/// Sends who has no cookie of a session to its sign-in page, as authelia does.
fn auth_service(exchange: &mut Exchange<'_>) {
    if exchange.header("cookie").is_some_and(|cookie| cookie.contains("authelia_session=")) {
        return exchange.answer_with("Remote-User: john\r\n", "");
    }
    let told = |name| exchange.header(name).unwrap_or_default().to_owned();
    let [scheme, host, target] = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"].map(told);
    let location = format!("Location: https://auth.example.com/?rd={scheme}://{host}{target}\r\n");
    exchange.status("302 Found", &location, "");
}

/// Listeners at ports that are free.
fn with_listeners(text: &str) -> (String, Vec<(String, String)>) {
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
fn add_surroundings(text: &mut String, folder: &Path) {
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

/// What a `curl` command sends.
struct Request {
    method: String,
    port: String,
    bytes: Vec<u8>,
}

impl Request {
    fn parse(command: &str) -> Request {
        let (mut method, mut fields, mut url, mut body) = (None, String::new(), String::new(), String::new());
        let mut words = blocks::words(command).into_iter().skip(2);
        while let Some(word) = words.next() {
            let mut next = || words.next().unwrap_or_else(|| panic!("{word} needs a value in {command}"));
            match word.as_str() {
                // What goes out is what is written, here in any case.
                "--path-as-is" => {}
                "-X" => method = Some(next()),
                "-H" => fields += &format!("{}\r\n", next()),
                "-u" => {
                    let encoded = base64::engine::general_purpose::STANDARD.encode(next());
                    fields += &format!("Authorization: Basic {encoded}\r\n");
                }
                "-b" => fields += &format!("Cookie: {}\r\n", next()),
                "-d" => body = next(),
                _ if word.starts_with("http://") => url = word,
                _ => panic!("{word} of {command} is not known to this test"),
            }
        }
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("no URL in {command}"));
        let (host, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let port = host.split_once(':').map_or("80", |(_, port)| port).to_owned();
        let method = method.unwrap_or_else(|| if body.is_empty() { "GET" } else { "POST" }.to_owned());
        if !body.is_empty() {
            fields += &format!("Content-Length: {}\r\n", body.len());
        }
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        Request { method, port, bytes: (head + &body).into_bytes() }
    }
}
