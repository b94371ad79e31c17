//! A probe of an HTTP/1.1 endpoint: the status of its final response decides, whatever its body is.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_http::RequestHeader;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::HealthCheck;

use super::super::connect::ProbeConnector;
use super::super::endpoint::Endpoint;
use super::super::http_client;
use super::{USER_AGENT, judge};
use crate::config::{self, CheckKind};

pub(super) struct Http1Check {
    dial: Arc<ProbeConnector>,
    request: RequestHeader,
    expect: Vec<RangeInclusive<u16>>,
}

impl Http1Check {
    pub fn new(endpoint: &Endpoint, spec: &config::HealthCheck, dial: Arc<ProbeConnector>) -> Option<Self> {
        let CheckKind::Http { path, host, expect, headers } = &spec.kind else { return None };
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).ok()?;
        let host = host.as_deref().unwrap_or(endpoint.authority());
        request.insert_header(http::header::HOST, host).ok()?;
        request.insert_header(http::header::USER_AGENT, USER_AGENT).ok()?;
        for (name, value) in headers {
            request.insert_header(name.clone(), value.clone()).ok()?;
        }
        Some(Self { dial, request, expect: expect.clone() })
    }
}

#[async_trait]
impl HealthCheck for Http1Check {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut session = HttpSession::new(Box::new(self.dial.connect(&target.addr).await?));
        judge(http_client::ask(&mut session, self.request.clone()).await?, &self.expect)
    }

    /// `Health` counts.
    fn health_threshold(&self, _: bool) -> usize {
        1
    }
}
