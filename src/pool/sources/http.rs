//! Fetches lists of endpoints.

use http::Uri;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_http::RequestHeader;
use tokio::task::spawn_blocking;

use super::dns::Dns;
use super::lists::BYTES_MAX;
use crate::authority;
use crate::config::ListUrl;
use crate::pool::connect::TlsTarget;
use crate::pool::http_client::{self, ask, in_words};
use crate::tls::{ClientSettings, ClientTls};

const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (endpoint discovery)");

/// The body of the list, as it is. The caller sets a limit of time.
pub(super) async fn fetch(list: &ListUrl, dns: &Dns) -> Result<Vec<u8>, String> {
    let url: Uri = list.url.parse().map_err(|_| "its URL is invalid".to_owned())?;
    let stream = connect(&url, dns).await?;
    let mut session = HttpSession::new(Box::new(stream));
    let request = request(&url, list).ok_or("its URL is invalid")?;
    let status = ask(&mut session, request).await.map_err(|error| in_words(&error))?;
    match status {
        200 => body(&mut session).await,
        300..400 => {
            Err(format!("status {status}, and redirects are not followed: write the URL that it leads to"))
        }
        _ => Err(format!("status {status} instead of 200")),
    }
}

async fn body(session: &mut HttpSession) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = session.read_body_ref().await.map_err(|error| in_words(&error))? {
        if (body.len() + piece.len()) as u64 > BYTES_MAX {
            return Err(format!("its answer is larger than {} MiB", BYTES_MAX >> 20));
        }
        body.extend_from_slice(piece);
    }
    Ok(body)
}

/// As Prometheus asks.
fn request(url: &Uri, list: &ListUrl) -> Option<RequestHeader> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = RequestHeader::build("GET", path.as_bytes(), Some(5)).ok()?;
    request.insert_header("Host", url.authority()?.as_str()).ok()?;
    request.insert_header("Accept", "application/json").ok()?;
    request.insert_header("User-Agent", USER_AGENT).ok()?;
    let seconds = list.interval.as_secs().max(1).to_string();
    request.insert_header("X-Prometheus-Refresh-Interval-Seconds", seconds).ok()?;
    request.insert_header("Connection", "close").ok()?;
    Some(request)
}

async fn connect(url: &Uri, dns: &Dns) -> Result<Stream, String> {
    let written = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = authority::host(written).trim_start_matches('[').trim_end_matches(']');
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let target = if is_tls { Some(tls_target(written).await?) } else { None };
    http_client::connect(host, port, dns, target.as_ref()).await
}

/// With the system's authorities, which are read anew each time: they are in files.
async fn tls_target(authority: &str) -> Result<TlsTarget, String> {
    let settings = ClientSettings { name: None, ca: None, identity: None, verify: true, http2: false };
    let loaded = spawn_blocking(move || ClientTls::new(settings)).await.map_err(|error| error.to_string())?;
    let tls = loaded.map_err(|error| error.message)?;
    let name = tls.name(authority).ok_or("its host is no name that a certificate could have")?;
    Ok(TlsTarget { tls: std::sync::Arc::new(tls), name })
}
