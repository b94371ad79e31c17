//! Tells errors of `accept` that concern one connection from those that would repeat.

use std::io::{self, ErrorKind};

/// Whether the error concerns only the connection to be accepted (its client or its network has gone), so that the next
/// one can be accepted at once. Anything else (no descriptors, no memory, an unknown error) would repeat.
pub fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(libc::EPROTO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_one(code: i32) -> bool {
        is_of_one_connection(&io::Error::from_raw_os_error(code))
    }

    #[test]
    fn a_lack_of_anything_is_no_matter_of_one_connection() {
        for code in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            // Rules of the system may forbid every connection, and leave them in the queue.
            libc::EPERM,
            libc::EACCES,
            libc::EINVAL,
            libc::EBADF,
            libc::EOPNOTSUPP,
        ] {
            assert!(!is_one(code), "{}", io::Error::from_raw_os_error(code));
        }
    }

    #[test]
    fn a_client_that_has_gone_is() {
        for code in [
            libc::ECONNABORTED,
            libc::ECONNRESET,
            libc::EPROTO,
            libc::EINTR,
            libc::ENETDOWN,
            libc::ENETUNREACH,
            libc::EHOSTUNREACH,
        ] {
            assert!(is_one(code), "{}", io::Error::from_raw_os_error(code));
        }
    }
}
