//! Which certificate a client gets, and what becomes of files that change.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, SignatureScheme};

use super::{tls, with_tls};
use crate::harness::{Authority, Endpoint, Oddity, Proxy, Trusting, ask, eventually, handshake};

/// The subject's name in the certificate that a client gets.
fn served(authority: &Authority, proxy: &Proxy, name: &str) -> Option<Vec<u8>> {
    let stream = authority.client().connect(&proxy.address(), name).ok()?;
    Some(stream.conn.peer_certificates()?[0].to_vec())
}

#[test]
fn an_exact_name_comes_before_a_wildcard() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = Proxy::to([&endpoint]);
    let folder = proxy.folder().to_owned();
    let a = authority.issue(&folder, "a", &["a.example"]);
    let wild = authority.issue(&folder, "wild", &["*.b.example"]);
    let exact = authority.issue(&folder, "exact", &["x.b.example"]);
    let proxy = proxy.listener(&tls(&[&a, &wild, &exact], ", unknown_names: refuse")).start();
    let names = ["a.example", "y.b.example", "x.b.example", "X.B.example"];
    let got: Vec<_> = names.iter().map(|name| served(&authority, &proxy, name).expect(name)).collect();
    assert!(got[0] != got[1] && got[1] != got[2]);
    assert_eq!(got[2], got[3]);
    for unknown in ["b.example", "z.y.b.example", "c.example"] {
        assert_eq!(served(&authority, &proxy, unknown), None, "{unknown}");
    }
}

/// Fault: a certificate is expired, of another key, half written or not there.
#[test]
fn wrong_files_are_refused_at_the_start_and_what_is_doubtful_is_said() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let refused = |change: &dyn Fn(&mut crate::harness::Issued)| {
        let proxy = Proxy::to([&endpoint]);
        let mut issued = authority.issue(proxy.folder(), "a", &["a.example"]);
        change(&mut issued);
        let ended = proxy.listener(&tls(&[&issued], "")).start_and_fail();
        assert_eq!(ended.code, Some(78));
        ended.stderr
    };
    let other = refused(&|issued| {
        let other = authority.issue(issued.key.parent().unwrap(), "other", &["a.example"]);
        issued.key = other.key;
    });
    assert!(other.contains("is not that of the certificate in"), "{other}");
    let half = refused(&|issued| {
        let whole = fs::read_to_string(&issued.cert).unwrap();
        fs::write(&issued.cert, &whole[..200]).unwrap();
    });
    assert!(half.contains("holds no certificate"), "{half}");
    let gone = refused(&|issued| fs::remove_file(&issued.key).unwrap());
    assert!(gone.contains("cannot read") && gone.contains("a.key"), "{gone}");

    let proxy = Proxy::to([&endpoint]);
    let expired = authority.issue_odd(proxy.folder(), "a", &["a.example"], Oddity::Expired);
    let proxy = proxy.listener(&tls(&[&expired], "")).start();
    assert!(proxy.stderr().contains("the certificate of a.example has expired"), "{}", proxy.stderr());
}

/// Fault: a certificate is replaced while clients come all the time, and some of what is written there is wrong.
#[test]
fn a_certificate_is_replaced_and_no_handshake_fails() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    let folder = proxy.folder().to_owned();
    let first = served(&authority, &proxy, "a.example").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !over.load(SeqCst) {
                        let mut stream = authority.client().connect(&proxy.address(), "a.example").unwrap();
                        let get = "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
                        assert!(ask(&mut stream, get).unwrap().starts_with("HTTP/1.1 200"));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let (cert, key) = (folder.join("a.pem"), folder.join("a.key"));
        let good = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
        // Half of it; then one that the key is not of.
        fs::write(&cert, &good.0[..300]).unwrap();
        proxy.event("the refusal", |event| {
            event.message().starts_with("certificates not replaced")
                && event.text("reason").contains("holds no certificate")
        });
        let elsewhere = tempfile::TempDir::new().unwrap();
        let new = authority.issue(elsewhere.path(), "a", &["a.example"]);
        fs::write(&cert, fs::read(&new.cert).unwrap()).unwrap();
        proxy.event("the refusal", |event| {
            event.message().starts_with("certificates not replaced")
                && event.text("reason").contains("is not that of the certificate")
        });
        assert_eq!(served(&authority, &proxy, "a.example"), Some(first.clone()));
        fs::write(&key, fs::read(&new.key).unwrap()).unwrap();
        eventually("the new certificate", || {
            (served(&authority, &proxy, "a.example")? != first).then_some(())
        });
        thread::sleep(Duration::from_millis(300));
        over.store(true, SeqCst);
        let count: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(count > 50, "{count}");
    });
}

/// A config may wait for its confirmation for a day.
#[test]
fn a_certificate_is_replaced_while_a_config_waits_for_its_confirmation() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = with_tls(&endpoint, &authority, "").start();
    let first = served(&authority, &proxy, "a.example").unwrap();
    assert_eq!(proxy.command(&["reload", "--confirm", "1h"]).code, Some(0));
    authority.issue(proxy.folder(), "a", &["a.example"]);
    eventually("the new certificate", || (served(&authority, &proxy, "a.example")? != first).then_some(()));
    assert!(proxy.status()["confirm_seconds"].as_f64().is_some());
    assert_eq!(proxy.command(&["confirm"]).code, Some(0));
}

/// A client that names no server, or another one, gets one of the certificates of the first name: the one it can use.
#[test]
fn the_default_is_all_certificates_of_the_first_name() {
    let (endpoint, authority) = (Endpoint::named("a"), Authority::new());
    let proxy = Proxy::to([&endpoint]);
    let ecdsa = authority.issue(proxy.folder(), "a", &["a.example"]);
    let other = authority.issue(proxy.folder(), "b", &["b.example"]);
    let rsa = authority.issue_odd(proxy.folder(), "rsa", &["a.example"], Oddity::Rsa);
    let proxy = proxy.listener(&tls(&[&ecdsa, &other, &rsa], "")).start();
    let only_rsa = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(vec![SignatureScheme::RSA_PSS_SHA256])))
        .with_no_client_auth();
    let only_rsa = Arc::new(only_rsa);
    // An address is no name that a client would send.
    for name in ["a.example", "c.example", "127.0.0.1"] {
        let stream = handshake(&only_rsa, &proxy.address(), name).expect(name);
        assert_eq!(stream.conn.peer_certificates().unwrap()[0].to_vec(), rsa.der(), "{name}");
    }
}
