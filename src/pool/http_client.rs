//! Requests of this process's own over HTTP/1.1, on Pingora's client: probes, lists of endpoints, questions to an auth
//! service.

use std::net::{IpAddr, SocketAddr};

use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::{Error, ErrorType};
use pingora_http::RequestHeader;
use tokio::net::TcpStream;

use super::connect::{TlsTarget, stream_over};
use super::sources::Dns;

/// The most interim responses before a final one.
const INTERIM_MAX: usize = 20;

/// A connection to the first of a host's addresses that accepts.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    dns: &Dns,
    tls: Option<&TlsTarget>,
) -> Result<Stream, String> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => dns.addresses(host).await.map_err(|reason| format!("{host}: {reason}"))?,
    };
    let mut last = "it has no address".to_owned();
    for address in addresses {
        let address = SocketAddr::new(address, port);
        let opened: std::io::Result<Stream> = async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            stream_over(socket, tls).await
        }
        .await;
        match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

/// Sends a request without a body, and reads the head of its final response. Returns the status; 101 is final.
pub(crate) async fn ask(session: &mut HttpSession, request: RequestHeader) -> pingora_core::Result<u16> {
    session.write_request_header(Box::new(request)).await?;
    for _ in 0..=INTERIM_MAX {
        session.read_response().await?;
        match session.resp_header().map_or(0, |response| response.status.as_u16()) {
            100 | 102..=199 => {}
            status => return Ok(status),
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "too many interim responses")
}

/// What is wrong with an answer, for a log line.
pub(crate) fn in_words(error: &Error) -> String {
    match (&error.cause, &error.context) {
        (Some(cause), _) => cause.to_string(),
        (None, Some(context)) => context.as_str().to_owned(),
        (None, None) => format!("its answer is cut or no HTTP ({})", error.etype.as_str()),
    }
}
