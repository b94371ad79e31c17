//! Scripted endpoints that speak HTTP/2: what they answer is an async closure, what they saw is kept.

use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// One request, and the means to answer it.
pub struct Call {
    pub head: http::request::Parts,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
    /// Sends GOAWAY to the client, and finishes what there is.
    pub leave: Arc<tokio::sync::Notify>,
}

pub struct Http2Endpoint {
    address: String,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<http::request::Parts>>>,
    _runtime: Runtime,
}

impl Call {
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Reads the whole body; its length, or why it is not whole.
    pub async fn body_length(&mut self) -> Result<usize, h2::Error> {
        let mut length = 0;
        while let Some(piece) = self.body.data().await {
            let piece = piece?;
            self.body.flow_control().release_capacity(piece.len())?;
            length += piece.len();
        }
        Ok(length)
    }

    pub fn begin(&mut self, response: http::response::Builder) -> SendStream<Bytes> {
        self.respond.send_response(response.body(()).unwrap(), false).unwrap()
    }

    pub fn answer(mut self, body: impl Into<Bytes>) {
        self.begin(Response::builder()).send_data(body.into(), true).unwrap();
    }

    /// Answers with a message and the trailers of gRPC.
    pub fn answer_grpc(mut self, message: &'static [u8], status: &str) {
        let mut sink = self.begin(Response::builder().header("content-type", "application/grpc"));
        sink.send_data(Bytes::from_static(message), false).unwrap();
        sink.send_trailers(trailers(status)).unwrap();
    }
}

pub fn trailers(status: &str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
}

impl Http2Endpoint {
    /// Does with every request what the script says.
    pub fn scripted<F, Done>(script: F) -> Self
    where
        F: Fn(Call) -> Done + Clone + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (connections, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, requests) = (connections.clone(), seen.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, count, requests) = (script.clone(), count.clone(), requests.clone());
                tokio::spawn(async move {
                    // Whoever sends many small frames is no attacker here.
                    let mut builder = h2::server::Builder::new();
                    // A health check that only connects ends here.
                    let Ok(mut connection) = builder.data_frame_budget(1 << 24).handshake(stream).await
                    else {
                        return;
                    };
                    count.fetch_add(1, SeqCst);
                    let leave = Arc::new(tokio::sync::Notify::new());
                    loop {
                        let accepted = tokio::select! {
                            accepted = connection.accept() => accepted,
                            () = leave.notified() => {
                                connection.graceful_shutdown();
                                continue;
                            }
                        };
                        let Some(Ok((request, respond))) = accepted else { return };
                        let request: Request<RecvStream> = request;
                        let (head, body) = request.into_parts();
                        requests.lock().unwrap().push(head.clone());
                        let leave = leave.clone();
                        tokio::spawn(script(Call { head, body, respond, leave }));
                    }
                });
            }
        });
        Self { address, connections, seen, _runtime: runtime }
    }

    /// Answers every request with that text.
    pub fn named(name: &'static str) -> Self {
        Self::scripted(move |mut call| async move {
            let _ = call.body_length().await;
            call.answer(name);
        })
    }

    /// Connections that have spoken HTTP/2.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub fn seen(&self) -> Vec<http::request::Parts> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count_of(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|head| head.uri.path() == path).count()
    }
}

impl fmt::Display for Http2Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.address)
    }
}
