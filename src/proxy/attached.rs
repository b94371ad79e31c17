//! State of ours that Pingora carries with a connection: in the digest of an outgoing proxy, which nothing else uses.

use std::any::Any;

use pingora_core::Result;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;

/// The digest to give to a connection.
pub fn attach(state: impl Any + Send + Sync) -> Result<ProxyDigest> {
    Ok(ProxyDigest::new(Box::new(ResponseHeader::build(200, Some(0))?), Some(Box::new(state))))
}

/// The state of the connection that Pingora has this digest of.
pub fn attached<T: 'static>(digest: &Digest) -> Option<&T> {
    digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}
