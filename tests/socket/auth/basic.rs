//! Names and passwords.

use std::time::Duration;

use super::{ALIASES, credentials, guarded, read_as, write_users};
use crate::harness::{ASKS_FOR_WEBSOCKET, Endpoint, Proxy, SWITCHING, eventually, http2, nobody_listens};

#[test]
fn only_a_right_password_passes() {
    let endpoint = Endpoint::named("a");
    let proxy = guarded(&endpoint, "{ basic: { file: USERS, realm: back office } }").start();
    let mut client = proxy.client();
    let cases = [
        (String::new(), "missing"),
        ("Authorization: Bearer abc\r\n".into(), "missing"),
        ("Authorization: Basic\r\n".into(), "missing"),
        ("Authorization: Basic !!!\r\n".into(), "missing"),
        ("Authorization: Basic YWxpY2U=\r\n".into(), "missing"),
        (credentials("alice", "open sesame\0"), "missing"),
        (credentials("alice", "open"), "refused"),
        (credentials("alice", ""), "refused"),
        (credentials("Alice", "open sesame"), "refused"),
        (credentials("bob", "open sesame"), "refused"),
        (credentials("mallory", "open sesame"), "refused"),
        (credentials("", ""), "refused"),
        // Two readers may choose differently.
        (credentials("alice", "open sesame") + &credentials("mallory", "x"), "missing"),
    ];
    for (number, (fields, verdict)) in cases.into_iter().enumerate() {
        let target = format!("/{number}");
        let response = client.request("GET", &target, &fields).expect(401);
        let challenge = "Basic realm=\"back office\", charset=\"UTF-8\"";
        assert_eq!(response.header("www-authenticate"), Some(challenge), "{fields}");
        let record = proxy.record(&target);
        assert_eq!((record.cause(), record.text("auth_verdict")), ("unauthorized", verdict), "{fields}");
    }
    assert_eq!(endpoint.count(), 0, "nothing went through");
    for _ in 0..3 {
        client.request("GET", "/in", &credentials("alice", "open sesame")).expect(200);
    }
    client.request("GET", "/bob", &credentials("bob", "p:w")).expect(200);
    assert!(!endpoint.seen("/bob").head.has("authorization"), "it is not passed on by default");
    let record = proxy.record("/bob");
    assert_eq!(
        (record.text("auth"), record.text("auth_verdict"), record.text("user")),
        ("basic", "passed", "bob")
    );
    let labels = ["route=\"default\"", "kind=\"basic\"", "verdict=\"passed\""];
    assert_eq!(proxy.metric("evenkeel_auth_total", &labels), 4.0);
    assert_eq!(proxy.metric("evenkeel_auth_total", &["verdict=\"refused\""]), 6.0);
}

/// A client that names the user itself, in whatever form, or names the field in `Connection`, does not get through.
#[test]
fn only_the_proxy_says_who_the_user_is() {
    let endpoint = Endpoint::named("a");
    let auth = "{ basic: { file: USERS, user_header: Remote-User, pass_on: true } }";
    let proxy = guarded(&endpoint, auth).start();
    for (number, alias) in ALIASES.into_iter().enumerate() {
        let target = format!("/{number}");
        let login = credentials("alice", "open sesame");
        let fields =
            format!("{login}{alias}: root\r\n{alias}: admin\r\nConnection: Remote-User, {alias}\r\n");
        proxy.client().request("GET", &target, &fields).expect(200);
        let seen = endpoint.seen(&target);
        let read = read_as(&seen.head.raw, "Remote-User");
        assert_eq!(read.len(), 1, "{alias}: {read:?}");
        assert!(read[0].ends_with(": alice"), "{read:?}");
        assert!(seen.head.has("authorization"), "it is passed on by choice");
    }
}

/// However a body is framed, and whatever the request asks for.
#[test]
fn nothing_passes_for_another_form_of_the_request() {
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.send(SWITCHING);
    });
    let proxy = guarded(&endpoint, "{ basic: USERS }").start();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, fields, body) in [
        ("POST", "Content-Length: 5\r\n", "hello"),
        ("POST", "Content-Length: 5000000\r\nExpect: 100-continue\r\n", ""),
        ("POST", chunked, "5\r\nhello\r\n0\r\n\r\n"),
        ("HEAD", "", ""),
        ("OPTIONS", "", ""),
        ("GET", ASKS_FOR_WEBSOCKET, ""),
    ] {
        let mut client = proxy.client();
        client.send(format!("{method} /x HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}"));
        assert_eq!(client.response_to(method).status, 401, "{method} {fields}");
    }
    let runtime = http2::runtime();
    if crate::harness::engine() == crate::harness::Engine::Native {
        let proxy = guarded(&endpoint, "{ basic: USERS }").listener("h2c: true").start();
        runtime.block_on(async {
            let client = http2::connect(&proxy.address()).await;
            assert_eq!(http2::get(&client, "/x").await.status, 401);
        });
    }
    assert_eq!(endpoint.count(), 0);
    let mut client = proxy.client();
    let login = credentials("alice", "open sesame");
    client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{login}{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.head_only().word(1), "101");
}

/// A password that was right is forgotten with the file that it was right by.
#[test]
fn a_new_file_is_in_force_at_once() {
    let endpoint = Endpoint::named("a");
    let proxy = guarded(&endpoint, "{ basic: { file: USERS, remember: 1h } }").start();
    let (old, new) = (credentials("alice", "open sesame"), credentials("alice", "changed"));
    proxy.client().request("GET", "/x", &old).expect(200);
    proxy.client().request("GET", "/x", &new).expect(401);
    write_users(proxy.folder(), &[("alice", "changed")]);
    eventually("the new password is right", || {
        (proxy.client().request("GET", "/x", &new).status == 200).then_some(())
    });
    proxy.client().request("GET", "/x", &old).expect(401);
    proxy.client().request("GET", "/x", &credentials("bob", "p:w")).expect(401);
    // What is no such file changes nothing.
    std::fs::write(proxy.folder().join("users.htpasswd"), "alice:plain\n").unwrap();
    proxy.event("the file is refused", |event| {
        event.message() == "certificates not replaced, those in force stay"
            && event.text("reason").contains("bcrypt")
    });
    proxy.client().request("GET", "/x", &new).expect(200);
}

/// A request that waits while a reload puts a password before its route.
#[test]
fn a_route_that_comes_by_a_reload_asks_too() {
    let nobody = nobody_listens();
    let proxy = Proxy::to([&nobody]).with("when_none_healthy: { wait: 30s }").start();
    let users = write_users(proxy.folder(), &[("alice", "open sesame")]);
    let config = proxy
        .config_text()
        .replace("pool: default }", &format!("pool: default, auth: {{ basic: {users} }} }}"));
    assert_ne!(config, proxy.config_text());
    let (mut stranger, mut alice) = (proxy.client(), proxy.client());
    stranger.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    alice.send(format!("GET /y HTTP/1.1\r\nHost: x\r\n{}\r\n", credentials("alice", "open sesame")));
    eventually("both wait", || (proxy.status()["pools"][0]["waiting"] == 2).then_some(()));
    proxy.reload(&config);
    assert_eq!(stranger.response().status, 401);
    assert!(alice.patient_for(Duration::from_millis(300)).try_response_to("GET").is_err(), "it waits on");
}
