//! Maps Pingora's errors to the failures of `exchange`.

use pingora_core::{Error, ErrorSource, ErrorType};

use crate::exchange::Failure;
use crate::pool::connect::system_error;

pub fn connect_error(error: &Error) -> Failure {
    match error.etype {
        ErrorType::ConnectTimedout => Failure::ConnectTimeout,
        ErrorType::TLSHandshakeFailure => Failure::EndpointTls,
        _ => system_error(error).map_or(Failure::ConnectFailed, Failure::of_connect),
    }
}

/// The most characters of an error's text, which may quote what the other side sent.
const DETAIL_MAX: usize = 300;

/// `begun`: the client has been sent the head of a response; `expired`: our deadline has cut the endpoint's connection.
pub fn error(error: &Error, begun: bool, expired: bool) -> Failure {
    match error.esource {
        ErrorSource::Upstream => endpoint(error, begun, expired),
        ErrorSource::Downstream => client(error),
        ErrorSource::Internal | ErrorSource::Unset => Failure::Internal,
    }
}

fn endpoint(error: &Error, begun: bool, expired: bool) -> Failure {
    if begun {
        return Failure::ResponseCut;
    }
    if let Some(error) = of_http2(error).filter(|_| !expired) {
        return Failure::of_http2(error);
    }
    match error.etype {
        _ if expired => Failure::ResponseTimeout,
        ErrorType::ReadTimedout => Failure::ResponseTimeout,
        ErrorType::WriteTimedout => Failure::RequestWriteTimeout,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => Failure::EndpointReset,
        _ => Failure::BadResponse,
    }
}

/// The codec's own error.
fn of_http2(error: &Error) -> Option<&h2::Error> {
    error.root_cause().downcast_ref()
}

/// Whether the end of a connection that had served requests before says nothing about its endpoint. A stream that is
/// reset or refused does.
pub fn says_nothing(error: &Error) -> bool {
    of_http2(error).is_none_or(|error| error.is_io() || error.is_go_away())
}

pub fn client(error: &Error) -> Failure {
    match error.etype {
        ErrorType::ReadTimedout => Failure::RequestTimeout,
        ErrorType::WriteTimedout => Failure::ClientStalled,
        // Failed writes over HTTP/2 are `H2Error`.
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError | ErrorType::H2Error => {
            Failure::ClientGone
        }
        _ => Failure::BadRequest,
    }
}

/// The innermost cause, for the operator.
pub fn detail(error: &Error) -> Option<String> {
    if let Some(error) = of_http2(error) {
        return Some(format!("HTTP/2: {error}"));
    }
    let mut error = error;
    let cause = loop {
        match &error.cause {
            Some(cause) => match cause.downcast_ref::<Box<Error>>() {
                Some(next) => error = next,
                None => break Some(cause.to_string()),
            },
            None => break error.context.as_ref().map(|context| context.as_str().to_owned()),
        }
    };
    let cause = cause.unwrap_or_else(|| error.etype.as_str().to_owned());
    // Pingora's error for a malformed response quotes all of it, which may contain a client's secrets.
    let told = cause.split("buf: ").next().unwrap_or_default().trim();
    Some(told.chars().take(DETAIL_MAX).collect()).filter(|detail: &String| !detail.is_empty())
}
