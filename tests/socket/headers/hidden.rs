//! The endpoints stay hidden: no address, no name, no software of theirs reaches a client.

use crate::harness::{Endpoint, Proxy, nobody_listens};

/// Sends a GET for a shop, with this Host line.
fn shop(proxy: &Proxy, target: &str) -> crate::harness::Response {
    let mut client = proxy.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n"));
    client.response()
}

/// An endpoint that repeats the Host it was asked for, as its answer.
fn tells_host() -> Endpoint {
    Endpoint::scripted("a", |exchange| {
        let host = exchange.header("host").unwrap_or_default().to_owned();
        exchange.answer(&host);
    })
}

#[test]
fn the_host_is_preserved_by_default() {
    let endpoint = tells_host();
    let proxy = Proxy::to([&endpoint]).start();
    assert_eq!(shop(&proxy, "/").text(), "shop.example:8080");
}

#[test]
fn the_host_can_be_the_endpoints() {
    let endpoint = tells_host();
    let proxy = Proxy::to([&endpoint]).with("host: endpoint").start();
    assert_eq!(shop(&proxy, "/").text(), endpoint.address());
}

#[test]
fn the_host_can_be_fixed() {
    let endpoint = tells_host();
    let proxy = Proxy::to([&endpoint]).with("host: internal.example").start();
    assert_eq!(shop(&proxy, "/").text(), "internal.example");
    assert_eq!(endpoint.requests()[0].header("x-forwarded-host"), Some("shop.example:8080"));
}

/// An endpoint by name is asked for by that name, as the config has it.
#[test]
fn the_host_of_an_endpoint_with_a_name() {
    let endpoint = tells_host();
    let name = format!("localhost:{}", endpoint.port());
    let proxy = Proxy::to([&name]).with("host: endpoint").start();
    assert_eq!(shop(&proxy, "/").text(), name);
}

/// A redirect to the endpoint's own address leads to ours instead; redirects to others and relative ones are let be.
#[test]
fn redirects_to_an_endpoint_lead_to_us() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let target = exchange.target().to_owned();
        let own = exchange.header("host").unwrap_or_default().to_owned();
        let location = match target.as_str() {
            "/own" => format!("http://{own}/login?next=%2F"),
            "/other" => "https://other.example/x".to_owned(),
            _ => "/relative".to_owned(),
        };
        exchange.status("302 Found", &format!("Location: {location}\r\n"), "");
    });
    let proxy = Proxy::to([&endpoint]).with("host: endpoint").start();
    assert_eq!(shop(&proxy, "/own").header("location"), Some("http://shop.example:8080/login?next=%2F"));
    assert_eq!(shop(&proxy, "/other").header("location"), Some("https://other.example/x"));
    assert_eq!(shop(&proxy, "/relative").header("location"), Some("/relative"));
}

/// The same where the endpoint knows its address by itself, whatever Host it was asked for.
#[test]
fn redirects_are_rewritten_with_a_preserved_host_too() {
    let address = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let own = std::sync::Arc::clone(&address);
    let endpoint = Endpoint::scripted("a", move |exchange| {
        let location = format!("Location: http://{}/login\r\n", own.get().unwrap());
        exchange.status("301 Moved Permanently", &location, "");
    });
    address.set(endpoint.address().to_owned()).unwrap();
    let proxy = Proxy::to([&endpoint]).start();
    assert_eq!(shop(&proxy, "/x").header("location"), Some("http://shop.example:8080/login"));
}

/// `Refresh` is a redirect that waits.
#[test]
fn a_refresh_to_an_endpoint_leads_to_us() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        let own = exchange.header("host").unwrap_or_default().to_owned();
        let value = match exchange.target() {
            "/own" => format!("5; url=http://{own}/next?a=1"),
            "/quoted" => format!("0;URL='//{own}/next'"),
            "/bare" => format!("1, http://{own}/next"),
            "/two" => format!("9\r\nRefresh: 3; url=http://{own}/next"),
            "/other" => "5; url=https://other.example/x".to_owned(),
            _ => "30".to_owned(),
        };
        exchange.answer_with(&format!("Refresh: {value}\r\n"), "soon");
    });
    let proxy = Proxy::to([&endpoint]).with("host: endpoint").start();
    for (target, values) in [
        ("/own", &["5; url=http://shop.example:8080/next?a=1"][..]),
        ("/quoted", &["0;URL='http://shop.example:8080/next'"]),
        ("/bare", &["1, http://shop.example:8080/next"]),
        ("/two", &["9", "3; url=http://shop.example:8080/next"]),
        ("/other", &["5; url=https://other.example/x"]),
        ("/again", &["30"]),
    ] {
        assert_eq!(shop(&proxy, target).expect(200).head.all("refresh"), values, "{target}");
    }
}

/// A cookie for the endpoint's own name becomes one for ours; other cookies are let be.
#[test]
fn cookies_for_an_endpoint_become_ours() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer_with(
            "Set-Cookie: a=1; Domain=localhost; Path=/; HttpOnly\r\n\
             Set-Cookie: b=2; Path=/\r\n\
             Set-Cookie: c=3; Domain=other.example; Secure\r\n",
            "",
        );
    });
    let name = format!("localhost:{}", endpoint.port());
    let proxy = Proxy::to([&name]).with("host: endpoint").start();
    let response = shop(&proxy, "/x").expect(200);
    let cookies = response.head.all("set-cookie");
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    assert!(!cookies[0].contains("localhost"), "{}", cookies[0]);
    assert!(
        cookies[0].starts_with("a=1;") && cookies[0].contains("Path=/") && cookies[0].contains("HttpOnly")
    );
    assert!(!cookies[0].contains("Domain=") || cookies[0].contains("Domain=shop.example"), "{}", cookies[0]);
    assert_eq!(cookies[1..], ["b=2; Path=/", "c=3; Domain=other.example; Secure"]);
}

/// The software at the endpoint is nobody's business; nor is ours beyond its name.
#[test]
fn the_server_field_is_ours_or_absent() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.answer_with("Server: secretd/1.2.3\r\n", "well");
    });
    let dead = nobody_listens();
    let proxy = Proxy::config()
        .routes(&["name: well, match: { paths: [/well] }, pool: well", "name: dead, pool: dead"])
        .pool("well", [&endpoint])
        .pool("dead", [&dead])
        .start();
    for target in ["/well", "/dead"] {
        let response = proxy.client().get(target);
        assert!(!response.head.raw.contains("secretd"), "{}", response.head.raw);
        assert!(!response.head.raw.to_ascii_lowercase().contains("pingora"), "{}", response.head.raw);
        assert!(response.header("server").is_none_or(|server| server.eq_ignore_ascii_case("evenkeel")));
    }
}
