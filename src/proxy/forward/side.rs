//! The endpoint's side of one attempt: what a transfer asks of it, whatever protocol it speaks.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::Failed;
use crate::exchange::Exchange;

pub trait Side {
    /// Whether something of the request waits for the endpoint to take it.
    fn is_sending(&self) -> bool;

    /// The endpoint has all of the request, or takes no more of it.
    fn is_sent(&self) -> bool;

    /// Gives it the next piece of the client's body; `last`: there is nothing behind it. Not while something waits.
    fn send(&mut self, piece: Bytes, last: bool);

    /// Ready when the endpoint has taken some of what waits, or takes no more. Only while something waits.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// The status of the final response, when its head has come.
    fn poll_status(&mut self, context: &mut Context<'_>) -> Poll<Result<u16, Failed>>;

    /// The head of the response as the client is to see it.
    fn head(&mut self, session: &mut Session, exchange: &mut Exchange)
    -> Result<Box<ResponseHeader>, Failed>;

    /// Nothing of the response is to come any more. Known once the client has its head.
    fn has_ended(&self) -> bool;

    /// The next piece of the response's body; `None`: that was all, but for trailers.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failed>>>;

    /// The fields behind the body, as the endpoint has sent them.
    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Failed>>;

    /// The client has taken so many bytes of the body: the endpoint may send more.
    fn delivered(&mut self, bytes: usize);

    /// The endpoint has had too little time, or took too much.
    ///
    /// `in_hurry`: it is the request as a whole that is late, which need not be the endpoint's fault.
    fn is_late(&mut self, in_hurry: bool);

    /// The client has the whole response: what the next request can use is kept.
    fn finish(self);
}
