//! TLS with clients: which certificate they get, what they may speak, what becomes of handshakes
//! that go wrong, and how connections end.

mod certificates;
mod clients;
mod endpoints;
mod ends;
mod faults;

use crate::harness::{Authority, Endpoint, Issued, Proxy, ProxyBuilder};

/// A proxy with TLS for `a.example`, and more keys of `tls`.
fn with_tls(endpoint: &Endpoint, authority: &Authority, more: &str) -> ProxyBuilder {
    let proxy = Proxy::to([endpoint]);
    let issued = authority.issue(proxy.folder(), "a", &["a.example"]);
    let line = tls(&[&issued], more);
    proxy.listener(&line)
}

/// The line of a listener.
pub fn tls(certificates: &[&Issued], more: &str) -> String {
    let certificates: Vec<_> = certificates.iter().map(|issued| issued.written()).collect();
    format!("tls: {{ certificates: [{}]{more} }}", certificates.join(", "))
}
