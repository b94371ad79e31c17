//! One attempt: the request goes to an endpoint, the head of its response comes back, whichever way they overlap.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::config::{self, EndpointTimeouts, Listener};
use crate::endpoint::idle_pool::{Connection, IdlePool};
use crate::exchange::{Failure, Tracked};
use crate::forward::min_body_rate::MinBodyRate;
use crate::forward::pump::{Ends, Pump, PumpError, WaitsFor};
use crate::http1::head::{Parse, Response};
use crate::net::buffer::Buffer;
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::os_error;
use crate::pool::Endpoint;
use crate::tls::ClientTls;
use crate::worker::Worker;
use crate::worker::deadline::{Elapsed, Timer};

/// More interim responses than anybody needs (RFC 9110, section 15.2).
pub const INTERIM_MAX: usize = 20;

/// The client's side of an attempt.
pub struct ClientSide<'a> {
    pub worker: &'a Worker,
    pub stream: &'a mut Stream,
    /// What has been read of the client's and not used: the body, then requests that came too early.
    pub input: &'a mut Buffer,
    /// It has sent FIN: it sends no more, and is answered all the same.
    pub half_closed: &'a mut bool,
    pub timer: &'a Timer,
}

impl ClientSide<'_> {
    /// An error if the client has reset its connection; reads what it sends ahead, as far as there is room.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.input.is_empty() && self.input.has_memory() {
            self.worker.give_back(self.input.release());
        }
        while !*self.half_closed && !self.input.is_full() {
            match self.worker.poll_read(context, self.stream, self.input) {
                Poll::Pending => break,
                Poll::Ready(read) => *self.half_closed = read? == 0,
            }
        }
        Ok(())
    }
}

/// The limits of an attempt.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    pub endpoint: &'a EndpointTimeouts,
    pub listener: &'a Listener,
}

/// Why there is no response, and what of one there was.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    pub detail: Option<String>,
    /// The endpoint has sent something: it lives, and the connection was no stale one.
    pub answered: bool,
    /// It was the client's turn, so the endpoint is not to blame.
    pub client_waited_for: bool,
}

impl Failed {
    /// The time for the whole request is over.
    fn late(waits: Waits) -> Self {
        let waited_for = match waits {
            Waits::Connection => "waiting for a connection",
            Waits::ClientBody => "waiting for the request's body",
            Waits::EndpointWrite => "waiting for the endpoint to take the request",
            Waits::Nothing | Waits::Response => "waiting for the response",
        };
        let client_waited_for = waits == Waits::ClientBody;
        Self { client_waited_for, ..Self::new(Failure::RequestDeadline, waited_for.to_owned()) }
    }

    fn new(failure: Failure, detail: impl Into<Option<String>>) -> Self {
        Self { failure, detail: detail.into(), answered: false, client_waited_for: false }
    }
}

/// What the attempt waits for now, and so which limit holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    Connection,
    /// To take an interim response.
    ClientBody,
    EndpointWrite,
    Response,
}

/// An attempt that has been sent off.
pub struct Attempt<'a> {
    pub client: ClientSide<'a>,
    pub connection: &'a mut Connection,
    /// What has been read of the endpoint's.
    pub answer: &'a mut Buffer,
    pub upload: &'a mut Pump,
    pub uploaded: bool,
    /// The upload cannot go on: the endpoint takes no more. It may have answered.
    pub upload_failed: Option<io::Error>,
    limits: Limits<'a>,
    /// When it began, until its first deadline has been set.
    began: Option<Instant>,
    waits: Waits,
    /// Of the client's body.
    pace: MinBodyRate,
    interim: usize,
}

impl<'a> Attempt<'a> {
    pub fn new(
        client: ClientSide<'a>,
        connection: &'a mut Connection,
        answer: &'a mut Buffer,
        upload: &'a mut Pump,
        limits: Limits<'a>,
        began: Instant,
    ) -> Self {
        Self {
            client,
            connection,
            answer,
            upload,
            uploaded: false,
            upload_failed: None,
            pace: MinBodyRate::new(limits.listener.limits.body_rate),
            limits,
            began: Some(began),
            waits: Waits::Nothing,
            interim: 0,
        }
    }

    /// Sends the request, as far as the endpoint takes it, and reads the final response's head.
    ///
    /// Interim responses go to the client through `interim`, which gives their bytes back as the client is to see them.
    /// Returns the length of the head in `answer`.
    pub async fn response(
        &mut self,
        response: &mut Response,
        tracked: &mut Tracked,
        interim: &mut impl FnMut(&Tracked, &Response, &[u8]) -> Option<Vec<u8>>,
    ) -> Result<usize, Failed> {
        loop {
            let length = poll_fn(|context| self.poll_head(context, response, tracked)).await.map_err(
                |mut failed| {
                    failed.answered |= !self.answer.is_empty() || self.interim > 0;
                    failed
                },
            )?;
            if !response.view(self.answer.bytes()).is_interim() {
                self.client.timer.clear();
                return Ok(length);
            }
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(Failed {
                    answered: true,
                    ..Failed::new(Failure::BadResponse, "too many interim responses".to_owned())
                });
            }
            let bytes = interim(tracked, response, self.answer.bytes().get(..length).unwrap_or(&[]));
            self.answer.consume(length);
            if let Some(bytes) = bytes {
                // In a box, because hardly any response has one before it.
                Box::pin(self.send_to_client(&bytes)).await?;
            }
        }
    }

    async fn send_to_client(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let write = tokio::io::AsyncWriteExt::write_all(self.client.stream, bytes);
        match self.client.timer.within(self.limits.listener.timeouts.write, write).await {
            Ok(Ok(())) => {
                self.waits = Waits::Nothing;
                Ok(())
            }
            Ok(Err(error)) => Err(Failed::new(Failure::ClientGone, error.to_string())),
            // Whatever it was that ran out: behind a part of a response there is no place for another.
            Err(Elapsed) => Err(Failed::new(Failure::ClientStalled, None)),
        }
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        response: &mut Response,
        tracked: &mut Tracked,
    ) -> Poll<Result<usize, Failed>> {
        self.upload.moved = false;
        if let Err(failed) = self.poll_upload(context, tracked) {
            return Poll::Ready(Err(failed));
        }
        if let Poll::Ready(head) = self.poll_answer(context, response) {
            return Poll::Ready(head);
        }
        if let Err(failed) = self.poll_client(context) {
            return Poll::Ready(Err(failed));
        }
        self.watch();
        self.client.timer.poll_passed(context).map(|()| Err(self.too_late()))
    }

    fn poll_upload(&mut self, context: &mut Context<'_>, tracked: &mut Tracked) -> Result<(), Failed> {
        if self.uploaded || self.upload_failed.is_some() {
            return Ok(());
        }
        let ClientSide { stream, input, .. } = &mut self.client;
        let mut ends = Ends { from: stream, buffer: input, to: &mut self.connection.stream };
        match self.upload.poll(context, &mut ends, &mut |bytes| tracked.request_body(bytes)) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.uploaded = true;
                Ok(())
            }
            Poll::Ready(Err(PumpError::Sink(error))) => {
                self.upload_failed = Some(error);
                Ok(())
            }
            Poll::Ready(Err(PumpError::Source(error))) => {
                let detail =
                    error.map_or("closed in the middle of its body".to_owned(), |error| error.to_string());
                Err(Failed::new(Failure::ClientGone, detail))
            }
            Poll::Ready(Err(PumpError::Framing(error))) => {
                Err(Failed::new(Failure::BadRequest, error.to_string()))
            }
            Poll::Ready(Err(PumpError::Refused(failure))) => Err(Failed::new(failure, None)),
        }
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        response: &mut Response,
    ) -> Poll<Result<usize, Failed>> {
        loop {
            match response.parse(self.answer.bytes()) {
                Parse::Complete { length } => return Poll::Ready(Ok(length)),
                Parse::Refused(refusal) => {
                    return Poll::Ready(Err(Failed::new(Failure::BadResponse, refusal.reason.to_owned())));
                }
                Parse::Partial => {}
            }
            if self.answer.is_full() {
                self.answer.grow(self.answer.len() * 2);
            }
            match self.client.worker.poll_read(context, &mut self.connection.stream, self.answer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.gone(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.gone(Some(error)))),
            }
        }
    }

    /// The endpoint has closed the connection, or it broke.
    fn gone(&mut self, error: Option<io::Error>) -> Failed {
        let error = error.or(self.upload_failed.take());
        let timed_out = error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        let failure = if timed_out { Failure::RequestWriteTimeout } else { Failure::EndpointReset };
        let detail =
            error.map_or("closed before a whole response head".to_owned(), |error| error.to_string());
        Failed::new(failure, detail)
    }

    /// Notices a client that has reset its connection.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Result<(), Failed> {
        if !self.uploaded && self.upload_failed.is_none() {
            return Ok(());
        }
        self.client.poll_gone(context).map_err(|error| Failed::new(Failure::ClientGone, error.to_string()))
    }

    /// Sets the deadline anew where something has moved or something else is waited for.
    fn watch(&mut self) {
        let waits = match self.upload.waits_for {
            _ if self.uploaded || self.upload_failed.is_some() => Waits::Response,
            WaitsFor::Source => Waits::ClientBody,
            WaitsFor::Sink => Waits::EndpointWrite,
        };
        if waits == self.waits && !self.upload.moved {
            return;
        }
        self.waits = waits;
        let timeouts = self.limits.endpoint;
        let start = self.began.take().unwrap_or_else(Instant::now);
        let limit = match waits {
            Waits::ClientBody => {
                self.pace.wait(start, self.upload.delivered, self.limits.listener.timeouts.body)
            }
            Waits::EndpointWrite => timeouts.write,
            _ => timeouts.response,
        };
        if waits != Waits::ClientBody {
            self.pace.stop(start);
        }
        self.client.timer.set_from(start, limit);
    }

    fn too_late(&self) -> Failed {
        match self.waits {
            waits if self.client.timer.is_at_bound() => Failed::late(waits),
            Waits::ClientBody if self.pace.is_slow(Instant::now(), self.limits.listener.timeouts.body) => {
                Failed::new(Failure::RequestTimeout, "slower than limits.body_rate".to_owned())
            }
            Waits::ClientBody => Failed::new(Failure::RequestTimeout, None),
            Waits::EndpointWrite => Failed::new(Failure::RequestWriteTimeout, None),
            _ => Failed::new(Failure::ResponseTimeout, None),
        }
    }
}

/// Opens a connection to an endpoint.
pub async fn connect(
    kept: &IdlePool,
    endpoint: &Endpoint,
    pool: &config::Pool,
    timer: &Timer,
) -> Result<Connection, Failed> {
    let opened = open(kept, endpoint, pool, descriptor_deadline(pool));
    match timer.within(pool.timeouts.connect, opened).await {
        Ok(stream) => stream.map(|stream| Connection {
            stream,
            tls: pool.tls.clone(),
            opened: Instant::now(),
            reused: false,
        }),
        Err(Elapsed) if timer.is_at_bound() => Err(Failed::late(Waits::Connection)),
        Err(Elapsed) => Err(Failed::new(Failure::ConnectTimeout, None)),
    }
}

/// By when a connect that begins now must have a descriptor: well within its time, because a longer wait would look like
/// the endpoint's.
pub fn descriptor_deadline(pool: &config::Pool) -> tokio::time::Instant {
    tokio::time::Instant::now() + pool.timeouts.connect / 2
}

/// The same without a limit to its time, but for the descriptor. Idle connections go where there is none for it.
pub async fn open(
    kept: &IdlePool,
    endpoint: &Endpoint,
    pool: &config::Pool,
    descriptor_deadline: tokio::time::Instant,
) -> Result<Stream, Failed> {
    let socket = socket(kept, endpoint, pool, descriptor_deadline);
    let socket = socket.await.map_err(|error| Failed::new(Failure::of_connect(&error), error.to_string()))?;
    match &pool.tls {
        None => Ok(Stream::Plain(socket)),
        Some(tls) => secured(socket, tls, endpoint).await,
    }
}

async fn socket(
    kept: &IdlePool,
    endpoint: &Endpoint,
    pool: &config::Pool,
    descriptor_deadline: tokio::time::Instant,
) -> io::Result<Socket> {
    let short = || io::Error::from_raw_os_error(libc::EMFILE);
    let is_over = || descriptor_deadline <= tokio::time::Instant::now();
    let mut again = false;
    loop {
        let descriptor = tokio::time::timeout_at(descriptor_deadline, kept.descriptors.take(kept));
        let descriptor = descriptor.await.map_err(|_| short())?;
        match Socket::connect(endpoint, pool.timeouts.write).await {
            Ok(socket) => return Ok(socket.holding(descriptor)),
            Err(error) if os_error::is_of_descriptors(&error) && !is_over() => {
                drop(descriptor);
                kept.descriptors.relieve(kept, again).await;
                again = true;
            }
            Err(error) => return Err(error),
        }
    }
}

/// In a box, so that attempts without TLS do not carry the room for it along.
fn secured<'a>(
    socket: Socket,
    tls: &'a ClientTls,
    endpoint: &'a Endpoint,
) -> Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send + 'a>> {
    Box::pin(async move {
        let failed = |detail: String| Failed::new(Failure::EndpointTls, detail);
        let written = endpoint.written();
        let name = tls.name(written).ok_or_else(|| failed(format!("{written} has no name to verify")))?;
        Stream::secured(socket, tls, name).await.map_err(|error| failed(error.to_string()))
    })
}
