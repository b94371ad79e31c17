//! Asks an auth service over HTTP/1.1: a bounded number of connections, kept alive, and answers of a bounded size.

use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_http::RequestHeader;
use tokio::sync::Semaphore;

use crate::authority;
use crate::pool::Dns;
use crate::pool::connect::TlsTarget;
use crate::pool::http_client::{self, ask, in_words};
use crate::tls::ClientTls;

/// The largest answer, head and body together.
const ANSWER_MAX: usize = 64 << 10;
/// The most questions to one service at a time; further ones wait, within their time.
const OPEN_MAX: usize = 512;
/// The most connections that are kept, and for how long.
const IDLE_MAX: usize = 64;
const IDLE_LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Service {
    host: String,
    port: u16,
    tls: Option<TlsTarget>,
    dns: Dns,
    open: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that can be used again, by the thread whose runtime drives it.
struct Idle {
    stream: Stream,
    thread: ThreadId,
    since: Instant,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct ServiceAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Service {
    /// `None`: the URL has no host, or none that a certificate could name.
    pub fn new(url: &Uri, tls: Option<&std::sync::Arc<ClientTls>>) -> Option<Self> {
        let written = url.authority()?.as_str();
        let host = authority::host(written).trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let tls = match tls {
            Some(tls) => Some(TlsTarget { tls: tls.clone(), name: tls.name(written)? }),
            None => None,
        };
        let (open, idle) = (Semaphore::new(OPEN_MAX), Mutex::default());
        Some(Self { host, port, tls, dns: Dns::new(&[]), open, idle })
    }

    /// The caller sets a limit of time.
    pub async fn ask(&self, request: &RequestHeader) -> Result<ServiceAnswer, String> {
        let _permit = self.open.acquire().await.map_err(|error| error.to_string())?;
        if let Some(stream) = self.take_idle() {
            // The service may have closed it just now; a question without a body can be asked again.
            if let Ok(session) = sent(stream, request).await {
                return self.answer(session).await;
            }
        }
        let session = sent(self.connect().await?, request).await?;
        self.answer(session).await
    }

    async fn answer(&self, mut session: HttpSession) -> Result<ServiceAnswer, String> {
        let (status, headers) = match session.resp_header() {
            Some(head) => (head.status, head.headers.clone()),
            None => return Err("it has no head".to_owned()),
        };
        let mut left = ANSWER_MAX;
        let too_large = || format!("its answer is larger than {} KiB", ANSWER_MAX >> 10);
        for (name, value) in &headers {
            left = left.checked_sub(name.as_str().len() + value.len() + 4).ok_or_else(too_large)?;
        }
        let mut body = Vec::new();
        while let Some(piece) = session.read_body_ref().await.map_err(|error| in_words(&error))? {
            left = left.checked_sub(piece.len()).ok_or_else(too_large)?;
            body.extend_from_slice(piece);
        }
        session.respect_keepalive();
        if let Some(stream) = session.reuse().await {
            self.keep(stream);
        }
        Ok(ServiceAnswer { status, headers, body: body.into() })
    }

    fn take_idle(&self) -> Option<Stream> {
        let (own, mut idle) = (std::thread::current().id(), self.idle.lock());
        idle.retain(|idle| idle.since.elapsed() < IDLE_LIMIT);
        let at = idle.iter().rposition(|idle| idle.thread == own)?;
        Some(idle.swap_remove(at).stream)
    }

    fn keep(&self, stream: Stream) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { stream, thread: std::thread::current().id(), since: Instant::now() });
        }
    }

    async fn connect(&self) -> Result<Stream, String> {
        let stream = http_client::connect(&self.host, self.port, &self.dns, self.tls.as_ref()).await?;
        Ok(Box::new(stream))
    }
}

/// Sends the question, and reads the head of its final answer.
async fn sent(stream: Stream, request: &RequestHeader) -> Result<HttpSession, String> {
    let mut session = HttpSession::new(stream);
    match ask(&mut session, request.clone()).await.map_err(|error| in_words(&error))? {
        101 => Err("it switches protocols, and nobody has asked for it".to_owned()),
        _ => Ok(session),
    }
}
