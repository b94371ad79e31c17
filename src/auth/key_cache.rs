//! The keys of an issuer at a URL: fetched when the first token comes, again in the background when they are old, and once
//! more for a token whose key is not among them. The last good ones stay as long as there are no others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{Uri, header};
use pingora_http::RequestHeader;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::service_connection::Service;
use crate::jwks::KeySet;
use crate::tls::ClientTls;

/// For one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The shortest time from one try to the next, whatever tokens ask for.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) struct KeyCache {
    url: Box<str>,
    service: Service,
    refresh: Duration,
    fetched: ArcSwapOption<Fetched>,
    /// The last try; who holds it fetches.
    tried: Mutex<Option<Tried>>,
}

struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
}

struct Tried {
    at: Instant,
    fault: Option<String>,
}

impl KeyCache {
    /// `None`: the URL names no host.
    pub fn new(url: &str, tls: Option<&Arc<ClientTls>>, refresh: Duration) -> Option<Self> {
        let service = Service::new(&url.parse::<Uri>().ok()?, tls)?;
        Some(Self {
            url: url.into(),
            service,
            refresh,
            fetched: ArcSwapOption::empty(),
            tried: Mutex::new(None),
        })
    }

    /// The keys that were fetched last, if this one is among them.
    pub fn known(&self, id: Option<&str>) -> Option<Arc<KeySet>> {
        self.fetched.load_full().filter(|known| known.keys.has(id)).map(|known| known.keys.clone())
    }

    /// The keys, if possible with this one among them. The error says why there are none.
    pub async fn keys(self: &Arc<Self>, id: Option<&str>) -> Result<Arc<KeySet>, String> {
        if let Some(known) = self.fetched.load_full().filter(|known| known.keys.has(id)) {
            // Nobody waits for newer ones; if they are being fetched already, that will do.
            if known.at.elapsed() >= self.refresh && self.tried.try_lock().is_ok() {
                let cache = self.clone();
                tokio::spawn(async move { drop(cache.fetch().await) });
            }
            return Ok(known.keys.clone());
        }
        let fault = self.fetch().await.err();
        match self.fetched.load_full() {
            Some(known) => Ok(known.keys.clone()),
            None => Err(fault.unwrap_or_else(|| "there are no keys".to_owned())),
        }
    }

    /// Fetches them, unless that was tried a moment ago.
    async fn fetch(&self) -> Result<(), String> {
        let mut tried = self.tried.lock().await;
        if let Some(tried) = tried.as_ref().filter(|tried| tried.at.elapsed() < PAUSE) {
            return tried.fault.clone().map_or(Ok(()), Err);
        }
        let fault = match timeout(ANSWER_LIMIT, self.ask()).await {
            Ok(Ok(keys)) => {
                self.fetched.store(Some(Arc::new(Fetched { keys: Arc::new(keys), at: Instant::now() })));
                None
            }
            Ok(Err(why)) => Some(why),
            Err(_) => Some(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
        };
        *tried = Some(Tried { at: Instant::now(), fault: fault.clone() });
        let Some(reason) = fault else { return Ok(()) };
        let url = &*self.url;
        log::warn!(url, reason:% = reason; "keys of tokens not fetched");
        Err(format!("the keys at {url}: {reason}"))
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let url: Uri = self.url.parse().map_err(|_| "its URL is invalid".to_owned())?;
        let request = request(&url).ok_or("its URL is invalid")?;
        let answer = self.service.ask(&request).await?;
        match answer.status.as_u16() {
            200 => KeySet::parse(&answer.body).map_err(|what| format!("its answer {what}")),
            status => Err(format!("status {status} instead of 200")),
        }
    }
}

fn request(url: &Uri) -> Option<RequestHeader> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = RequestHeader::build("GET", path.as_bytes(), Some(2)).ok()?;
    request.insert_header(header::HOST, url.authority()?.as_str()).ok()?;
    request.insert_header(header::ACCEPT, "application/json").ok()?;
    Some(request)
}
