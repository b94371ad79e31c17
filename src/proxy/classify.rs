//! Pingora's errors in the words of `exchange`.

use pingora_core::{Error, ErrorSource, ErrorType};

use crate::exchange::Failure;

pub fn connect_error(error: &Error) -> Failure {
    match error.etype {
        ErrorType::ConnectTimedout => Failure::ConnectTimeout,
        _ => Failure::ConnectFailed,
    }
}

/// `begun`: the client has seen the beginning of a response; `expired`: we have cut the connection for its slowness.
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
    match error.etype {
        _ if expired => Failure::ResponseTimeout,
        ErrorType::ReadTimedout => Failure::ResponseTimeout,
        ErrorType::WriteTimedout => Failure::RequestWriteTimeout,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => Failure::EndpointReset,
        _ => Failure::BadResponse,
    }
}

fn client(error: &Error) -> Failure {
    match error.etype {
        ErrorType::ReadTimedout => Failure::RequestTimeout,
        ErrorType::WriteTimedout => Failure::ClientStalled,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => Failure::ClientGone,
        _ => Failure::BadRequest,
    }
}

/// The innermost cause, for the operator.
pub fn detail(error: &Error) -> Option<String> {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some(cause.to_string().trim().to_owned()).filter(|detail| !detail.is_empty())
}
