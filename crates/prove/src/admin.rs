//! A client for the proxy's admin address: plain HTTP/1.1 over its unix socket. It shares no code with the proxy's own
//! client, so that it finds errors which that client and the server have in common.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::folder::Folder;
use super::message::{Length, Wire, wrong};

/// Time for a request, in addition to the time that its operation may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The status of the few endpoints here takes some kilobytes.
const BODY_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no evenkeel answers on unix:{} ({source})", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("unix:{} did not answer: {source}", socket.display())]
    Broken { socket: PathBuf, source: io::Error },
    #[error("the proxy's status cannot be read: {0}")]
    Status(serde_json::Error),
}

/// The parts of `/status` that are judged.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) pid: u32,
    state: String,
    pools: Vec<PoolStatus>,
}

#[derive(Debug, Deserialize)]
struct PoolStatus {
    endpoints: Vec<EndpointStatus>,
}

#[derive(Debug, Deserialize)]
struct EndpointStatus {
    state: String,
}

// === impl Status ===

impl Status {
    pub(super) fn is_ready(&self) -> bool {
        self.state == "ready"
    }

    /// Whether all endpoints of all pools are healthy.
    pub(super) fn is_healthy(&self) -> bool {
        self.pools.iter().flat_map(|pool| &pool.endpoints).all(|endpoint| endpoint.state == "healthy")
    }
}

/// Has the proxy perform an operation, which may take `limit`.
pub(super) async fn order(
    folder: &Folder,
    path: &'static str,
    limit: Duration,
) -> Result<Response, AdminError> {
    ask(folder.admin(), "POST", path, limit + LIMIT).await
}

/// As [`order`], without waiting for the response.
pub(super) fn order_and_leave(folder: &Folder, path: &'static str, limit: Duration) {
    drop(tokio::spawn(ask(folder.admin(), "POST", path, limit + LIMIT)));
}

pub(super) async fn status(folder: &Folder) -> Result<Status, AdminError> {
    let response = ask(folder.admin(), "GET", "/status", LIMIT).await?;
    serde_json::from_str(&response.body).map_err(AdminError::Status)
}

/// One request on one connection; `limit` is for all of it.
async fn ask(
    socket: PathBuf,
    method: &'static str,
    path: &'static str,
    limit: Duration,
) -> Result<Response, AdminError> {
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(source) => return Err(AdminError::Unreachable { socket, source }),
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()));
    let answer = tokio::time::timeout(limit, exchange(stream, method, path)).await;
    answer.unwrap_or_else(|_| Err(late())).map_err(|source| AdminError::Broken { socket, source })
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
) -> io::Result<Response> {
    let mut wire = Wire::over(stream);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    wire.write(request.as_bytes()).await?;
    let head = wire.head().await?.ok_or_else(|| wrong("the connection was closed"))?;
    let status = head.status().ok_or_else(|| wrong(format!("no status in '{}'", head.line)))?;
    let length = match head.length() {
        Some(Length::Known(length)) if length <= BODY_BYTES_MAX => Length::Known(length),
        _ => return Err(wrong("a body without a length, or with too much of it")),
    };
    let mut body = Vec::new();
    wire.body(length, |piece| body.extend_from_slice(piece)).await?;
    Ok(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends a request to a server that answers with `answer` and closes; returns the request and the parsed response.
    async fn asked(answer: &str) -> (String, io::Result<Response>) {
        let (client, mut server) = tokio::io::duplex(4096);
        let serve = async {
            let mut request = vec![0; 4096];
            let length = server.read(&mut request).await.unwrap();
            server.write_all(answer.as_bytes()).await.unwrap();
            drop(server);
            String::from_utf8(request[..length].to_vec()).unwrap()
        };
        tokio::join!(serve, exchange(client, "POST", "/reload"))
    }

    #[tokio::test]
    async fn an_answer_has_a_status_and_a_whole_body() {
        let (request, response) =
            asked("HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 5\r\n\r\nno: x").await;
        assert_eq!(
            request,
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let response = response.unwrap();
        assert_eq!((response.status, response.body.as_str()), (422, "no: x"));
        let wrong = [
            ("", "the connection was closed"),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "no status in 'SSH-2.0-OpenSSH_9.2'"),
            ("HTTP/1.1 200 OK\r\n\r\n", "a body without a length, or with too much of it"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n",
                "a body without a length, or with too much of it",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nshort", "the body was cut after 5 of 6 bytes"),
        ];
        for (answer, expected) in wrong {
            assert_eq!(asked(answer).await.1.unwrap_err().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        let error = ask("/nowhere/admin.sock".into(), "GET", "/status", LIMIT).await.unwrap_err().to_string();
        assert!(error.starts_with("no evenkeel answers on unix:/nowhere/admin.sock ("), "{error}");
    }

    /// Another version may send more fields, and states that this one does not know.
    #[test]
    fn a_status_is_read_for_what_is_judged() {
        let status = |state: &str, endpoint: &str| -> Status {
            let json = format!(
                r#"{{"pid":7,"state":"{state}","more":1,"pools":[{{"name":"a","endpoints":[]}},
                   {{"endpoints":[{{"state":"healthy"}},{{"state":"{endpoint}","weight":1}}]}}]}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        assert_eq!(status("ready", "healthy").pid, 7);
        assert!(status("ready", "healthy").is_ready() && status("ready", "healthy").is_healthy());
        for other in ["starting", "draining", "unheard of"] {
            assert!(!status(other, "healthy").is_ready());
        }
        for other in ["unreachable", "unhealthy", "checking", "unheard of"] {
            assert!(!status("ready", other).is_healthy());
        }
    }
}
