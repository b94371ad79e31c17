//! Identifies what a health check asks an endpoint, so that a verdict is only inherited by a check that asks the same.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::config::{self, CheckKind, EndpointProtocol};
use crate::tls::ClientTls;

/// A hash of all settings that can change a probe's result. It is the same in every process and version, and reveals
/// nothing of the secrets that a check may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckId(u64);

impl CheckId {
    #[cfg(test)]
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// The check of an endpoint with that authority; `None`: its pool has no health check.
    pub fn of(pool: &config::Pool, authority: &str) -> Option<Self> {
        let check = pool.health_check.as_ref()?;
        let mut text = format!("within {} ms", check.timeout.as_millis());
        // The result of a TCP probe depends neither on the protocol nor on the endpoint's name.
        match &check.kind {
            CheckKind::Tcp => text += ", tcp",
            CheckKind::Grpc { service } => {
                let _ = write!(text, ", grpc {service:?} of {authority:?}");
            }
            CheckKind::Http { path, host, expect, headers } => {
                let protocol = match pool.protocol {
                    EndpointProtocol::Http11 => "http/1.1",
                    EndpointProtocol::Http2 => "http/2",
                };
                let host = host.as_deref().unwrap_or(authority);
                let _ = write!(text, ", {protocol} {path:?} of {host:?}, expect");
                for range in expect {
                    let _ = write!(text, " {}-{}", range.start(), range.end());
                }
                for (name, value) in headers {
                    let _ = write!(text, ", {name}: {:?}", value.as_bytes());
                }
            }
        }
        if let Some(tls) = &pool.tls {
            text += &describe_tls(tls, authority);
        }
        let first = digest(&SHA256, text.as_bytes()).as_ref().first_chunk().copied();
        Some(Self(u64::from_be_bytes(first.unwrap_or_default())))
    }
}

fn describe_tls(tls: &ClientTls, authority: &str) -> String {
    let settings = &tls.settings;
    let name = settings.name.as_deref().unwrap_or(authority);
    let ca = settings.ca.as_deref();
    let identity = settings.identity.as_ref().map(|files| &files.cert);
    format!(", tls {name:?} by {ca:?}, as {identity:?}, verified {}, h2 {}", settings.verify, settings.http2)
}
