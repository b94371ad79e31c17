//! The response's way to the client, while the request's body may still be on its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::client::connection::Client;
use crate::config::{self, Listener};
use crate::endpoint::idle_pool::Connection;
use crate::exchange::{Circumstances, Failure, Tracked};
use crate::forward::pump::{Ends, Pump, PumpError, WaitsFor};
use crate::forward::request::{After, Manner, Sent};
use crate::forward::tunnel::{self, Side};
use crate::forward::websocket_frames::Frames;
use crate::http1::framing::{Framing, Version};
use crate::http1::head::Response;
use crate::http1::write::{self, ResponseForm};
use crate::net::buffer::Buffer;
use crate::pool::Endpoint;

/// What an attempt holds: a connection, and what is on its way over it.
pub struct Passage {
    pub connection: Connection,
    /// What has been read of the endpoint's: first the head.
    pub answer: Buffer,
    pub response: Response,
    /// Of the head.
    pub length: usize,
    pub upload: Pump,
    pub uploaded: bool,
    pub manner: Manner,
}

/// What came of a response on its way to the client.
pub enum Delivered {
    /// It has arrived; whether the endpoint's connection and the client's can serve another request.
    Whole { reusable: bool, keep: bool },
    /// The endpoint's connection is of no more use.
    Over(After),
}

/// Why a response did not reach its client whole.
struct Cut {
    failure: Failure,
    detail: Option<String>,
    /// It was the client's turn, so the endpoint is not to blame.
    client_waited_for: bool,
}

impl Cut {
    fn new(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { failure, detail: detail.into(), client_waited_for: false }
    }
}

/// Sends the response on whose head has arrived.
pub async fn deliver(
    client: &mut Client,
    listener: &Listener,
    tracked: &mut Tracked,
    sent: &mut Sent,
    pool: &config::Pool,
    passage: &mut Passage,
) -> Delivered {
    let view = passage.response.view(passage.answer.bytes());
    let status = view.status();
    let method = client.view().method();
    let onward = view.onward(method, passage.manner.version);
    let body = view.framing(method);
    let reusable =
        view.is_reusable(method) && passage.uploaded && passage.manner.framing != Framing::UntilClose;
    let keep = passage.keeps(client, onward.body);
    let websocket = status == 101 && is_websocket(view.fields());
    let head = response_head(client, tracked, passage, onward.announced, keep);
    tracked.let_go();
    passage.answer.consume(passage.length);
    sent.status = Some(status);
    if status == 101 {
        // In a box, so that others do not carry the room for it along.
        let tunnel = upgrade(client, listener, tracked, sent, pool, passage, (head, websocket));
        return Delivered::Over(Box::pin(tunnel).await);
    }
    // A body that ends with its connection must not seem to end well.
    let until_close = onward.body == Framing::UntilClose;
    if until_close {
        client.stream.ends_with_reset(true);
    }
    let mut download = Pump::new(body, onward.body, head).joining().closing(!keep);
    let cut = passage.carry(client, listener, tracked, pool, &mut download).await;
    client.now = Instant::now();
    sent.bytes = download.delivered;
    client.room().out = download.into_memory();
    match cut {
        Ok(()) => {
            if until_close {
                client.stream.ends_with_reset(false);
            }
            Delivered::Whole { reusable, keep }
        }
        Err(cut) => {
            let circumstances = Circumstances { replayable: false, reused: false, response_begun: true };
            if !cut.client_waited_for {
                tracked.attempt_failed(cut.failure, cut.detail.as_deref(), circumstances, client.now);
            }
            tracked.failed(cut.failure, cut.detail);
            Delivered::Over(if until_close { After::Abort } else { After::Close })
        }
    }
}

fn response_head(
    client: &mut Client,
    tracked: &Tracked,
    passage: &mut Passage,
    announced: Framing,
    keep: bool,
) -> Vec<u8> {
    // What held the request's head has room for this one too.
    let mut out = passage.upload.spare_memory();
    let view = passage.response.view(passage.answer.bytes());
    let mut edits = client.worker.edits.take();
    tracked.response_edits(view.status(), || view.fields(), &mut edits);
    let connection = match passage.manner.version {
        _ if view.status() == 101 => write::Connection::Upgrade,
        _ if !keep => write::Connection::Close,
        Version::Http10 => write::Connection::KeepAlive,
        Version::Http11 => write::Connection::Silent,
    };
    let date = client.worker.date(client.now);
    let form = ResponseForm { edits: &edits, framing: announced, connection, date: Some(&date) };
    write::response(&mut out, view, &form);
    client.worker.edits.set(edits);
    out
}

/// Whether it is a WebSocket that the endpoint has switched to.
fn is_websocket<'a>(mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    fields.any(|(name, value)| {
        name.eq_ignore_ascii_case(b"upgrade") && value.trim_ascii().eq_ignore_ascii_case(b"websocket")
    })
}

async fn upgrade(
    client: &mut Client,
    listener: &Listener,
    tracked: &mut Tracked,
    sent: &mut Sent,
    pool: &config::Pool,
    passage: &mut Passage,
    (head, websocket): (Vec<u8>, bool),
) -> After {
    client.timer.bound(None);
    let limit = pool.timeouts.tunnel;
    if let Err(failure) = client.send(&head, listener).await {
        tracked.failed(failure, None);
        return After::Close;
    }
    if !client.input.has_memory() {
        client.input.adopt(client.worker.memory());
    }
    let frames = || websocket.then(Frames::default);
    let near = Side { stream: &mut client.stream, buffer: &mut client.input, frames: frames() };
    let far = Side { stream: &mut passage.connection.stream, buffer: &mut passage.answer, frames: frames() };
    let carried = tunnel::run(&client.worker, near, far, &client.timer, limit).await;
    // A tunnel has no limit for its bytes.
    let _ = tracked.request_body(usize::try_from(carried.from_client).unwrap_or(usize::MAX));
    tracked.response_body(usize::try_from(carried.from_endpoint).unwrap_or(usize::MAX));
    sent.bytes = carried.from_endpoint;
    client.now = Instant::now();
    // The client may still be sending, and has to get what the endpoint said last.
    After::Linger
}

impl Passage {
    /// Whether the client's connection can serve another request after this response.
    fn keeps(&self, client: &mut Client, body: Framing) -> bool {
        self.manner.keep_alive
            && self.uploaded
            && body != Framing::UntilClose
            && client.may_go_on()
            && !client.has_to_go()
    }

    async fn carry(
        &mut self,
        client: &mut Client,
        listener: &Listener,
        tracked: &mut Tracked,
        pool: &config::Pool,
        download: &mut Pump,
    ) -> Result<(), Cut> {
        // Nearly every response goes out at once, and needs no deadline.
        let mut waits = None;
        let done = poll_fn(|context| {
            download.moved = false;
            self.upload.moved = false;
            if let Poll::Ready(done) = self.poll_download(context, client, tracked, download) {
                return Poll::Ready(done);
            }
            if let Err(cut) = self.poll_client(context, client, tracked) {
                return Poll::Ready(Err(cut));
            }
            // What a client sends is no reason to wait longer for it to read.
            let uploads = self.upload.moved && download.waits_for == WaitsFor::Source;
            if download.moved || uploads || waits != Some(download.waits_for) {
                waits = Some(download.waits_for);
                client.timer.set(match download.waits_for {
                    WaitsFor::Source => pool.timeouts.idle,
                    WaitsFor::Sink => listener.timeouts.write,
                });
            }
            let at_bound = client.timer.is_at_bound();
            client.timer.poll_passed(context).map(|()| Err(too_late(download.waits_for, at_bound)))
        })
        .await;
        client.timer.clear();
        done
    }

    fn poll_download(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
        tracked: &mut Tracked,
        download: &mut Pump,
    ) -> Poll<Result<(), Cut>> {
        let mut ends =
            Ends { from: &mut self.connection.stream, buffer: &mut self.answer, to: &mut client.stream };
        let mut count = |bytes| {
            tracked.response_body(bytes);
            Ok(())
        };
        download.poll(context, &mut ends, &mut count).map_err(|error| match error {
            PumpError::Source(error) => {
                let detail =
                    error.map_or("closed in the middle of its body".into(), |error| error.to_string());
                Cut::new(Failure::ResponseCut, detail)
            }
            PumpError::Framing(error) => Cut::new(Failure::ResponseCut, error.to_string()),
            PumpError::Sink(error) => Cut::new(Failure::ClientGone, error.to_string()),
            PumpError::Refused(failure) => Cut::new(failure, None),
        })
    }

    /// Carries on the request's body; or else notices a client that has reset its connection.
    fn poll_client(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
        tracked: &mut Tracked,
    ) -> Result<(), Cut> {
        if !self.uploaded {
            let mut ends =
                Ends { from: &mut client.stream, buffer: &mut client.input, to: &mut self.connection.stream };
            // The endpoint has answered: if it takes no more, or the client does not send on, the answer is what counts.
            self.uploaded =
                self.upload.poll(context, &mut ends, &mut |bytes| tracked.request_body(bytes)).is_ready();
        }
        if !self.uploaded {
            return Ok(());
        }
        client.poll_gone(context).map_err(|error| Cut::new(Failure::ClientGone, error.to_string()))
    }

    /// Gives back what the attempt has taken, once its response has arrived.
    ///
    /// `endpoint`: who may have another request by the same connection.
    pub fn finish(
        mut self,
        client: &Client,
        pool: &config::Pool,
        endpoint: Option<&Arc<Endpoint>>,
        keep: bool,
    ) -> After {
        let worker = &client.worker;
        // Bytes that nobody asked for would be the beginning of somebody else's answer.
        if let Some(endpoint) = endpoint.filter(|_| self.answer.is_empty()) {
            worker.kept.keep(endpoint, self.connection, pool, client.now);
        }
        if self.answer.is_empty() {
            worker.give_back(self.answer.release());
        }
        worker.give_back_response(self.response);
        // A client that was not going to close may have its next request on the way.
        let silent =
            self.manner.framing == Framing::None && !self.manner.keep_alive && client.input.is_empty();
        match keep {
            true => After::KeepAlive,
            false if silent => After::Close,
            false => After::Linger,
        }
    }
}

/// `over`: it is the time for the whole request that has passed.
fn too_late(waits: WaitsFor, over: bool) -> Cut {
    match waits {
        WaitsFor::Source if over => {
            Cut::new(Failure::RequestDeadline, "waiting for the rest of the response".to_owned())
        }
        WaitsFor::Sink if over => Cut {
            client_waited_for: true,
            ..Cut::new(Failure::RequestDeadline, "waiting for the client to take the response".to_owned())
        },
        WaitsFor::Source => Cut::new(Failure::ResponseCut, "nothing came for too long".to_owned()),
        WaitsFor::Sink => Cut::new(Failure::ClientStalled, None),
    }
}
