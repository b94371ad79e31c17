//! Lists of endpoints, in a file and over HTTP.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{Authority, Endpoint, Proxy, ProxyBuilder, SteadyLoad, eventually, within};

/// As tools that know what they do write a file.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(&next, path).unwrap();
}

/// A pool whose endpoints are in a file of the proxy's folder.
fn by_file(file: &str, text: &str) -> ProxyBuilder {
    let builder = Proxy::config();
    let path = builder.folder().join(file);
    fs::write(&path, text).unwrap();
    let entry = format!("{{ file: '{}' }}", path.display());
    builder.pool("default", [entry])
}

fn count(proxy: &Proxy) -> usize {
    proxy.status()["pools"][0]["endpoints"].as_array().unwrap().len()
}

/// The file is replaced again and again under load: nothing is lost, and each time it is in force.
#[test]
fn a_file_that_is_replaced_loses_nothing() {
    let (a, b) = (Endpoint::named("a"), Endpoint::named("b"));
    let builder = by_file("api.json", &format!("[{a}]"));
    let file = builder.folder().join("api.json");
    let proxy = builder.start();
    let load = SteadyLoad::start(&proxy.address(), 4);
    for _ in 0..3 {
        replace(&file, &format!("[{a}, {{\"address\": {b}, \"weight\": 2}}]"));
        eventually("both", || (count(&proxy) == 2).then_some(()));
        replace(&file, &format!("- {b}\n"));
        eventually("the second alone", || (proxy.get("/x").expect(200).text() == "b").then_some(()));
        eventually("the second alone", || (count(&proxy) == 1).then_some(()));
        let gone = a.count_of("/x");
        for _ in 0..5 {
            assert_eq!(proxy.get("/x").expect(200).text(), "b");
        }
        assert_eq!(a.count_of("/x"), gone);
        replace(&file, &format!("[{a}]"));
        eventually("the first alone", || (proxy.get("/x").expect(200).text() == "a").then_some(()));
    }
    let (sent, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {sent}");
}

/// A file that is broken, empty or gone keeps the last list, over an upgrade, too, and says so with place and remedy.
#[test]
fn a_broken_file_keeps_the_last_list() {
    let a = Endpoint::named("a");
    let builder = by_file("api.yaml", &format!("- targets: [{a}]\n  labels: {{ job: api, weight: '3' }}\n"));
    let file = builder.folder().join("api.yaml");
    let mut proxy = builder.start();
    proxy.get("/x").expect(200);
    assert_eq!(proxy.endpoint_status(a.address()).unwrap()["weight"], 3);
    let fails = |why: &'static str| {
        let line = proxy.event(why, |event| {
            event.message() == "endpoint source fails, keeping its last answer"
                && event.text("reason").contains(why)
        });
        assert_eq!((line.level(), &line.0["kept"]), ("warn", &1.into()));
        proxy.get("/x").expect(200);
    };
    replace(&file, "- 10.0.0.1\n");
    fails("api.yaml:1:3: `10.0.0.1` is not an endpoint's address: add the port: 10.0.0.1:3000");
    replace(&file, "[]\n");
    fails("lists no endpoint");
    fs::remove_file(&file).unwrap();
    fails("cannot read");
    let said = proxy.events().iter().filter(|event| event.message().starts_with("endpoint source")).count();
    proxy.upgrade();
    proxy.get("/upgraded").expect(200);
    assert_eq!(proxy.endpoint_status(a.address()).unwrap()["weight"], 3);
    assert_eq!(said, 1 + 3, "each is said once");
    replace(&file, &format!("- {a}\n"));
    eventually("the file to be read", || {
        (proxy.endpoint_status(a.address()).unwrap()["weight"] == 1).then_some(())
    });
}

/// A file that comes after the start is found.
#[test]
fn a_file_that_is_not_there_yet() {
    let a = Endpoint::named("a");
    let builder = by_file("api.json", "");
    let file = builder.folder().join("api.json");
    fs::remove_file(&file).unwrap();
    let proxy = builder.start();
    proxy.get("/x").expect(503);
    let health = proxy.command(&["health"]);
    assert_eq!(health.code, Some(1));
    assert!(health.stderr.contains("pool default has no endpoint: file:/"), "{}", health.stderr);
    replace(&file, &format!("[{a}]"));
    eventually("the file", || (proxy.get("/x").status == 200).then_some(()));
}

/// A server of lists in the shape of Prometheus' http_sd; what it answers may be changed: a status line and a body.
fn list_server(answer: &Arc<Mutex<(&'static str, String)>>) -> Endpoint {
    let answer = answer.clone();
    Endpoint::scripted("lists", move |exchange| {
        let (status, body) = answer.lock().unwrap().clone();
        exchange.status(status, "Content-Type: application/json\r\n", &body);
    })
}

fn targets(endpoints: &[&Endpoint]) -> (&'static str, String) {
    let targets: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address()).collect();
    ("200 OK", format!("[{{\"targets\": {targets:?}, \"labels\": {{\"__meta_dc\": \"x\"}}}}]"))
}

#[test]
fn a_list_is_fetched_and_kept() {
    let (a, b) = (Endpoint::named("a"), Endpoint::named("b"));
    let answer = Arc::new(Mutex::new(targets(&[&a])));
    let mut server = list_server(&answer);
    let entry = format!("{{ http: 'http://localhost:{}/api?x=y', interval: 1s }}", server.port());
    let mut proxy = Proxy::to([entry]).start();
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    let asked = server.seen("/api?x=y");
    assert_eq!(asked.header("host"), Some(&*format!("localhost:{}", server.port())));
    assert_eq!(asked.header("accept"), Some("application/json"));
    assert_eq!(asked.header("x-prometheus-refresh-interval-seconds"), Some("1"));

    let load = SteadyLoad::start(&proxy.address(), 2);
    *answer.lock().unwrap() = targets(&[&b]);
    eventually("the change", || (proxy.get("/x").expect(200).text() == "b").then_some(()));
    let fails = |proxy: &Proxy, why: &str| {
        within(Duration::from_secs(20), why, || {
            let status = proxy.status();
            status["pools"][0]["sources"][0]["failing"].as_str()?.contains(why).then_some(())
        });
        proxy.get("/x").expect(200);
    };
    for (wrong, why) in [
        (("500 Oh", "[]".into()), "status 500 instead of 200"),
        (("302 Found", String::new()), "redirects are not followed"),
        (("200 OK", "{}".into()), "expected a list, found a section of keys"),
        (("200 OK", format!("[{}]", " ".repeat(5 << 20))), "larger than 4 MiB"),
    ] {
        *answer.lock().unwrap() = wrong;
        fails(&proxy, why);
    }
    server.refuse();
    fails(&proxy, "refused");
    proxy.upgrade();
    assert_eq!(proxy.get("/upgraded").expect(200).text(), "b");
    let (sent, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {sent}");
    server.start();
    *answer.lock().unwrap() = targets(&[&a]);
    within(Duration::from_secs(20), "the server's return", || {
        (proxy.get("/x").expect(200).text() == "a").then_some(())
    });
    assert_eq!(proxy.metric("evenkeel_source_failing", &[]), 0.0);
    assert_eq!(proxy.metric("evenkeel_source_endpoints", &[]), 1.0);
}

/// Over TLS, with the system's authorities.
#[test]
fn a_list_is_fetched_over_tls() {
    let (a, authority) = (Endpoint::named("a"), Authority::new());
    let lists = list_server(&Arc::new(Mutex::new(targets(&[&a]))));
    let before = Proxy::to([&lists]);
    let issued = authority.issue(before.folder(), "server", &["localhost"]);
    let before = before.listener(&super::super::tls::tls(&[&issued], "")).start();
    let port = before.address().rsplit_once(':').unwrap().1.to_owned();
    let proxy = Proxy::to([format!("{{ http: 'https://localhost:{port}/', interval: 1s }}")]);
    let ca = proxy.folder().join("ca.pem");
    authority.write(&ca);
    let proxy = proxy.env("SSL_CERT_FILE", &ca.display().to_string()).start();
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
}

/// A list with host names, which are asked for as those of the config are, and backups beside the config's endpoints.
#[test]
fn a_list_names_hosts_and_backups() {
    let (a, b) = (Endpoint::named("a"), Endpoint::named("b"));
    let builder = Proxy::config();
    let file = builder.folder().join("spare.json");
    fs::write(&file, format!("[\"localhost:{}\"]", b.port())).unwrap();
    let entries = [a.to_string(), format!("{{ file: '{}', backup: true }}", file.display())];
    let proxy = builder.pool("default", entries).start();
    assert_eq!(proxy.get("/x").expect(200).text(), "a");
    let of_host = format!("localhost:{0} (127.0.0.1:{0})", b.port());
    assert_eq!(proxy.endpoint_status(&of_host).unwrap()["backup"], true);
    drop(a);
    assert_eq!(proxy.get("/x").expect(200).text(), "b");
    replace(&file, "- 127.0.0.1:1\n");
    eventually("the change", || proxy.endpoint_status(&of_host).is_none().then_some(()));
}
