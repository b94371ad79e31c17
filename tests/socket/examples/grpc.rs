//! The same for calls of gRPC: HTTP/2 on both sides, and trailers.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::runtime::Runtime;

use super::nginx::Nginx;
use super::outcome::{self, Outcome};
use crate::harness::Proxy;
use crate::harness::http2::{connect, runtime};
use crate::harness::http2_endpoint::{Call, Http2Endpoint, trailers};
use crate::written::{Request, add_surroundings, lossy, with_listeners};

/// The only address of an endpoint in the configs.
const WRITTEN: &str = "10.0.0.95:50051";

/// What the endpoint has seen of one call: its head, and its body.
type Calls = Arc<Mutex<Vec<(http::request::Parts, Vec<u8>)>>>;

pub struct GrpcSite {
    nginx: Nginx,
    proxy: Proxy,
    endpoint: Http2Endpoint,
    calls: Calls,
    runtime: Runtime,
}

impl GrpcSite {
    pub fn start(config: &str, nginx: &str) -> GrpcSite {
        let calls = Calls::default();
        let of_endpoint = calls.clone();
        let endpoint = Http2Endpoint::scripted(move |call| answer(call, of_endpoint.clone()));
        let with_endpoint = |text: &str| text.replace(WRITTEN, &endpoint.to_string());
        let builder = Proxy::config();
        let (mut text, _) = with_listeners(&with_endpoint(config));
        add_surroundings(&mut text, builder.folder());
        let proxy = builder.yaml(text).start();
        proxy.wait_until(&endpoint.to_string(), "healthy");
        let folder = tempfile::Builder::new().prefix("evk").tempdir().unwrap();
        let nginx = Nginx::start(&with_endpoint(nginx), folder);
        GrpcSite { nginx, proxy, endpoint, calls, runtime: runtime() }
    }

    pub fn send(&mut self, command: &str) -> (Outcome, Outcome) {
        let request = Request::parse(command);
        let there = self.nginx.address(&request.port).expect("nginx listens there");
        (self.ask(&there, &request), self.ask(&self.proxy.address(), &request))
    }

    pub fn told(&self) -> String {
        self.nginx.told()
    }

    fn ask(&self, address: &str, request: &Request) -> Outcome {
        self.calls.lock().unwrap().clear();
        let mut outcome = self.runtime.block_on(called(address, request));
        let calls = self.calls.lock().unwrap();
        outcome.insert("reached".into(), calls.iter().map(|_| WRITTEN).collect::<Vec<_>>().join(", "));
        if let [(head, body)] = &calls[..] {
            let host = head.uri.authority().map_or("none", |authority| authority.as_str());
            outcome.insert("sent method".into(), head.method.to_string());
            outcome.insert("sent target".into(), head.uri.path().into());
            outcome.insert("sent host".into(), host.into());
            outcome.insert("sent body".into(), lossy(body));
            outcome::add_fields(&mut outcome, "sent", &fields(&head.headers));
        }
        let own = self.endpoint.to_string();
        outcome.values_mut().for_each(|value| *value = value.replace(&own, WRITTEN));
        outcome
    }
}

/// What the call has come to at its client.
async fn called(address: &str, request: &Request) -> Outcome {
    let client = connect(address).await;
    let mut outcome = Outcome::new();
    let head = String::from_utf8_lossy(&request.bytes);
    let (head, body) = head.split_once("\r\n\r\n").expect("a head");
    let mut call = http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("http://{}{}", request.host, request.target));
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        if !["host", "content-length"].contains(&name.to_ascii_lowercase().as_str()) {
            call = call.header(name, value);
        }
    }
    let call = call.body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, mut sink) = client.send_request(call, false).unwrap();
    // One message, with its length before it.
    let length = u32::try_from(body.len()).expect("a short body");
    let message = [&[0], &length.to_be_bytes()[..], body.as_bytes()].concat();
    // Who is refused at once takes none.
    let _ = sink.send_data(Bytes::from(message), true);
    let Ok(response) = response.await else {
        outcome.insert("status".into(), "reset".into());
        return outcome;
    };
    let (head, mut stream) = response.into_parts();
    outcome.insert("status".into(), head.status.as_u16().to_string());
    outcome::add_fields(&mut outcome, "field", &fields(&head.headers));
    let mut body = Vec::new();
    while let Some(Ok(piece)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    outcome.insert("body".into(), lossy(&body));
    if let Ok(Some(trailers)) = stream.trailers().await {
        outcome::add_fields(&mut outcome, "trailer", &fields(&trailers));
    }
    outcome
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| lossy(value.as_bytes());
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// `Code7` fails with that status behind its body, `Only7` without one, `Stream3` answers so many messages, and all else one.
async fn answer(mut call: Call, calls: Calls) {
    let mut body = Vec::new();
    while let Some(Ok(piece)) = call.body.data().await {
        let _ = call.body.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    if call.path() == "/grpc.health.v1.Health/Check" {
        return call.answer_grpc(b"\0\0\0\0\x02\x08\x01", "0");
    }
    calls.lock().unwrap().push((call.head.clone(), body));
    let method = call.path().rsplit('/').next().unwrap_or_default().to_owned();
    let name = method.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = &method[name.len()..];
    let head = Response::builder().header("content-type", "application/grpc").header("x-served-by", "shop");
    if name == "Only" {
        let only = head.header("grpc-status", number).header("grpc-message", "as asked");
        call.respond.send_response(only.body(()).unwrap(), true).unwrap();
        return;
    }
    let messages = if name == "Stream" { number.parse().unwrap_or(1) } else { 1 };
    let mut sink = call.begin(head);
    for _ in 0..messages {
        let _ = sink.send_data(Bytes::from_static(b"\0\0\0\0\x06answer"), false);
    }
    let _ = sink.send_trailers(trailers(if name == "Code" { number } else { "0" }));
}
