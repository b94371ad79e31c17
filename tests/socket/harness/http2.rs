//! A client of HTTP/2 without TLS, by the h2 crate, which accepts nothing malformed.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub async fn connect(address: &str) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    // Whoever sends many small frames is no attacker here.
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.data_frame_budget(1 << 24).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Sends the pieces of a body, and then an empty one that ends it.
pub async fn request(client: &SendRequest<Bytes>, request: Request<()>, pieces: &[&'static str]) -> Answer {
    try_request(client, request, pieces).await.unwrap()
}

/// The same, where the answer may be a reset.
pub async fn try_request(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    pieces: &[&'static str],
) -> Result<Answer, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (response, mut body) = client.send_request(request, pieces.is_empty())?;
    for piece in pieces {
        body.send_data(Bytes::from_static(piece.as_bytes()), false)?;
    }
    if !pieces.is_empty() {
        body.send_data(Bytes::new(), true)?;
    }
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

pub async fn get(client: &SendRequest<Bytes>, path: &str) -> Answer {
    request(client, get_of(path), &[]).await
}

pub fn get_of(path: &str) -> Request<()> {
    Request::get(format!("http://test.example{path}")).body(()).unwrap()
}
