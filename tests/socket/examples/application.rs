//! What the endpoints of all sites answer: it depends on the request alone.

use crate::harness::{Exchange, SWITCHING};
use crate::written::authelia;

const LAST_MODIFIED: &str = "Tue, 01 Sep 2026 10:00:00 GMT";

pub fn answer(address: &str, exchange: &mut Exchange<'_>) {
    let target = exchange.target().to_owned();
    let path = target.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    if address.ends_with(":9091") && path.starts_with("/api/authz/") {
        return authelia(exchange);
    }
    if exchange.header("upgrade").is_some() {
        return echo(exchange);
    }
    match last {
        "redirect" => moved(exchange),
        "relative" => exchange.status("302 Found", "Location: /after\r\n", ""),
        "missing" => exchange.status("404 Not Found", "Content-Type: text/plain\r\n", "no such page\n"),
        "error" => exchange.status("500 Internal Server Error", "Content-Type: text/plain\r\n", "it broke\n"),
        "events" => events(exchange),
        "session" => {
            let cookie = "Set-Cookie: session=1; Path=/; HttpOnly\r\nCache-Control: no-cache\r\n";
            exchange.answer_with(cookie, "welcome\n");
        }
        "notes" => exchange.answer_with("X-Powered-By: PHP/8.2\r\nX-Frame-Options: DENY\r\n", "notes\n"),
        _ => match last.rsplit_once('.') {
            Some((_, ending)) if ["css", "js", "svg"].contains(&ending) => file(exchange, ending),
            _ => page(exchange),
        },
    }
}

fn page(exchange: &mut Exchange<'_>) {
    let length = exchange.drain_body();
    let text = format!("a page, after {} of {length} bytes\n", exchange.method());
    exchange.answer_with("Content-Type: text/html; charset=utf-8\r\n", &text);
}

/// Leads to the host that was asked for, or to the address by which the endpoint knows itself.
fn moved(exchange: &mut Exchange<'_>) {
    let host = exchange.header("host").unwrap_or_default().to_owned();
    exchange.status("302 Found", &format!("Location: http://{host}/after\r\n"), "");
}

fn events(exchange: &mut Exchange<'_>) {
    exchange.drain_body();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    exchange.send(head);
    exchange.chunk("data: 1\n\n");
    exchange.chunk("data: 2\n\n");
    exchange.send("0\r\n\r\n");
}

/// A file of 4,000 bytes that never changes, with conditions and parts.
fn file(exchange: &mut Exchange<'_>, ending: &str) {
    let kind = match ending {
        "js" => "text/javascript",
        "svg" => "image/svg+xml",
        _ => "text/css",
    };
    let fields = format!(
        "Content-Type: {kind}\r\nETag: \"v1\"\r\nLast-Modified: {LAST_MODIFIED}\r\nAccept-Ranges: bytes\r\n"
    );
    let text = "0123456789".repeat(400);
    let is_known = exchange.header("if-none-match").is_some_and(|tags| tags.contains("\"v1\""));
    if is_known || exchange.header("if-modified-since") == Some(LAST_MODIFIED) {
        exchange.drain_body();
        exchange.send(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"));
        return;
    }
    let range = exchange.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else { return exchange.answer_with(&fields, &text) };
    let first: usize = first.parse().unwrap_or_default();
    let last = last.parse().unwrap_or(text.len() - 1).min(text.len() - 1);
    match text.get(first..=last) {
        Some(part) => {
            let fields = format!("{fields}Content-Range: bytes {first}-{last}/{}\r\n", text.len());
            exchange.status("206 Partial Content", &fields, part);
        }
        None => {
            let fields = format!("Content-Range: bytes */{}\r\n", text.len());
            exchange.status("416 Range Not Satisfiable", &fields, "");
        }
    }
}

/// Agrees to a WebSocket, and sends back whatever comes.
fn echo(exchange: &mut Exchange<'_>) {
    exchange.send(SWITCHING);
    loop {
        let bytes = exchange.receive();
        if bytes.is_empty() || !exchange.send(bytes) {
            return exchange.close();
        }
    }
}
