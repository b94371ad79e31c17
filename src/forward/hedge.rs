//! A second attempt beside the first, for a request without a body: from when it is due to its response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep_until, timeout};

use super::attempt::INTERIM_MAX;
use super::kept::Kept;
use super::{ClientStream, open};
use crate::body::{Transfer, TransferError};
use crate::endpoint::EndpointStream;
use crate::exchange::{Exchange, Failed, Failure, ResponseScope};
use crate::message::{Framing, RequestFields, ResponseHead};

/// The second attempt, as far as it has come.
pub enum Hedge<E: EndpointStream> {
    /// By a timer of the runtime: it is due sooner than the clock of deadlines ticks.
    Due(Pin<Box<Sleep>>),
    Connecting(Connects<E>),
    Sent {
        endpoint: E,
        upload: Transfer,
        interim: usize,
    },
}

type Connects<E> = Pin<Box<dyn Future<Output = Result<<E as EndpointStream>::Carrier, Failed>>>>;

/// What has become of a second attempt.
pub enum HedgeEvent {
    /// A response has arrived that goes to the client.
    Head,
    /// It was not begun, or has failed.
    Over,
}

impl<E: EndpointStream> Hedge<E> {
    /// `None`: the request gets none.
    pub fn of(client: &impl ClientStream, exchange: &Exchange) -> Option<Box<Self>> {
        let due = exchange.hedge_due().filter(|_| client.request().framing() == Framing::None)?;
        Some(Box::new(Self::Due(Box::pin(sleep_until(due.into())))))
    }

    /// Whether its request has gone to an endpoint.
    pub fn is_sent(&self) -> bool {
        matches!(self, Self::Sent { .. })
    }

    pub fn into_stream(self) -> Option<(E, Transfer)> {
        match self {
            Self::Sent { endpoint, upload, .. } => Some((endpoint, upload)),
            Self::Due(_) | Self::Connecting(_) => None,
        }
    }

    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut impl ClientStream,
        exchange: &mut Exchange,
        scope: &Arc<ResponseScope>,
    ) -> Poll<HedgeEvent> {
        let failed = match ready!(self.poll_head(context, client, exchange, scope)) {
            Ok(event) => return Poll::Ready(event),
            Err(failed) => failed,
        };
        exchange.switch_attempts();
        exchange.fails_beside(failed.failure, failed.detail.as_deref(), failed.stale, client.tick());
        Poll::Ready(HedgeEvent::Over)
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        client: &mut impl ClientStream,
        exchange: &mut Exchange,
        scope: &Arc<ResponseScope>,
    ) -> Poll<Result<HedgeEvent, Failed>> {
        loop {
            match self {
                Self::Due(due) => {
                    ready!(due.as_mut().poll(context));
                    if !exchange.begin_hedge(client.tick()) {
                        return Poll::Ready(Ok(HedgeEvent::Over));
                    }
                    let connects = exchange.beside(|exchange| Self::connect(client, exchange, scope));
                    *self = Self::Connecting(connects?);
                }
                Self::Connecting(connects) => {
                    let carrier = ready!(connects.as_mut().poll(context))?;
                    client.tick();
                    let endpoint = exchange.beside(|exchange| {
                        open::begin(client, exchange, scope, carrier, &mut Kept::default())
                    })?;
                    *self = Self::Sent { endpoint, upload: Transfer::default(), interim: 0 };
                }
                Self::Sent { endpoint, upload, interim } => {
                    // It has no body: what goes up is the rest of the head.
                    if let Poll::Ready(Err(TransferError::Refused(failure))) =
                        upload.poll(context, client, endpoint, &mut |_| Ok(()))
                    {
                        return Poll::Ready(Err(failure.into()));
                    }
                    ready!(endpoint.poll_response(context))?;
                    let response = endpoint.response();
                    let (status, is_interim) = (response.status(), response.is_interim());
                    drop(response);
                    match status {
                        _ if is_interim && *interim == INTERIM_MAX => {
                            let reason = "too many interim responses".to_owned();
                            return Poll::Ready(Err(Failed::new(Failure::BadResponse, reason)));
                        }
                        _ if is_interim => {
                            *interim += 1;
                            endpoint.drop_interim();
                        }
                        500.. => {
                            exchange.switch_attempts();
                            exchange.answers_badly_beside(status, client.tick());
                            return Poll::Ready(Ok(HedgeEvent::Over));
                        }
                        _ => return Poll::Ready(Ok(HedgeEvent::Head)),
                    }
                }
            }
        }
    }

    /// Takes or opens what carries it.
    fn connect(
        client: &impl ClientStream,
        exchange: &Exchange,
        scope: &Arc<ResponseScope>,
    ) -> Result<Connects<E>, Failed> {
        let endpoint = exchange.endpoint().ok_or(Failure::Internal)?.clone();
        let carrier = E::take_carrier(client.worker(), &endpoint, scope.pool(), client.now());
        let (worker, scope, limit) = (client.worker().clone(), scope.clone(), exchange.connect_limit());
        Ok(Box::pin(async move {
            let Some(carrier) = carrier else {
                let connects = E::connect(&worker, &endpoint, scope.pool(), limit);
                return timeout(limit, connects).await.unwrap_or(Err(Failure::ConnectTimeout.into()));
            };
            Ok(carrier)
        }))
    }
}
