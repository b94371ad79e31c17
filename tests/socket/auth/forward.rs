//! An auth service that is asked about each request.

use std::time::Duration;

use super::{ALIASES, guarded, read_as};
use crate::harness::{ASKS_FOR_WEBSOCKET, Endpoint, Exchange, SWITCHING, lacks, nobody_listens};

/// Lets everybody pass, and says nothing of who it is.
fn says_nothing(exchange: &mut Exchange) {
    exchange.answer("");
}

fn asking(service: &Endpoint, keys: &str) -> String {
    format!("{{ forward: {{ url: \"http://{}/check?rd=1\", {keys} }} }}", service.address())
}

/// The service has said nothing of the user, so that nobody has: what the client says of it never passes.
#[test]
fn every_field_that_may_be_set_is_removed_first() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", says_nothing);
    let proxy = guarded(&endpoint, &asking(&service, "set: [Remote-User, Remote-Groups]")).start();
    for (number, alias) in ALIASES.into_iter().enumerate() {
        let target = format!("/{number}");
        let fields = format!("{alias}: root\r\nRemote_Groups: admins\r\nConnection: {alias}\r\n");
        proxy.client().request("GET", &target, &fields).expect(200);
        let seen = endpoint.seen(&target);
        for name in ["Remote-User", "Remote-Groups"] {
            assert!(read_as(&seen.head.raw, name).is_empty(), "{alias}:\n{}", seen.head.raw);
        }
    }
}

#[test]
fn what_the_service_says_of_the_user_goes_on() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", |exchange| {
        let fields = "Remote-User: alice\r\nRemote-Groups: dev\r\nRemote-Groups: ops\r\nX-Other: 1\r\n\
                      Set-Cookie: s=1; Path=/\r\nSet-Cookie: t=2\r\n";
        exchange.status("202 Accepted", fields, "who it is");
    });
    let proxy = guarded(&endpoint, &asking(&service, "set: [remote-user, REMOTE-GROUPS]")).start();
    let response = proxy.client().request("GET", "/x", "X-Other: mine\r\nRemote.User: root\r\n").expect(200);
    let seen = endpoint.seen("/x");
    assert_eq!(read_as(&seen.head.raw, "remote-user").len(), 1, "{}", seen.head.raw);
    assert_eq!(seen.header("remote-user"), Some("alice"));
    let groups = read_as(&seen.head.raw, "remote-groups");
    assert!(groups.len() == 2 && groups[0].ends_with(": dev") && groups[1].ends_with(": ops"), "{groups:?}");
    assert_eq!(seen.header("x-other"), Some("mine"), "what is not in `set` is the client's");
    assert_eq!(read_as(&response.head.raw, "set-cookie").len(), 2, "{}", response.head.raw);
    let record = proxy.record("/x");
    assert_eq!(
        (record.text("auth"), record.text("auth_verdict"), record.text("user")),
        ("forward", "passed", "alice")
    );
}

/// No field of the client reaches the service but those of `pass`; those that tell of the request are written afresh.
#[test]
fn the_service_is_told_the_truth() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", says_nothing);
    let proxy = guarded(&endpoint, &asking(&service, "pass: [Cookie, Authorization]")).start();
    let forged = "Host: app.example\r\nCookie: s=1\r\nAuthorization: Bearer t\r\nX-Forwarded-Prefix: /p\r\n\
                  X-Forwarded-Port: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\n\
                  X-Forwarded-Proto: https\r\nX-Forwarded-Uri: /public\r\nX-Forwarded-Method: OPTIONS\r\n\
                  X_Forwarded_Uri: /public\r\nX-Forwarded-Server: s\r\nX-Original-URL: http://evil/\r\n\
                  X-Rewrite-URL: /public\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Secret: 1\r\n\
                  Content-Length: 3\r\nAccept: a/b\r\n";
    let mut client = proxy.client();
    client.send(format!("POST /public/../admin/%7Ejoe?a=b HTTP/1.1\r\n{forged}\r\nabc"));
    client.response().expect(200);
    let seen = &service.requests()[0];
    let mut lines: Vec<String> = seen.head.raw.lines().skip(1).map(str::to_ascii_lowercase).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    assert_eq!((seen.method(), seen.target(), seen.body_length), ("GET", "/check?rd=1", 0));
    let expected = [
        "authorization: bearer t".to_owned(),
        "cookie: s=1".to_owned(),
        format!("host: {}", service.address()),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-host: app.example".to_owned(),
        "x-forwarded-method: post".to_owned(),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-uri: /admin/~joe?a=b".to_owned(),
        "x-original-method: post".to_owned(),
        "x-original-url: http://app.example/admin/~joe?a=b".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(endpoint.requests()[0].target(), "/admin/~joe?a=b", "what is asked about is what goes on");
}

/// Row 10 of the list of public mistakes: whoever has pages for 401 and 403, also for the answers of others, lets nobody
/// pass for it, asks nobody else, and keeps what the service says beside its page.
#[test]
fn error_pages_never_change_the_verdict() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", |exchange| {
        let uri = exchange.header("x-forwarded-uri").unwrap_or_default().to_owned();
        let status = uri.trim_start_matches('/').split('?').next().unwrap_or_default().replace('-', " ");
        let fields =
            "WWW-Authenticate: Basic realm=\"a\"\r\nLocation: https://auth.example/\r\nRemote-User: root\r\n";
        exchange.status(&status, fields, "who are you?");
    });
    let mut intercepts = vec!["off"];
    if !lacks("`compress`, `intercept_errors`") {
        intercepts.push("on");
    }
    for intercept in intercepts {
        let keys = asking(&service, "set: [Remote-User]");
        let builder = guarded(&endpoint, &format!("{keys}, intercept_errors: {intercept}, errors: ERRORS"));
        let page = builder.folder().join("page.html");
        std::fs::write(&page, "<h1>stop</h1>").unwrap();
        let errors = format!("{{ 401: {0}, 403: {0}, 4xx: {0}, 5xx: {0} }}", page.display());
        let text = builder.text().replace("ERRORS", &errors);
        let proxy = builder.yaml(text).start();
        for status in ["401-Unauthorized", "403-Forbidden", "404-Not", "418-Pot", "500-Oops", "503-Busy"] {
            for (method, fields) in
                [("GET", ""), ("POST", "Content-Length: 0\r\n"), ("GET", "X-Status: 200\r\n")]
            {
                let asked = service.count();
                let response = proxy.client().request(method, &format!("/{status}?{intercept}"), fields);
                assert_eq!(response.status, status[..3].parse::<u16>().unwrap(), "{intercept}");
                assert_eq!(response.text(), "who are you?", "{intercept}: its own page");
                assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"a\""));
                assert_eq!(service.count(), asked + 1, "{status}: it was asked once");
            }
        }
        assert_eq!(endpoint.count(), 0);
        let record = proxy.records_of(&format!("/403-Forbidden?{intercept}"), 3).remove(0);
        assert_eq!((record.text("auth_verdict"), record.text("action")), ("refused", "auth"));
    }
}

/// The same where the service cannot be asked, and where evenkeel itself refuses.
#[test]
fn who_is_refused_here_gets_the_page_and_nothing_else() {
    let (endpoint, dead) = (Endpoint::named("a"), nobody_listens());
    for (auth, status) in [(asking(&dead, "set: [Remote-User]"), 503), ("{ basic: USERS }".to_owned(), 401)] {
        let builder = guarded(&endpoint, &format!("{auth}, errors: ERRORS"));
        let page = builder.folder().join("page.html");
        std::fs::write(&page, "<h1>stop</h1>").unwrap();
        let text = builder.text().replace("ERRORS", &format!("{{ 4xx: {0}, 5xx: {0} }}", page.display()));
        let proxy = builder.yaml(text).start();
        for fields in ["", "Authorization: Basic eDp5\r\n", "Remote-User: root\r\n"] {
            let response = proxy.client().request("GET", "/x", fields).expect(status);
            assert_eq!(response.text(), "<h1>stop</h1>");
            assert_eq!(response.head.has("www-authenticate"), status == 401);
        }
    }
    assert_eq!(endpoint.count(), 0);
}

#[test]
fn any_other_answer_goes_to_the_client_as_it_is() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", |exchange| {
        let uri = exchange.header("x-forwarded-uri").unwrap_or_default().to_owned();
        let status = uri.trim_start_matches('/').replace('-', " ");
        let fields = "Location: https://auth.example/?rd=x\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\
                      Set-Cookie: s=1\r\nSet-Cookie: t=2\r\nContent-Type: text/x\r\nX-Auth: 1\r\n\
                      Connection: keep-alive, X-Auth\r\n";
        exchange.status(&status, fields, "who are you?");
    });
    let proxy = guarded(&endpoint, &asking(&service, "set: [Remote-User]")).start();
    for status in [
        "302-Found",
        "303-See",
        "401-Unauthorized",
        "403-Forbidden",
        "404-Not",
        "418-Pot",
        "500-Oops",
        "599-X",
    ] {
        let response = proxy.client().get(&format!("/{status}"));
        assert_eq!(response.status, status[..3].parse::<u16>().unwrap());
        assert_eq!(response.text(), "who are you?");
        assert_eq!(response.header("location"), Some("https://auth.example/?rd=x"));
        assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"a\""));
        assert_eq!(response.header("content-type"), Some("text/x"));
        assert_eq!(read_as(&response.head.raw, "set-cookie").len(), 2, "{}", response.head.raw);
        assert_eq!(read_as(&response.head.raw, "content-length").len(), 1, "{}", response.head.raw);
    }
    assert_eq!(endpoint.count(), 0);
    let record = proxy.record("/403-Forbidden");
    assert_eq!(
        (record.text("auth_verdict"), record.text("action"), record.status()),
        ("refused", "auth", 403)
    );
}

/// Too much, too late, no HTTP, nobody there: 503, and nothing through.
#[test]
fn what_cannot_be_understood_lets_nothing_through() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", |exchange| {
        match exchange.header("x-forwarded-uri").unwrap_or_default().to_owned().as_str() {
            "/large" => exchange.answer(&"x".repeat((64 << 10) + 1)),
            "/large-refusal" => exchange.status("403 Forbidden", "", &"x".repeat((64 << 10) + 1)),
            "/head" => exchange.answer_with(&format!("X-A: {}\r\n", "a".repeat(66_000)), ""),
            "/endless" => {
                exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while exchange.chunk(&"x".repeat(1000)) {}
            }
            "/late" => {
                exchange.hang();
            }
            "/half" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
                exchange.close();
            }
            "/slow" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
                while exchange.send("x") && !exchange.ended_within(Duration::from_millis(200)) {}
            }
            "/garbage" => {
                exchange.send("200 is fine\r\n\r\n");
                exchange.close();
            }
            "/switch" => {
                exchange.send("HTTP/1.1 101 Switching Protocols\r\n\r\n");
            }
            "/reset" => exchange.reset(),
            _ => exchange.answer(""),
        }
    });
    let proxy = guarded(&endpoint, &asking(&service, "timeout: 500ms")).start();
    for target in [
        "/large",
        "/large-refusal",
        "/head",
        "/endless",
        "/late",
        "/half",
        "/slow",
        "/garbage",
        "/switch",
        "/reset",
    ] {
        let response = proxy.client().get(target);
        assert_eq!(response.status, 503, "{target}");
        let record = proxy.record(target);
        assert_eq!(
            (record.cause(), record.text("auth_verdict")),
            ("auth_unavailable", "unavailable"),
            "{target}"
        );
        proxy.get("/well").expect(200);
    }
    assert_eq!(endpoint.count(), endpoint.count_of("/well"));
    let nobody = nobody_listens();
    let proxy = guarded(&endpoint, &asking(&nobody, "timeout: 1s")).start();
    proxy.get("/nobody").expect(503);
    assert_eq!(endpoint.count_of("/nobody"), 0);
}

/// Its connections are kept, also by a service that closes them now and then.
#[test]
fn connections_to_the_service_are_kept() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", |exchange| {
        exchange.answer("");
        if exchange.number() % 10 == 9 {
            exchange.close();
        }
    });
    let proxy = guarded(&endpoint, &asking(&service, "set: []")).server("threads: 1").start();
    let mut client = proxy.client();
    for _ in 0..30 {
        client.get("/x").expect(200);
    }
    assert_eq!(service.count(), 30);
    assert!(service.connections() <= 6, "{} connections", service.connections());
}

#[test]
fn the_service_is_asked_before_anything_is_sent_on() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(SWITCHING);
    });
    let service = Endpoint::scripted("auth", |exchange| match exchange.header("cookie").is_some() {
        true => exchange.answer(""),
        false => exchange.status("403 Forbidden", "", ""),
    });
    let proxy = guarded(&endpoint, &asking(&service, "method: same")).start();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, fields, body) in [
        ("PUT", "Content-Length: 50000000\r\n", "abc"),
        ("POST", chunked, "5\r\nhello\r\n"),
        ("GET", ASKS_FOR_WEBSOCKET, ""),
        ("HEAD", "", ""),
    ] {
        let mut client = proxy.client();
        client.send(format!("{method} /x HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}"));
        assert_eq!(client.response_to(method).status, 403, "{method}");
        assert_eq!(service.requests().pop().unwrap().method(), method, "by choice");
    }
    assert_eq!(endpoint.count(), 0);
    let mut client = proxy.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\nCookie: s=1\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.head_only().word(1), "101");
}

/// A client that goes while the service is asked ends the question, and a route's time bounds it.
#[test]
fn a_question_ends_with_its_request() {
    let endpoint = Endpoint::named("a");
    let service = Endpoint::scripted("auth", |exchange| {
        exchange.hang();
    });
    let proxy = guarded(&endpoint, &format!("{}, timeout: 700ms", asking(&service, "timeout: 1m"))).start();
    let mut client = proxy.client();
    client.send("GET /gone HTTP/1.1\r\nHost: x\r\n\r\n");
    service.wait_for_requests(1);
    client.reset();
    assert_eq!(proxy.record("/gone").status(), 499);
    proxy.get("/late").expect(504);
    service.wait_until_free(Duration::from_secs(5));
    assert_eq!(endpoint.count(), 0);
}
