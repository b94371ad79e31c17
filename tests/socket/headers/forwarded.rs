//! Fault 46: who the client is, as told to the endpoint. Strangers are not believed; trusted proxies are.

use crate::harness::{Endpoint, Proxy, Seen};

const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n\
                       X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6;host=evil.example;proto=https\r\n";

/// What the endpoint sees of one GET with these fields, through a listener with this line.
fn seen_through(listener: &str, fields: &str) -> (Seen, crate::harness::Record) {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener(listener).start();
    proxy.client().request("GET", "/x", fields).expect(200);
    (endpoint.seen("/x"), proxy.record("/x"))
}

/// A stranger's claims are overwritten, every one of them.
#[test]
fn a_stranger_is_not_believed() {
    let (seen, record) = seen_through("trusted_proxies: []", SPOOFED);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("test.example"));
    let forwarded = seen.header("forwarded").expect("Forwarded").to_ascii_lowercase();
    for part in ["for=127.0.0.1", "host=test.example", "proto=http"] {
        assert!(forwarded.contains(part), "{forwarded}");
    }
    assert!(seen.header("x-real-ip").is_none_or(|ip| ip == "127.0.0.1"));
    assert!(!seen.head.raw.contains("6.6.6.6") && !seen.head.raw.contains("evil"), "{}", seen.head.raw);
    assert!(record.text("client").starts_with("127.0.0.1:"));
}

/// Repeating a field or changing its case does not help.
#[test]
fn a_stranger_who_repeats_himself_is_not_believed() {
    let fields = "x-forwarded-for: 6.6.6.6\r\nX-FORWARDED-FOR: 7.7.7.7, 8.8.8.8\r\nfoRwarded: for=6.6.6.6\r\n\
                  Forwarded: for=7.7.7.7\r\nx-real-ip: 6.6.6.6\r\nX-Real-Ip: 7.7.7.7\r\n";
    let (seen, _) = seen_through("trusted_proxies: []", fields);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    for address in ["6.6.6.6", "7.7.7.7", "8.8.8.8"] {
        assert!(!seen.head.raw.contains(address), "{}", seen.head.raw);
    }
}

/// Nor does an underscore, which some endpoints read as a hyphen.
#[test]
fn a_stranger_in_disguise_is_not_believed() {
    let fields = "X_Forwarded_For: 6.6.6.6\r\nx_forwarded-proto: https6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n\
                  Content_Length: 6.6.6.6\r\nTransfer_Encoding: 6.6.6.6\r\nX_Other: kept\r\n";
    let (seen, _) = seen_through("trusted_proxies: []", fields);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x_other"), Some("kept"));
    assert!(!seen.head.raw.contains("6.6.6.6"), "{}", seen.head.raw);
}

/// A stranger in the config's list of trusted ones somewhere else stays a stranger.
#[test]
fn trust_in_others_is_no_trust_in_all() {
    let (seen, _) = seen_through("trusted_proxies: [10.0.0.0/8, 127.0.0.2]", SPOOFED);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(!seen.head.raw.contains("6.6.6.6"));
}

/// With nothing claimed, the same fields are written.
#[test]
fn the_fields_are_always_there() {
    let (seen, _) = seen_through("trusted_proxies: []", "");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("test.example"));
    assert!(seen.header("forwarded").is_some());
}

/// A trusted proxy's chain is kept and goes on; its word on protocol and host stands; the client is who it says.
#[test]
fn a_trusted_proxy_is_believed_and_appended_to() {
    let fields = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
                  Forwarded: for=203.0.113.7;host=shop.example;proto=https\r\n";
    let (seen, record) = seen_through("trusted_proxies: [127.0.0.0/8]", fields);
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    let forwarded = seen.head.all("forwarded").join(", ");
    assert!(forwarded.starts_with("for=203.0.113.7;host=shop.example;proto=https, "), "{forwarded}");
    assert!(forwarded.to_ascii_lowercase().contains("for=127.0.0.1"), "{forwarded}");
    assert!(record.text("client").starts_with("203.0.113.7"), "{}", record.text("client"));
    assert!(record.text("peer").starts_with("127.0.0.1:"), "{}", record.text("peer"));
}

/// Of a chain, the client is the last one who is not trusted himself: what stands before him, he could have made up.
#[test]
fn the_client_is_the_last_stranger_of_the_chain() {
    let trust = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]";
    for (chain, client) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
    ] {
        let (_, record) = seen_through(trust, &format!("X-Forwarded-For: {chain}\r\n"));
        assert!(record.text("client").contains(client), "{chain}: {}", record.text("client"));
    }
}

/// A trusted proxy that tells nothing, or nonsense, leaves itself as the client.
#[test]
fn nonsense_from_a_trusted_proxy_is_no_client() {
    for fields in ["", "X-Forwarded-For: unknown\r\n", "X-Forwarded-For: \r\n"] {
        let (_, record) = seen_through("trusted_proxies: [127.0.0.1]", fields);
        assert!(record.text("client").starts_with("127.0.0.1"), "{fields:?}: {}", record.text("client"));
    }
}

/// The port that the client named is part of what it asked for.
#[test]
fn the_host_is_told_with_its_port() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: shop.example:8443\r\n\r\n");
    client.response().expect(200);
    assert_eq!(endpoint.seen("/x").header("x-forwarded-host"), Some("shop.example:8443"));
}

/// Nor in what only some endpoints listen to.
#[test]
fn a_stranger_has_nothing_to_say_of_paths_and_ports() {
    let fields = "X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: :666\r\nX_Forwarded_Ssl: evil\r\n\
                  X-Forwarded-Server: evil\r\nX-Original-URL: /evil\r\nX-Rewrite-Url: /evil\r\nX-Other: kept\r\n";
    let (seen, _) = seen_through("trusted_proxies: []", fields);
    assert!(!seen.head.raw.contains("evil") && !seen.head.raw.contains(":666"), "{}", seen.head.raw);
    assert_eq!(seen.header("x-other"), Some("kept"));
    let (seen, _) = seen_through("trusted_proxies: [127.0.0.0/8]", "X-Forwarded-Prefix: /app\r\n");
    assert_eq!(seen.header("x-forwarded-prefix"), Some("/app"));
}

/// A byte that is no text does not make the trusted proxy's own entry disappear.
#[test]
fn an_unreadable_entry_hides_nobody() {
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).listener("trusted_proxies: [127.0.0.0/8]").start();
    let mut client = proxy.client();
    client.send(b"GET /x HTTP/1.1\r\nHost: test.example\r\nX-Forwarded-For: \xff, 203.0.113.9\r\n\r\n");
    client.response().expect(200);
    assert_eq!(endpoint.seen("/x").header("x-forwarded-for"), Some("?, 203.0.113.9, 127.0.0.1"));
    assert_eq!(endpoint.seen("/x").header("x-real-ip"), Some("203.0.113.9"));
    assert_eq!(proxy.record("/x").text("client"), "203.0.113.9");
}

/// What the endpoint sees in both forms, through a listener that trusts the client.
#[track_caller]
fn tells(fields: &str, x_forwarded_for: &str, forwarded: &str, scheme: &str) {
    let (seen, record) = seen_through("trusted_proxies: [127.0.0.0/8]", fields);
    assert_eq!(seen.header("x-forwarded-for"), Some(x_forwarded_for), "{fields}");
    assert_eq!(seen.head.all("forwarded"), [forwarded], "{fields}");
    assert_eq!(seen.header("x-forwarded-proto"), Some(scheme), "{fields}");
    assert_eq!(seen.header("x-real-ip"), x_forwarded_for.split(", ").next(), "{fields}");
    assert!(record.text("client").starts_with(seen.header("x-real-ip").unwrap()), "{fields}");
}

/// There is one origin, and both forms tell it, whichever the trusted proxy has used.
#[test]
fn both_forms_tell_the_same_origin() {
    let origin = "for=203.0.113.7;host=test.example;proto=https, for=127.0.0.1";
    for fields in [
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n",
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: WSS\r\n",
        "X-Forwarded-For: 203.0.113.7,\r\nX-Forwarded-Proto: https, http\r\n",
        "X-Forwarded-For: , 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6;proto=http\r\n",
        "Forwarded: for=203.0.113.7;proto=https\r\n",
        "Forwarded: For=\"203.0.113.7\";Proto=https;by=10.0.0.1\r\n",
        "Forwarded: for=203.0.113.7;\r\nForwarded: ,\r\nForwarded: for=127.0.0.9;proto=wss\r\n",
    ] {
        let (x_forwarded_for, origin) = match fields.contains("127.0.0.9") {
            true => ("203.0.113.7, 127.0.0.9, 127.0.0.1", origin.replace(", ", ", for=127.0.0.9, ")),
            false => ("203.0.113.7, 127.0.0.1", origin.to_owned()),
        };
        tells(fields, x_forwarded_for, &origin, "https");
    }
    tells("", "127.0.0.1", "for=127.0.0.1;host=test.example;proto=http", "http");
}

/// A redirect of an endpoint leads where the client has come from: scheme and host are of one source.
#[test]
fn redirects_lead_to_the_origin() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let location = format!("Location: http://{}/there\r\n", exchange.header("host").unwrap());
        exchange.status("302 Found", &location, "");
    });
    let proxy =
        Proxy::to([&endpoint]).with("host: endpoint").listener("trusted_proxies: [127.0.0.0/8]").start();
    for fields in [
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n",
        "Forwarded: for=203.0.113.7;proto=https;host=shop.example\r\n",
    ] {
        let answer = proxy.client().request("GET", "/x", fields);
        assert_eq!(answer.header("location"), Some("https://shop.example/there"), "{fields}");
    }
}
