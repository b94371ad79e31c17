//! PROXY headers from balancers in front: who the client is then, who may say so, and what becomes of everything else.

mod clients;
mod refusals;

use crate::harness::{Endpoint, Proxy, ProxyBuilder};

const V1: &str = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
const GET: &str = "GET /x HTTP/1.1\r\nHost: test.example\r\n\r\n";

/// A listener that believes this machine's own address.
fn listening(endpoint: &Endpoint, mode: &str) -> ProxyBuilder {
    Proxy::to([endpoint])
        .listener(&format!("proxy_protocol: {mode}"))
        .listener("trusted_proxies: [127.0.0.1]")
        .listener("timeouts: { header: 1s }")
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

/// The same client as in [`V1`], with an extension behind its address.
fn v2_of_client() -> Vec<u8> {
    v2(0x21, 0x11, &[203, 0, 113, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb, 0x04, 0, 1, 0])
}
