//! TLS with endpoints. The endpoint is another proxy, which has TLS with its clients and tells an endpoint without it.

use std::fs;
use std::path::Path;

use http::{Request, StatusCode};

use super::tls;
use crate::harness::{
    Authority, Endpoint, Engine, Issued, Oddity, Proxy, ProxyBuilder, engine, eventually, http2, lacks,
};

/// A TLS server for these names before the endpoint.
fn secured(endpoint: &Endpoint, authority: &Authority, hosts: &[&str], oddity: Oddity) -> Proxy {
    let proxy = Proxy::to([endpoint]);
    let issued = authority.issue_odd(proxy.folder(), "server", hosts, oddity);
    proxy.listener(&tls(&[&issued], "")).start()
}

fn ca(authority: &Authority, folder: &Path) -> String {
    let path = folder.join("ca.pem");
    authority.write(&path);
    path.display().to_string()
}

fn to(server: &Proxy, authority: &Authority, more: &str) -> ProxyBuilder {
    let proxy = Proxy::to([server.address()]);
    let ca = ca(authority, proxy.folder());
    proxy.with(&format!("tls: {{ ca: {ca}{more} }}"))
}

#[test]
fn requests_go_over_tls_and_connections_are_kept() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let server = secured(&endpoint, &authority, &["127.0.0.1"], Oddity::None);
    let proxy = to(&server, &authority, "").start();
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/x").expect(200).text(), "a");
    }
    let body = "0123456789".repeat(100_000);
    client.upload("POST", "/upload", body.as_bytes()).expect(200);
    assert_eq!(endpoint.seen("/upload").body_length, body.len());
    if engine() == Engine::Native {
        let opened = server.record("/upload").text("client").to_owned();
        assert!(server.records_of("/x", 5).iter().all(|record| record.text("client") == opened));
    }
}

/// What HTTP/2 clients ask for goes the same way, and long bodies leave nothing behind in what TLS keeps.
#[test]
fn requests_of_http2_clients_go_over_tls() {
    if lacks("connections to endpoints") {
        return;
    }
    const LENGTH: usize = 1_000_000;
    let endpoint = Endpoint::scripted("a", |exchange| {
        exchange.drain_body();
        exchange.answer(&"x".repeat(LENGTH));
    });
    let authority = Authority::new();
    let server = secured(&endpoint, &authority, &["127.0.0.1"], Oddity::None);
    let proxy = to(&server, &authority, "").listener("h2c: true").start();
    http2::runtime().block_on(async {
        let client = http2::connect(&proxy.address()).await;
        let body: &str = Box::leak("0123456789".repeat(LENGTH / 10).into_boxed_str());
        for _ in 0..2 {
            let post = Request::post("http://test.example/x").body(()).unwrap();
            let answer = http2::request(&client, post, &[body]).await;
            assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, LENGTH));
        }
    });
    assert!(endpoint.requests().iter().all(|seen| seen.whole && seen.body_length == LENGTH));
    let records = server.records_of("/x", 2);
    assert_eq!(records[0].text("client"), records[1].text("client"), "one connection");
}

/// Fault: the endpoint's certificate is not trusted, has expired, or has another name.
#[test]
fn nobody_is_believed_without_a_good_certificate() {
    let (endpoint, authority, strangers) = (Endpoint::named("a"), Authority::new(), Authority::new());
    let good = ["127.0.0.1"];
    let cases = [
        (secured(&endpoint, &strangers, &good, Oddity::None), "UnknownIssuer"),
        (secured(&endpoint, &authority, &good, Oddity::Expired), "expired"),
        (secured(&endpoint, &authority, &["b.example"], Oddity::None), "not valid for name"),
    ];
    for (server, why) in cases {
        let proxy = to(&server, &authority, "").start();
        let answer = proxy.client().request("POST", "/x", "Content-Length: 0\r\n");
        answer.expect(502);
        let record = proxy.record("/x");
        assert_eq!(record.text("cause"), "endpoint_tls");
        assert!(record.text("detail").contains(why), "{}", record.text("detail"));
    }
    assert_eq!(endpoint.requests().len(), 0);
}

/// Fault: an endpoint of a pool with TLS has none.
#[test]
fn there_is_no_downgrade() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = Proxy::to([&endpoint]);
    let ca = ca(&authority, proxy.folder());
    let proxy = proxy.with(&format!("tls: {{ ca: {ca} }}")).start();
    // It waits for the rest of a request, which the first word of TLS is not.
    proxy.get("/x").expect(503);
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_name_may_be_given_and_verification_turned_off_by_that_word() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let server = secured(&endpoint, &authority, &["b.example"], Oddity::None);
    to(&server, &authority, ", name: b.example").start().get("/x").expect(200);
    let proxy = Proxy::to([server.address()]).with("tls: { verify: false }").start();
    proxy.get("/x").expect(200);
    proxy.event("the warning", |event| event.message() == "certificates of endpoints are not verified");
}

/// A connection that was opened with other settings is not used again.
#[test]
fn a_change_of_the_settings_is_for_the_next_request() {
    let (endpoint, authority, others) = (Endpoint::named("a"), Authority::new(), Authority::new());
    let server = secured(&endpoint, &authority, &["127.0.0.1"], Oddity::None);
    let proxy = to(&server, &authority, "").start();
    proxy.get("/x").expect(200);
    let other = proxy.folder().join("other.pem");
    others.write(&other);
    let config = proxy.config_text().replace("ca.pem", "other.pem");
    proxy.reload(&config);
    eventually("the other authority", || (proxy.get("/x").status == 502).then_some(()));
    // The file itself changes, too.
    fs::copy(proxy.folder().join("ca.pem"), &other).unwrap();
    eventually("the first authority", || (proxy.get("/x").status == 200).then_some(()));
}

#[test]
fn endpoints_may_ask_for_a_certificate() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let server = Proxy::to([&endpoint]);
    let clients = ca(&authority, server.folder());
    let issued = authority.issue(server.folder(), "server", &["127.0.0.1"]);
    let line = tls(&[&issued], &format!(", client_certificates: {{ ca: {clients} }}"));
    let server = server.listener(&line).start();
    to(&server, &authority, "").start().get("/x").expect(502);
    let proxy = Proxy::to([server.address()]);
    let Issued { cert, key } = authority.issue(proxy.folder(), "proxy", &["proxy.example"]);
    let ca = ca(&authority, proxy.folder());
    let line = format!("tls: {{ ca: {ca}, cert: {}, key: {} }}", cert.display(), key.display());
    proxy.with(&line).start().get("/known").expect(200);
    let subject = endpoint.seen("/known").header("x-client-cert-subject").map(str::to_owned);
    assert!(subject.as_deref().is_some_and(|subject| subject.contains("CN=proxy")), "{subject:?}");
}

/// Probes judge the certificate as requests do.
#[test]
fn probes_go_over_tls() {
    let (endpoint, authority, strangers) = (Endpoint::named("a"), Authority::new(), Authority::new());
    let good = secured(&endpoint, &authority, &["127.0.0.1"], Oddity::None);
    let bad = secured(&endpoint, &strangers, &["127.0.0.1"], Oddity::None);
    for check in ["type: tcp, interval: 100ms", "type: http, path: /health, interval: 100ms"] {
        let proxy = Proxy::to([good.address(), bad.address()]);
        let ca = ca(&authority, proxy.folder());
        let proxy = proxy.health_check(check).with(&format!("tls: {{ ca: {ca} }}")).start();
        proxy.wait_until(&good.address(), "healthy");
        proxy.wait_until(&bad.address(), "unhealthy");
        for _ in 0..4 {
            proxy.get("/x").expect(200);
        }
    }
    assert!(endpoint.requests().iter().any(|seen| seen.target() == "/health"));
}

/// Old certificates and self-signed ones are common within a network: who verifies nothing takes any of them, who names
/// one as authority takes that one, for its name.
#[test]
fn old_and_self_signed_certificates_can_be_used() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let old = {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
        Issued { cert: folder.join("v1.pem"), key: folder.join("v1.key") }
    };
    let builder = Proxy::to([&endpoint]);
    let own = authority.issue_odd(builder.folder(), "own", &["localhost"], Oddity::SelfSigned);
    let own_folder = builder.folder().to_owned();
    let servers = [
        (builder.listener(&tls(&[&own], "")).start(), own),
        (Proxy::to([&endpoint]).listener(&tls(&[&old], "")).start(), old),
    ];
    assert!(own_folder.exists());
    for (server, issued) in &servers {
        let ask = |line: String| {
            Proxy::to([server.address()]).with(&line).with("retry: off").start().get("/x").status
        };
        let cert = issued.cert.display();
        assert_eq!(ask("tls: { verify: false }".into()), 200, "{cert}");
        assert_eq!(ask(format!("tls: {{ ca: {cert}, name: localhost }}")), 200, "{cert}");
        assert_eq!(ask(format!("tls: {{ ca: {cert}, name: other.example }}")), 502, "{cert}");
        let ca = ca(&authority, server.folder());
        assert_eq!(ask(format!("tls: {{ ca: {ca}, name: localhost }}")), 502, "{cert}");
    }
}
