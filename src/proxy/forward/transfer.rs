//! What moves between a client and an endpoint during one attempt.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Version, header};
use pingora_proxy::Session;
use tokio::time::{Sleep, sleep_until, timeout_at};

use super::side::Side;
use super::{Ended, Failed, Sent, circumstances};
use crate::exchange::{Failure, Head};
use crate::http1::chunked::may_follow;
use crate::proxy::context::Carried;
use crate::proxy::visit::Visit;
use crate::proxy::{Carrier, classify, close_behind, heads};

/// What is waited for.
enum Event {
    Status(Result<u16, Failed>),
    Piece(Option<Result<Bytes, Failed>>),
    /// The endpoint has taken something of the request.
    Taken,
    /// Of the client's body; `None`: that was all.
    Read(Option<Bytes>),
    ClientFailed(Box<pingora_core::Error>),
    Late,
}

pub struct Transfer<'a, S> {
    carrier: &'a Carrier,
    session: &'a mut Session,
    carried: &'a mut Carried,
    side: S,
    /// Read of the client's body, and not given to the endpoint's side.
    before: Bytes,
    /// The client has sent all of its body.
    read: bool,
    /// The client has the head of its response.
    begun: bool,
    /// When something last moved.
    moved: Instant,
}

impl<'a, S: Side> Transfer<'a, S> {
    pub fn new(
        carrier: &'a Carrier,
        session: &'a mut Session,
        carried: &'a mut Carried,
        side: S,
        sent: Sent,
    ) -> Self {
        let Sent { whole: read, before } = sent;
        Self { carrier, session, carried, side, before, read, begun: false, moved: Instant::now() }
    }

    pub async fn run(mut self) -> Result<(), Ended> {
        self.send_continue().await?;
        let resent = std::mem::take(&mut self.before);
        if !self.side.is_sent() {
            self.send(resent)?;
        }
        // Set when it goes off too early, and when it would go off too late: what moves only puts off the end.
        let mut late = pin!(sleep_until((self.moved + self.limit().0).min(self.end_of_time()).into()));
        loop {
            match self.event(late.as_mut()).await {
                Event::Status(status) => {
                    if self.begin(status?).await? {
                        break;
                    }
                }
                Event::Piece(Some(piece)) => {
                    if self.pass(piece?).await? {
                        break;
                    }
                }
                Event::Piece(None) => {
                    self.end().await?;
                    break;
                }
                Event::Taken => {}
                Event::Read(piece) => self.read(piece)?,
                Event::ClientFailed(error) => {
                    return Err(Failed::of_client(classify::client(&error), classify::detail(&error)).into());
                }
                Event::Late => return Err(self.too_late().into()),
            }
            // Only now: how long the client has taken for it is not the endpoint's time.
            self.moved = Instant::now();
        }
        self.side.finish();
        Ok(())
    }

    async fn event(&mut self, mut late: Pin<&mut Sleep>) -> Event {
        let end = (self.moved + self.limit().0).min(self.end_of_time()).into();
        if end < late.deadline() {
            late.as_mut().reset(end);
        }
        // What an HTTP/1.1 client still sends is for the next attempt, if there is one: it must not be read here.
        let is_kept =
            self.side.is_sent() && !self.read && self.session.req_header().version != Version::HTTP_2;
        let reads = !self.side.is_sending() && !is_kept;
        let nothing_to_read = self.read || self.side.is_sent();
        let Self { session, side, begun, .. } = self;
        loop {
            tokio::select! {
                event = poll_fn(|context| poll_side(side, *begun, context)) => return event,
                read = session.as_downstream_mut().read_body_or_idle(nothing_to_read), if reads => {
                    return read.map_or_else(Event::ClientFailed, Event::Read);
                }
                () = late.as_mut() => {
                    if end <= tokio::time::Instant::now() {
                        return Event::Late;
                    }
                    late.as_mut().reset(end);
                }
            }
        }
    }

    /// How long nothing may move, and what it means then.
    fn limit(&self) -> (Duration, Failure) {
        let timeouts = self.carried.exchange.settings().map(|pool| &pool.timeouts);
        let of_endpoint =
            |of: fn(&crate::config::EndpointTimeouts) -> Duration| timeouts.map_or(Duration::ZERO, of);
        if self.begun {
            (of_endpoint(|timeouts| timeouts.idle), Failure::ResponseCut)
        } else if self.side.is_sending() {
            (of_endpoint(|timeouts| timeouts.write), Failure::RequestWriteTimeout)
        } else if !self.read && !self.side.is_sent() {
            (self.carried.exchange.listener().timeouts.body, Failure::RequestTimeout)
        } else {
            (of_endpoint(|timeouts| timeouts.response), Failure::ResponseTimeout)
        }
    }

    fn end_of_time(&self) -> Instant {
        // Without one, whatever is waited for has a limit below a day.
        let none = || self.moved + Duration::from_secs(24 * 3600);
        self.carried.exchange.deadline().unwrap_or_else(none)
    }

    fn too_late(&mut self) -> Failed {
        let late = self.carried.exchange.is_late(Instant::now());
        let (_, failure) = self.limit();
        if failure != Failure::RequestTimeout {
            self.side.is_late(late);
        }
        match failure {
            Failure::RequestTimeout if late => {
                Failed::of_client(Failure::RequestDeadline, "waiting for the request's body".to_owned())
            }
            Failure::RequestTimeout => {
                Failed::of_client(failure, "the body did not arrive in time".to_owned())
            }
            Failure::RequestWriteTimeout if late => {
                let waited_for = "waiting for the endpoint to take the request";
                Failed::new(Failure::RequestDeadline, waited_for.to_owned())
            }
            _ if late => Failed::new(Failure::RequestDeadline, "waiting for the response".to_owned()),
            Failure::ResponseCut => Failed::new(failure, "nothing came for too long".to_owned()),
            _ => Failed::new(failure, None),
        }
    }

    /// Tells a client that waits for it to go on (RFC 9110, section 10.1.1): there is an endpoint to take its body.
    async fn send_continue(&mut self) -> Result<(), Failed> {
        let client = self.session.req_header();
        let waits = client.version == Version::HTTP_11
            && client
                .headers
                .get(header::EXPECT)
                .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if !waits || self.read || !self.before.is_empty() {
            return Ok(());
        }
        let told = self.session.as_downstream_mut().write_continue_response().await;
        told.map_err(|error| Failed::of_client(Failure::ClientGone, classify::detail(&error)))
    }

    /// A piece of the client's body has been read.
    fn read(&mut self, piece: Option<Bytes>) -> Result<(), Failed> {
        self.read = piece.is_none() || self.session.is_body_done();
        self.send(piece.unwrap_or_default())
    }

    fn send(&mut self, piece: Bytes) -> Result<(), Failed> {
        self.carried
            .exchange
            .request_body(piece.len())
            .map_err(|failure| Failed::of_client(failure, None))?;
        if !piece.is_empty() || self.read {
            self.side.send(piece, self.read);
        }
        Ok(())
    }

    /// The response's head has come; `true`: and that was all.
    async fn begin(&mut self, status: u16) -> Result<bool, Ended> {
        let circumstances = circumstances(self.session, self.carried, false);
        match self.carried.exchange.response_head(status, circumstances, Instant::now()) {
            Head::Forward => {}
            Head::Refuse(failure) => return Err(Failed::new(failure, None).into()),
            Head::Retry => return Err(Ended::Again),
        }
        if !(self.read || self.session.is_body_done()) {
            close_behind(self.session);
        } else if self.carrier.lets_go(self.session) {
            self.session.set_keepalive(None);
        }
        let head = self.side.head(self.session, &mut self.carried.exchange)?;
        self.carried.exchange.let_go();
        let ended = self.side.has_ended();
        self.carried.begun = true;
        self.begun = true;
        self.patience().give(heads::send(self.session, head, ended)).await?;
        Ok(ended)
    }

    /// A piece of the response goes to the client; `true`: it was the last one.
    async fn pass(&mut self, piece: Bytes) -> Result<bool, Failed> {
        let length = piece.len();
        let last = self.side.has_ended();
        self.carried.exchange.response_body(length);
        if length == 0 && !last {
            return Ok(false);
        }
        self.patience().give(self.session.write_response_body(Some(piece), last)).await?;
        // Only now: what the client does not take stops the endpoint.
        self.side.delivered(length);
        if let Some(visit) = Visit::of(self.session) {
            visit.takes();
        }
        Ok(last)
    }

    /// The response's body is over; what may follow are its trailers.
    async fn end(&mut self) -> Result<(), Failed> {
        let trailers = poll_fn(|context| self.side.poll_trailers(context)).await?;
        trailers.iter().for_each(|trailers| self.carried.exchange.grpc_status(trailers));
        let patience = self.patience();
        let http2 = self.session.req_header().version == Version::HTTP_2;
        match trailers {
            Some(trailers) if http2 => {
                let allowed = trailers.iter().filter(|(name, _)| may_follow(name.as_str().as_bytes()));
                let trailers = allowed.map(|(name, value)| (name.clone(), value.clone())).collect();
                let session = self.session.as_downstream_mut();
                patience.give(session.write_response_trailers(trailers)).await
            }
            _ => patience.give(self.session.write_response_body(None, true)).await,
        }
    }

    /// With the client, from now on.
    fn patience(&self) -> Patience {
        let step = Instant::now() + self.carried.exchange.listener().timeouts.write;
        match self.carried.exchange.deadline() {
            Some(deadline) if deadline < step => Patience { until: deadline, whole: true },
            _ => Patience { until: step, whole: false },
        }
    }
}

/// What the endpoint takes, and what it says.
fn poll_side(side: &mut impl Side, begun: bool, context: &mut Context<'_>) -> Poll<Event> {
    if side.is_sending() && side.poll_send(context).is_ready() {
        return Poll::Ready(Event::Taken);
    }
    match begun {
        false => side.poll_status(context).map(Event::Status),
        true => side.poll_piece(context).map(Event::Piece),
    }
}

/// How long the client may take for a piece of its response.
struct Patience {
    until: Instant,
    /// It is the time for the whole request that ends it.
    whole: bool,
}

impl Patience {
    async fn give(self, piece: impl Future<Output = pingora_core::Result<()>>) -> Result<(), Failed> {
        match timeout_at(self.until.into(), piece).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failed::of_client(Failure::ClientGone, classify::detail(&error))),
            Err(_) if self.whole => {
                let detail = "the client takes the response too slowly";
                Err(Failed::of_client(Failure::RequestDeadline, detail.to_owned()))
            }
            Err(_) => Err(Failed::of_client(Failure::ClientStalled, None)),
        }
    }
}
