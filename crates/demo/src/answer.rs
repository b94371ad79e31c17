//! The answers of a demo endpoint: its name and what it received, and special paths that show a balancer's behaviour
//! (slow, failing, big, streamed, stopped).

use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use http::{Method, StatusCode, Version, header};
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;

use super::endpoint::Endpoint;
use super::report::Report;

/// Limits on the durations and sizes in queries, against mistyped numbers.
const LONGEST: Duration = Duration::from_secs(600);
const LARGEST: u64 = 1 << 30;
/// The size of one piece of `/big`.
const PIECE: usize = 64 * 1024;

/// Answers one request, by its path.
pub(super) async fn give(endpoint: &Endpoint, session: &mut ServerSession) -> Result<()> {
    let uri = &session.req_header().uri;
    let path = uri.path().to_owned();
    let query = Query(uri.query().unwrap_or_default().to_owned());
    match path.as_str() {
        "/slow" => slow(endpoint, session, &query).await,
        "/fail" => fail(endpoint, session, &query).await,
        "/big" => big(endpoint, session, &query).await,
        "/events" => events(endpoint, session, &query).await,
        "/stop" => stop(endpoint, session, &query).await,
        _ => report(endpoint, session, StatusCode::OK).await,
    }
}

async fn slow(endpoint: &Endpoint, session: &mut ServerSession, query: &Query) -> Result<()> {
    tokio::time::sleep(query.milliseconds("ms", Duration::from_secs(2))).await;
    report(endpoint, session, StatusCode::OK).await
}

async fn fail(endpoint: &Endpoint, session: &mut ServerSession, query: &Query) -> Result<()> {
    let status = query
        .get("status")
        .and_then(|text| text.parse().ok())
        .filter(|status| (400..=599).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    report(endpoint, session, status).await
}

/// The name and what was received, as text or as JSON.
async fn report(endpoint: &Endpoint, session: &mut ServerSession, status: StatusCode) -> Result<()> {
    let report = Report::read(endpoint, session).await?;
    let wants_json = session.get_header_bytes(header::ACCEPT).windows(16).any(|w| w == b"application/json");
    let (kind, body) = if wants_json {
        ("application/json", report.json())
    } else {
        ("text/plain; charset=utf-8", report.text())
    };
    send(endpoint, session, status, kind, body).await
}

/// `?size=10MiB` of lines that contain their offset, in pieces, so that the whole is never in memory.
async fn big(endpoint: &Endpoint, session: &mut ServerSession, query: &Query) -> Result<()> {
    let size = query
        .get("size")
        .and_then(|text| text.parse::<ByteSize>().ok())
        .map_or(10 << 20, |size| size.as_u64().min(LARGEST));
    let mut header = response(endpoint, StatusCode::OK, "text/plain; charset=utf-8")?;
    header.insert_header(header::CONTENT_LENGTH, size)?;
    session.write_response_header(Box::new(header)).await?;
    if session.req_header().method == Method::HEAD {
        return Ok(());
    }
    let piece = Bytes::from(pattern());
    let mut left = size;
    while left > 0 {
        let length = left.min(PIECE as u64);
        left -= length;
        let part = usize::try_from(length).map_or_else(|_| piece.clone(), |end| piece.slice(..end));
        session.write_response_body(part, left == 0).await?;
    }
    Ok(())
}

/// Lines of 64 bytes with their number, so that a hole or a repeat in a received body can be seen.
fn pattern() -> Vec<u8> {
    (0..PIECE / 64).flat_map(|line| format!("{line:063}\n").into_bytes()).collect()
}

/// Server-sent events: ten, one a second, unless `?count=` and `?ms=` say otherwise.
async fn events(endpoint: &Endpoint, session: &mut ServerSession, query: &Query) -> Result<()> {
    let count = query.get("count").and_then(|text| text.parse().ok()).unwrap_or(10_u32).min(100_000);
    let pause = query.milliseconds("ms", Duration::from_secs(1));
    let mut header = response(endpoint, StatusCode::OK, "text/event-stream")?;
    header.insert_header(header::CACHE_CONTROL, "no-store")?;
    if session.req_header().version == Version::HTTP_11 {
        header.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    } else {
        // Without chunks, only the close marks the end of the answer.
        session.set_keepalive(None);
    }
    session.write_response_header(Box::new(header)).await?;
    if session.req_header().method == Method::HEAD {
        return Ok(());
    }
    for number in 1..=count {
        let event = format!("id: {number}\ndata: event {number} of {count} from {}\n\n", endpoint.name);
        session.write_response_body(event.into(), number == count).await?;
        if number < count {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// `POST /stop?for=20s`: answers, then stops. Only on the endpoint's own port: through the proxy, any of the three
/// could get the request.
async fn stop(endpoint: &Endpoint, session: &mut ServerSession, query: &Query) -> Result<()> {
    let own = format!("curl -X POST 'http://{}/stop?for=20s'", endpoint.address);
    if session.get_header("x-forwarded-for").is_some() {
        let body = format!("Send it to the endpoint's own port, not through the proxy: {own}\n");
        return send(endpoint, session, StatusCode::FORBIDDEN, "text/plain; charset=utf-8", body).await;
    }
    if session.req_header().method != Method::POST {
        let body = format!("A stop is a POST: {own}\n");
        return send(endpoint, session, StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", body)
            .await;
    }
    let Some(away) = query.get("for").map_or(Some(Duration::from_secs(20)), duration) else {
        let body = format!("`for` takes a duration like 500ms, 20s or 1m: {own}\n");
        return send(endpoint, session, StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", body).await;
    };
    let body = format!("{} stops for {away:?} and comes back by itself.\n", endpoint.name);
    session.set_keepalive(None);
    send(endpoint, session, StatusCode::OK, "text/plain; charset=utf-8", body).await?;
    endpoint.stop_for(away);
    Ok(())
}

/// A whole answer with a known length.
async fn send(
    endpoint: &Endpoint,
    session: &mut ServerSession,
    status: StatusCode,
    kind: &str,
    body: String,
) -> Result<()> {
    let mut header = response(endpoint, status, kind)?;
    header.insert_header(header::CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(header)).await?;
    if session.req_header().method == Method::HEAD {
        return Ok(());
    }
    session.write_response_body(body.into(), true).await
}

fn response(endpoint: &Endpoint, status: StatusCode, kind: &str) -> Result<ResponseHeader> {
    let mut header = ResponseHeader::build(status, Some(4))?;
    header.insert_header(header::CONTENT_TYPE, kind)?;
    header.insert_header("x-endpoint", endpoint.name.as_str())?;
    Ok(header)
}

/// A query string; the demo's values need no percent decoding.
struct Query(String);

impl Query {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| v)
    }

    fn milliseconds(&self, name: &str, default: Duration) -> Duration {
        let written = self.get(name).and_then(|text| text.parse().ok()).map(Duration::from_millis);
        written.unwrap_or(default).min(LONGEST)
    }
}

/// `500ms`, `20s`, `1m`; a plain number is seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    Some(duration.min(LONGEST))
}
