//! The request that a demo endpoint received, as text for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::header;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use serde::Serialize;

use super::endpoint::Endpoint;

/// How much of a text body is shown.
const BODY_SHOWN: usize = 1024;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    endpoint: String,
    address: String,
    /// The number of this request since the start, which shows the endpoint's share.
    request: u64,
    method: String,
    target: String,
    protocol: String,
    /// Values of repeated fields are joined by a comma.
    headers: BTreeMap<String, String>,
    body_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Report {
    /// Reads the whole request; of the body, only the first [`BODY_SHOWN`] bytes are kept.
    pub(super) async fn read(endpoint: &Endpoint, session: &mut ServerSession) -> Result<Self> {
        let request = endpoint.next_request_number();
        let (body_bytes, start) = read_body(session).await?;
        let head = session.req_header();
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|joined| {
                    joined.push_str(", ");
                    joined.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        Ok(Self {
            endpoint: endpoint.name.clone(),
            address: endpoint.address.to_string(),
            request,
            method: head.method.to_string(),
            target: String::from_utf8_lossy(head.raw_path()).into_owned(),
            protocol: format!("{:?}", head.version),
            headers,
            body_bytes,
            body: String::from_utf8(start).ok().filter(|text| !text.is_empty()),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("Hello from {} ({}), which received:\n\n", self.endpoint, self.address);
        let _ = writeln!(text, "{} {} {}", self.method, self.target, self.protocol);
        for (name, value) in &self.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        if self.body_bytes > 0 {
            let _ = writeln!(text, "\n({} bytes of body)", self.body_bytes);
        }
        if let Some(body) = &self.body {
            let _ = writeln!(text, "{body}");
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The body's length and its first bytes.
async fn read_body(session: &mut ServerSession) -> Result<(u64, Vec<u8>)> {
    let expects = session.get_header_bytes(header::EXPECT).eq_ignore_ascii_case(b"100-continue");
    if expects {
        session.write_continue_response().await?;
    }
    let mut length = 0;
    let mut start = Vec::new();
    while let Some(piece) = session.read_request_body().await? {
        length += piece.len() as u64;
        let room = BODY_SHOWN - start.len();
        start.extend(piece.iter().take(room));
    }
    Ok((length, start))
}
