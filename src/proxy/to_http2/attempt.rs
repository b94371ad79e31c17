//! One attempt: a stream of its own on a connection that others may share.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{Response, Version, header};
use pingora_proxy::Session;
use tokio::time::{sleep_until, timeout_at};

use super::connections::Place;
use super::{Ended, Failed, circumstances, head, read_before};
use crate::exchange::{Failure, Head};
use crate::lane::chunked::may_follow;
use crate::lane::head::RESPONSE_FIELDS_MAX;
use crate::proxy::context::Carried;
use crate::proxy::{Carrier, classify, close_behind, heads};

/// The client's body on its way.
struct Upload {
    sink: SendStream<Bytes>,
    /// Read, and not sent.
    pending: Bytes,
    /// The client has sent all of it.
    read: bool,
    /// The endpoint has been sent all of it, or takes no more.
    over: bool,
}

/// What is waited for.
enum Event {
    Response(Result<Response<RecvStream>, h2::Error>),
    Piece(Option<Result<Bytes, h2::Error>>),
    /// So much more of the request may be sent; `None`: nothing more.
    Room(Option<usize>),
    /// Of the client's body; `None`: that was all.
    Read(Option<Bytes>),
    ClientFailed(Box<pingora_core::Error>),
    Late,
}

struct Transfer<'a> {
    carrier: &'a Carrier,
    session: &'a mut Session,
    carried: &'a mut Carried,
    place: Place,
    upload: Upload,
    response: ResponseFuture,
    body: Option<RecvStream>,
    begun: Instant,
    /// When something last moved.
    moved: Instant,
}

/// Asks the endpoint of the attempt that is open, and gives the client its response.
pub async fn attempt(carrier: &Carrier, session: &mut Session, carried: &mut Carried) -> Result<(), Ended> {
    let internal = || Failed::new(Failure::Internal, None);
    let endpoint = carried.exchange.endpoint().ok_or_else(internal)?.clone();
    let pool = carried.exchange.pool().ok_or_else(internal)?.clone();
    let now = Instant::now();
    let left = carried.exchange.deadline().map(|deadline| deadline.saturating_duration_since(now));
    let limit = left.map_or(pool.spec().timeouts.connect, |left| left.min(pool.spec().timeouts.connect));
    let place =
        carrier.multiplexed.place(&endpoint, pool.spec(), limit).await.map_err(|failed| {
            match carried.exchange.is_late(Instant::now()) {
                true => Failed::new(Failure::RequestDeadline, "waiting for a connection".to_owned()),
                false => failed,
            }
        })?;
    carried.exchange.connected(place.reused, Instant::now());
    carried.exchange.request_body_again();
    let read = session.is_body_done();
    let pending = read_before(session);
    let head = head::request(session, &carried.exchange)
        .map_err(|error| Failed::new(Failure::Internal, classify::detail(&error)))?;
    let bodiless = read && pending.is_empty();
    let (response, sink) = place.sender().send_request(head, bodiless).map_err(|error| {
        place.retire();
        // The connection has ended, or is about to; nothing has been sent.
        Failed { stale: place.proven, ..Failed::new(Failure::StreamRefused, error.to_string()) }
    })?;
    let upload = Upload { sink, pending, read, over: bodiless };
    let begun = Instant::now();
    let transfer =
        Transfer { carrier, session, carried, place, upload, response, body: None, begun, moved: begun };
    transfer.run().await
}

impl Transfer<'_> {
    async fn run(mut self) -> Result<(), Ended> {
        self.send_continue().await?;
        let resent = self.upload.pending.len();
        self.carried.exchange.request_body(resent).map_err(|failure| Failed::of_client(failure, None))?;
        if !self.upload.over {
            self.upload.ask_for_room();
        }
        loop {
            let event = self.event().await;
            self.moved = Instant::now();
            match event {
                Event::Response(response) => {
                    let response = response.map_err(|error| self.broken(&error))?;
                    if self.begin(response).await? {
                        return Ok(());
                    }
                }
                Event::Piece(Some(piece)) => {
                    let piece = piece.map_err(|error| self.broken(&error))?;
                    if self.pass(piece).await? {
                        return Ok(());
                    }
                }
                Event::Piece(None) => return Ok(self.end().await?),
                Event::Room(room) => self.upload.send(room),
                Event::Read(piece) => self.read(piece)?,
                Event::ClientFailed(error) => {
                    return Err(Failed::of_client(classify::client(&error), classify::detail(&error)).into());
                }
                Event::Late => return Err(self.too_late().into()),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let late = sleep_until((self.moved + self.limit().0).min(self.end_of_time()).into());
        let Self { session, upload, response, body, .. } = self;
        let has_response = body.is_some();
        let next_piece = async {
            match body {
                Some(body) => poll_fn(|context| body.poll_data(context)).await,
                None => std::future::pending().await,
            }
        };
        if !upload.pending.is_empty() && upload.sink.capacity() > 0 {
            // It is there already, and nobody will be told of it.
            return Event::Room(Some(upload.sink.capacity()));
        }
        let (wants_room, nothing_to_read) = (!upload.pending.is_empty(), upload.read || upload.over);
        // What an HTTP/1.1 client still sends is for the next attempt, if there is one: it must not be read here.
        let is_kept = upload.over && !upload.read && session.req_header().version != Version::HTTP_2;
        tokio::select! {
            response = response, if !has_response => Event::Response(response),
            piece = next_piece => Event::Piece(piece),
            room = poll_fn(|context| upload.sink.poll_capacity(context)), if wants_room => {
                Event::Room(room.and_then(Result::ok))
            }
            read = session.as_downstream_mut().read_body_or_idle(nothing_to_read), if !wants_room && !is_kept => match read {
                Ok(piece) => Event::Read(piece),
                Err(error) => Event::ClientFailed(error),
            },
            () = late => Event::Late,
        }
    }

    /// How long nothing may move, and what it means then.
    fn limit(&self) -> (Duration, Failure) {
        let timeouts = self.carried.exchange.pool().map(|pool| &pool.spec().timeouts);
        let of_endpoint =
            |of: fn(&crate::config::EndpointTimeouts) -> Duration| timeouts.map_or(Duration::ZERO, of);
        if self.body.is_some() {
            (of_endpoint(|timeouts| timeouts.idle), Failure::ResponseCut)
        } else if !self.upload.pending.is_empty() {
            (of_endpoint(|timeouts| timeouts.write), Failure::RequestWriteTimeout)
        } else if !self.upload.read && !self.upload.over {
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

    fn too_late(&self) -> Failed {
        let late = self.carried.exchange.is_late(Instant::now());
        let (_, failure) = self.limit();
        // Clients may be in more of a hurry than the endpoint can be.
        let lives = late && self.place.has_answered_since(self.begun);
        if failure != Failure::RequestTimeout && !lives {
            // Perhaps nobody is there any more: the next ones need not find out by waiting.
            self.place.retire();
        }
        match failure {
            _ if late => Failed::new(Failure::RequestDeadline, "waiting for the response".to_owned()),
            Failure::RequestTimeout => {
                Failed::of_client(failure, "the body did not arrive in time".to_owned())
            }
            Failure::ResponseCut => Failed::new(failure, "nothing came for too long".to_owned()),
            _ => Failed::new(failure, None),
        }
    }

    /// What the error of a stream says of its request.
    fn broken(&self, error: &h2::Error) -> Failed {
        let detail = Some(error.to_string());
        if self.body.is_some() {
            return Failed::new(Failure::ResponseCut, detail);
        }
        let reason = error.reason();
        // The endpoint has not looked at it (RFC 9113, sections 6.8 and 8.7).
        let refused = error.is_remote()
            && (reason == Some(Reason::REFUSED_STREAM)
                || (error.is_go_away() && reason == Some(Reason::NO_ERROR)));
        if refused {
            // A connection leaves once; who refuses streams may do so for ever.
            let leaves = error.is_go_away();
            if leaves {
                self.place.retire();
            }
            let stale = self.place.proven && leaves;
            return Failed { stale, ..Failed::new(Failure::StreamRefused, detail) };
        }
        if error.is_io() || error.is_remote() {
            self.place.retire();
            let stale = self.place.proven && error.is_io();
            // A server of HTTP/1.1 closes on what it cannot read.
            let doubt = if self.place.proven { "" } else { "; perhaps the endpoint does not speak HTTP/2" };
            let detail = format!("{error}{doubt}");
            return Failed { stale, ..Failed::new(Failure::EndpointReset, detail) };
        }
        self.place.retire();
        Failed::new(
            Failure::BadResponse,
            format!("what the endpoint sends is not HTTP/2 as it should be: {error}"),
        )
    }

    /// Tells a client that waits for it to go on (RFC 9110, section 10.1.1): there is an endpoint to take its body.
    async fn send_continue(&mut self) -> Result<(), Failed> {
        let client = self.session.req_header();
        let waits = client.version == Version::HTTP_11
            && client
                .headers
                .get(header::EXPECT)
                .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if !waits || self.upload.read || !self.upload.pending.is_empty() {
            return Ok(());
        }
        let told = self.session.as_downstream_mut().write_continue_response().await;
        told.map_err(|error| Failed::of_client(Failure::ClientGone, classify::detail(&error)))
    }

    /// A piece of the client's body has been read.
    fn read(&mut self, piece: Option<Bytes>) -> Result<(), Failed> {
        match piece {
            Some(piece) => {
                self.carried
                    .exchange
                    .request_body(piece.len())
                    .map_err(|failure| Failed::of_client(failure, None))?;
                self.upload.pending = piece;
                self.upload.read = self.session.is_body_done();
            }
            None => self.upload.read = true,
        }
        self.upload.ask_for_room();
        Ok(())
    }

    /// The response's head has come; `true`: and that was all.
    async fn begin(&mut self, response: Response<RecvStream>) -> Result<bool, Ended> {
        let (parts, body) = response.into_parts();
        self.place.answered();
        if parts.headers.len() > RESPONSE_FIELDS_MAX {
            return Err(Failed::new(Failure::BadResponse, "too many fields".to_owned()).into());
        }
        self.carried.exchange.grpc_status(&parts.headers);
        let circumstances = circumstances(self.session, self.carried, false);
        match self.carried.exchange.response_head(parts.status.as_u16(), circumstances, Instant::now()) {
            Head::Forward => {}
            Head::Refuse(failure) => return Err(Failed::new(failure, None).into()),
            Head::Retry => return Err(Ended::Again),
        }
        let ended = body.is_end_stream();
        if !(self.upload.read || self.session.is_body_done()) {
            close_behind(self.session);
        } else if self.carrier.lets_go(self.session) {
            self.session.set_keepalive(None);
        }
        let head = head::response(parts, self.session, &self.carried.exchange, ended)
            .map_err(|error| Failed::new(Failure::BadResponse, classify::detail(&error)))?;
        self.carried.begun = true;
        self.body = Some(body);
        let (end, session) = (self.end_of_time(), &mut *self.session);
        let sent = timeout_at(end.into(), heads::send(session, head, ended)).await;
        written(sent)?;
        Ok(ended)
    }

    /// A piece of the response goes to the client; `true`: it was the last one.
    async fn pass(&mut self, piece: Bytes) -> Result<bool, Failed> {
        let (length, end) = (piece.len(), self.end_of_time());
        let Some(body) = &mut self.body else { return Ok(false) };
        let last = body.is_end_stream();
        self.carried.exchange.response_body(length);
        if length == 0 && !last {
            return Ok(false);
        }
        let sent = timeout_at(end.into(), self.session.write_response_body(Some(piece), last)).await;
        written(sent)?;
        // Only now: what the client does not take stops the endpoint.
        let _ = body.flow_control().release_capacity(length);
        Ok(last)
    }

    /// The response's body is over; what may follow are its trailers.
    async fn end(&mut self) -> Result<(), Failed> {
        let Some(body) = &mut self.body else { return Ok(()) };
        let trailers = poll_fn(|context| body.poll_trailers(context)).await;
        let trailers = trailers.map_err(|error| Failed::new(Failure::ResponseCut, error.to_string()))?;
        trailers.iter().for_each(|trailers| self.carried.exchange.grpc_status(trailers));
        let end = self.end_of_time();
        let http2 = self.session.req_header().version == Version::HTTP_2;
        match trailers {
            Some(trailers) if http2 => {
                let allowed = trailers.iter().filter(|(name, _)| may_follow(name.as_str().as_bytes()));
                let trailers = allowed.map(|(name, value)| (name.clone(), value.clone())).collect();
                let session = self.session.as_downstream_mut();
                written(timeout_at(end.into(), session.write_response_trailers(trailers)).await)
            }
            _ => written(timeout_at(end.into(), self.session.write_response_body(None, true)).await),
        }
    }
}

/// What became of something written to the client.
fn written(sent: Result<pingora_core::Result<()>, tokio::time::error::Elapsed>) -> Result<(), Failed> {
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let failure = match error.etype {
                pingora_core::ErrorType::WriteTimedout => Failure::ClientStalled,
                _ => Failure::ClientGone,
            };
            Err(Failed::of_client(failure, classify::detail(&error)))
        }
        Err(_) => Err(Failed::of_client(
            Failure::RequestDeadline,
            "the client takes the response too slowly".to_owned(),
        )),
    }
}

impl Upload {
    /// Asks for as much as there is, or says that there is no more.
    fn ask_for_room(&mut self) {
        if !self.pending.is_empty() {
            self.sink.reserve_capacity(self.pending.len());
        } else if self.read && !self.over {
            // Where it fails, the endpoint takes no more: its response says why.
            let _ = self.sink.send_data(Bytes::new(), true);
            self.over = true;
        }
    }

    fn send(&mut self, room: Option<usize>) {
        let Some(room) = room else {
            self.pending.clear();
            self.over = true;
            return;
        };
        let piece = self.pending.split_to(room.min(self.pending.len()));
        let last = self.read && self.pending.is_empty();
        self.over = self.sink.send_data(piece, last).is_err() || last;
        if self.over {
            self.pending.clear();
        } else {
            self.ask_for_room();
        }
    }
}
