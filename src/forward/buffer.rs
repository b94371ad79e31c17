//! Receives the whole body of a request before an endpoint is chosen (`buffer_request`).

use std::future::poll_fn;
use std::task::Poll;

use super::ClientStream;
use super::interim::{expects_continue, send_continue};
use super::min_body_rate::MinBodyRate;
use super::request::Request;
use crate::body::{Backlog, BodyCollector, ReadError, Transfer, TransferError};
use crate::exchange::{Failed, Failure};
use crate::message::{Framing, RequestFields};

impl<C: ClientStream> Request<'_, C> {
    /// Receives the body, if the route says so and there is one.
    pub(super) async fn buffer_body(&mut self) -> Result<(), Failed> {
        let announced = match self.client.request().framing() {
            Framing::None | Framing::Length(0) => return Ok(()),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        };
        if self.kept.body.is_some() || !self.exchange.buffers_body() {
            return Ok(());
        }
        if !self.sent.go_on && expects_continue(self.client) {
            send_continue(self.client, &mut self.sent, self.listener.timeouts.write).await?;
        }
        // As long as no endpoint is asked, there is no response to have a permit for.
        self.client.source_idle(Backlog::InMemory);
        let mut collector = BodyCollector::new(announced);
        let began = self.client.tick();
        let collected = self.collect(&mut collector).await;
        self.client.timer().clear();
        let now = self.client.tick();
        self.exchange.buffered(now.saturating_duration_since(began));
        collected?;
        self.kept.body = Some(Box::new(collector.into_body()));
        Ok(())
    }

    /// Moves the body into `collector`, within the limits that hold for every body.
    async fn collect(&mut self, collector: &mut BodyCollector) -> Result<(), Failed> {
        let Self { client, exchange, listener, .. } = self;
        let pause = listener.timeouts.body;
        let mut transfer = Transfer { moved: true, ..Transfer::default() };
        let mut rate = MinBodyRate::new(listener.limits.body_rate);
        poll_fn(|context| {
            let mut count = |bytes| exchange.request_body(bytes);
            if let Poll::Ready(done) = transfer.poll(context, *client, collector, &mut count) {
                return Poll::Ready(done.map_err(upload_failure));
            }
            if std::mem::take(&mut transfer.moved) {
                if client.worker().lifecycle.is_short_of_memory() {
                    return Poll::Ready(Err(Failure::MemoryShort.into()));
                }
                let now = client.tick();
                client.timer().set_from(now, rate.wait(now, transfer.delivered, pause));
            }
            let passed = client.timer().poll_passed(context);
            passed.map(|()| match client.timer().is_at_bound() {
                true => Err(Failed::of_client(
                    Failure::RequestDeadline,
                    "waiting for the request's body".to_owned(),
                )),
                false => Err(rate.failure(client.tick(), pause)),
            })
        })
        .await
    }
}

/// The failure of a request whose body could not be moved on; an endpoint that takes no more of it is none.
pub(super) fn upload_failure(error: TransferError) -> Failed {
    match error {
        TransferError::Source(ReadError::Cut(reason)) => {
            let reason = reason.unwrap_or_else(|| "closed in the middle of its body".to_owned());
            Failed::of_client(Failure::ClientGone, reason)
        }
        TransferError::Source(ReadError::Malformed(reason)) => Failed::of_client(Failure::BadRequest, reason),
        TransferError::Refused(failure) => Failed::of_client(failure, None),
        TransferError::Sink(error) => Failed::new(Failure::Internal, error.to_string()),
    }
}
