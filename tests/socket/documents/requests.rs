//! The requests of the recipes, through real sockets.

use super::RECIPES;
use super::blocks::{self, Section, Shown};
use crate::harness::{Client, Endpoint, Exchange, Proxy, lacks};
use crate::written::{
    Request, add_surroundings, authelia, lossy, with_endpoints, with_files, with_listeners,
};

/// Keys that engine `pingora` refuses, and the row of docs/engines.md that says so.
const NATIVE_ALONE: [(&str, &str); 4] = [
    ("compress:", "`compress`, `intercept_errors`"),
    ("mirror:", "`mirror`"),
    ("response_rate:", "`limits.response_rate`"),
    ("buffer_request:", "`buffer_request`"),
];

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
        let text = with_files(builder.folder(), &section.files, config);
        let mut endpoints = Vec::new();
        let text = with_endpoints(&text, &mut endpoints, answer);
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

fn answer(name: &str, exchange: &mut Exchange<'_>) {
    if name == "127.0.0.1:9091" {
        return authelia(exchange);
    }
    let (method, target) = (exchange.method().to_owned(), exchange.target().to_owned());
    if target.ends_with(".js") {
        let script = "console.log('on an even keel');\n".repeat(100);
        return exchange.answer_with("Content-Type: text/javascript\r\n", &script);
    }
    let fields = "Content-Type: text/plain\r\nX-Powered-By: a test\r\n";
    exchange.answer_with(fields, &format!("{name} received {method} {target}\n"));
}
