//! Pools whose endpoints speak HTTP/2, asked by clients of both versions.

mod carried;
mod faults;
mod grpc;
mod strange;

use crate::harness::http2_endpoint::Http2Endpoint;
use crate::harness::{Proxy, ProxyBuilder};

fn to(endpoint: &Http2Endpoint) -> ProxyBuilder {
    Proxy::to([endpoint]).with("protocol: h2").listener("h2c: true")
}
