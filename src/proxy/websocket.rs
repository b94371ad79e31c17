//! WebSockets of HTTP/2 clients (RFC 8441): an extended CONNECT is an upgrade for an endpoint of HTTP/1.1, and what flows
//! on its stream then is what flows on that connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Method, header};
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::context::Carried;
use super::{Carrier, EndpointProtocols, classify, edits, heads, next_attempt};
use crate::endpoint::idle_pool::IdlePool;
use crate::exchange::{Circumstances, Edits, Exchange, Failure, Head};
use crate::forward::attempt;
use crate::http1::head::{Parse, RESPONSE_BYTES_MAX, Response};
use crate::net::stream::Stream;
use crate::websocket::{accept_key, fresh_key};

/// What is read at once of what the endpoint says.
const PIECE: usize = 16 * 1024;

/// A day: longer than any limit.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Whether the request asks for a WebSocket on its stream.
pub fn is_asked_for(request: &RequestHeader) -> bool {
    request.method == Method::CONNECT
        && request
            .extensions
            .get::<h2::ext::Protocol>()
            .is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Makes of it what an endpoint is asked, before anybody looks at it.
pub fn as_upgrade(request: &mut RequestHeader) {
    request.set_method(Method::GET);
}

/// Why there is no WebSocket with the endpoint.
struct Failed {
    failure: Failure,
    detail: Option<String>,
}

impl Failed {
    fn new(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { failure, detail: detail.into() }
    }
}

/// What an endpoint has answered.
struct Answer {
    stream: Stream,
    head: ResponseHeader,
    /// What it has said since.
    rest: BytesMut,
}

/// What becomes of an answer.
enum Passed {
    Agreed(Stream, BytesMut),
    /// The client has it.
    Over,
    /// It is not for the client: the next attempt.
    Again,
}

/// Serves the request to its end. An error means that the client has seen the beginning of a response.
pub async fn serve(carrier: &Carrier, session: &mut Session, carried: &mut Carried) -> Result<()> {
    // The exchange says where it ends.
    let last = loop {
        if let Err(failure) = next_attempt(carrier, session, carried, EndpointProtocols::Http1Only).await {
            break Failed::new(failure, None);
        }
        let asked = match ask(&carrier.kept, session, carried).await {
            Ok(answer) => pass_on(session, carried, answer).await,
            Err(failed) => Err(failed),
        };
        let failed = match asked {
            Ok(Passed::Agreed(stream, rest)) => return tunnel(session, carried, stream, rest).await,
            Ok(Passed::Over) => return Ok(()),
            Ok(Passed::Again) => continue,
            Err(failed) => failed,
        };
        let circumstances = Circumstances { replayable: true, reused: false, response_begun: carried.begun };
        let (detail, now) = (failed.detail.as_deref(), std::time::Instant::now());
        if !carried.exchange.attempt_failed(failed.failure, detail, circumstances, now) {
            break failed;
        }
    };
    let Failed { failure, detail, .. } = last;
    carrier.answer(session, carried, failure, detail).await;
    Ok(())
}

/// Asks the endpoint of the attempt that is open for an upgrade.
async fn ask(
    kept: &IdlePool,
    session: &Session,
    carried: &mut Carried,
) -> std::result::Result<Answer, Failed> {
    let internal = |detail: &str| Failed::new(Failure::Internal, detail.to_owned());
    let endpoint = carried.exchange.endpoint().ok_or_else(|| internal("no endpoint"))?.clone();
    let scope = carried.exchange.response_scope().ok_or_else(|| internal("no pool"))?.clone();
    let (pool, timeouts) = (scope.pool(), &scope.pool().timeouts);
    let now = std::time::Instant::now();
    let left = carried.exchange.deadline().map_or(NEVER, |deadline| deadline.saturating_duration_since(now));
    let late = |failure, limit: Duration| if left <= limit { Failure::RequestDeadline } else { failure };
    let opened = attempt::open(kept, &endpoint, pool, attempt::descriptor_deadline(pool));
    let stream = match timeout(timeouts.connect.min(left), opened).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(failed)) => return Err(Failed::new(failed.failure, failed.detail)),
        Err(_) => return Err(Failed::new(late(Failure::ConnectTimeout, timeouts.connect), None)),
    };
    carried.exchange.connected(false, std::time::Instant::now());
    let key = fresh_key().ok_or_else(|| internal("no random bytes"))?;
    let head = head(session.req_header(), &carried.exchange, &key)
        .map_err(|error| Failed::new(Failure::Internal, classify::detail(&error)))?;
    match timeout(timeouts.response.min(left), answer(stream, &head)).await {
        Ok(Ok(answer)) if answer.head.status.is_success() => {
            // On HTTP/2 such a status says that there is a WebSocket (RFC 8441, section 5).
            let why = format!("the endpoint has answered {} to a handshake", answer.head.status.as_u16());
            Err(Failed::new(Failure::BadResponse, why))
        }
        Ok(Ok(answer)) if is_agreed(&answer.head, &key) => Ok(answer),
        Ok(Ok(_)) => {
            let why = "the endpoint has agreed to another handshake (Sec-WebSocket-Accept)";
            Err(Failed::new(Failure::BadResponse, why.to_owned()))
        }
        Ok(Err(failed)) => Err(failed),
        Err(_) => Err(Failed::new(late(Failure::ResponseTimeout, timeouts.response), None)),
    }
}

/// Whether an answer is what was asked for, or a refusal.
fn is_agreed(head: &ResponseHeader, key: &str) -> bool {
    head.status != 101
        || head.headers.get("sec-websocket-accept").is_some_and(|accept| *accept == *accept_key(key))
}

/// The request as the endpoint is to see it.
fn head(client: &RequestHeader, exchange: &Exchange, key: &str) -> Result<Vec<u8>> {
    let mut head = client.clone();
    let mut changes = Edits::default();
    exchange.request_edits(&**client, std::iter::empty(), &mut changes);
    edits::apply(&mut head, &changes)?;
    heads::join_cookies(&mut head)?;
    if let Some(authority) = client.uri.authority().filter(|_| !head.headers.contains_key(header::HOST)) {
        head.insert_header(header::HOST, authority.as_str())?;
    }
    let of_handshake =
        ["connection", "upgrade", "sec-websocket-key", "sec-websocket-accept", "content-length"];
    let path = client.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut out = format!("GET {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in head.headers.iter().filter(|(name, _)| !of_handshake.contains(&name.as_str())) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let handshake = format!("connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: {key}\r\n\r\n");
    out.extend_from_slice(handshake.as_bytes());
    Ok(out)
}

/// Sends the request, and reads the head of the final response.
async fn answer(mut stream: Stream, head: &[u8]) -> std::result::Result<Answer, Failed> {
    let reset = |error: std::io::Error| Failed::new(Failure::EndpointReset, error.to_string());
    stream.write_all(head).await.map_err(reset)?;
    stream.flush().await.map_err(reset)?;
    let (mut response, mut rest) = (Response::default(), BytesMut::new());
    loop {
        match response.parse(&rest) {
            Parse::Complete { length } if response.view(&rest).is_interim() => {
                drop(rest.split_to(length));
                response.restart();
            }
            Parse::Complete { length } => {
                let head = rest.split_to(length);
                let head = owned(&response, &head)
                    .map_err(|error| Failed::new(Failure::BadResponse, classify::detail(&error)))?;
                return Ok(Answer { stream, head, rest });
            }
            Parse::Partial if rest.len() <= RESPONSE_BYTES_MAX => {
                if stream.read_buf(&mut rest).await.map_err(reset)? == 0 {
                    let why = "closed before a whole response head";
                    return Err(Failed::new(Failure::EndpointReset, why.to_owned()));
                }
            }
            Parse::Partial => {
                return Err(Failed::new(Failure::BadResponse, "too large a head".to_owned()));
            }
            Parse::Refused(refusal) => {
                return Err(Failed::new(Failure::BadResponse, refusal.reason.to_owned()));
            }
        }
    }
}

fn owned(response: &Response, head: &[u8]) -> Result<ResponseHeader> {
    let view = response.view(head);
    let mut owned = ResponseHeader::build(view.status(), None)?;
    for (name, value) in view.fields() {
        let name = HeaderName::from_bytes(name).or_err(ErrorType::InvalidHTTPHeader, "a name")?;
        owned.append_header(name, value)?;
    }
    Ok(owned)
}

/// Gives the client the answer's head; an agreement comes back as the connection that it is about.
async fn pass_on(
    session: &mut Session,
    carried: &mut Carried,
    answer: Answer,
) -> std::result::Result<Passed, Failed> {
    let Answer { stream, head: mut response, rest } = answer;
    let agreed = response.status == 101;
    let circumstances = Circumstances { replayable: true, reused: false, response_begun: false };
    let status = response.status.as_u16();
    match carried.exchange.response_head(status, circumstances, std::time::Instant::now()) {
        Head::Forward => {}
        Head::Refuse(failure) => return Err(Failed::new(failure, None)),
        Head::Retry => return Ok(Passed::Again),
    }
    let edited = as_stream(&mut response, &carried.exchange, agreed);
    edited.map_err(|error| Failed::new(Failure::BadResponse, classify::detail(&error)))?;
    carried.exchange.let_go();
    carried.begun = true;
    // Of a refusal, nobody who asks for a WebSocket can see more than the status.
    if heads::send(session, Box::new(response), !agreed).await.is_err() {
        carried.exchange.failed(Failure::ClientGone, None);
        return Ok(Passed::Over);
    }
    Ok(if agreed { Passed::Agreed(stream, rest) } else { Passed::Over })
}

/// Makes of the response one that a stream can have (RFC 8441, section 5).
fn as_stream(response: &mut ResponseHeader, exchange: &Exchange, agreed: bool) -> Result<()> {
    let mut changes = Edits::default();
    let fields = || response.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    exchange.response_edits(response.status.as_u16(), fields, &mut changes);
    edits::apply(response, &changes)?;
    heads::own_framing(response, false)?;
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length", "transfer-encoding"] {
        response.remove_header(name);
    }
    if agreed {
        response.set_status(200)?;
    }
    Ok(())
}

/// Carries bytes until the endpoint has ended, one side fails, or nothing has moved for too long.
async fn tunnel(session: &mut Session, carried: &mut Carried, stream: Stream, rest: BytesMut) -> Result<()> {
    let idle = carried.exchange.settings().map_or(NEVER, |pool| pool.timeouts.tunnel);
    let (mut from, mut to) = split(stream);
    let (mut up, mut ended, mut down) = (Bytes::new(), false, rest);
    // What ends here is a WebSocket, whose sides know by its own frames whether that was all.
    loop {
        if !down.is_empty() && pass_down(session, carried, down.split().freeze()).await.is_err() {
            return Ok(());
        }
        down.reserve(PIECE);
        tokio::select! {
            piece = session.as_downstream_mut().read_body_or_idle(ended), if up.is_empty() => {
                match piece {
                    Ok(piece) => up = piece.unwrap_or_default(),
                    Err(_) => break,
                }
                let _ = carried.exchange.request_body(up.len());
                ended = session.is_body_done();
                if ended && up.is_empty() && to.shutdown().await.is_err() {
                    break;
                }
            }
            // What TLS has taken goes on with whatever is done next.
            sent = to.write(&up), if !up.is_empty() => {
                let Ok(count) = sent else { break };
                drop(up.split_to(count));
                if ended && up.is_empty() && to.shutdown().await.is_err() {
                    break;
                }
            }
            read = from.read_buf(&mut down) => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
            }
            () = sleep(idle) => break,
        }
    }
    let _ = session.write_response_body(None, true).await;
    Ok(())
}

async fn pass_down(
    session: &mut Session,
    carried: &mut Carried,
    piece: Bytes,
) -> std::result::Result<(), ()> {
    carried.exchange.response_body(piece.len());
    let limit = Instant::now() + carried.exchange.listener().timeouts.write;
    match timeout_at(limit, session.write_response_body(Some(piece), false)).await {
        Ok(Ok(())) => Ok(()),
        _ => {
            carried.exchange.failed(Failure::ClientGone, None);
            Err(())
        }
    }
}
