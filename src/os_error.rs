//! Tells errors that are about this machine from those that are about the other end of a connection.

use std::io;

/// Whether this process, or its machine, had no descriptor, local port or memory for a socket: the endpoint was never
/// asked, and another one may fare no better. If that counted against endpoints, a rush of clients would take all of
/// them out of service at once.
///
/// Local rules that forbid a connection (EPERM, EACCES) and missing routes (ENETUNREACH) are not among them: they are
/// about one address, which stays out of reach until somebody changes them. A unix socket's EAGAIN is a full backlog;
/// see `pool::connect`.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EADDRNOTAVAIL
                | libc::EADDRINUSE
                | libc::ENOSPC
        )
    )
}

/// Whether the process or the system had no descriptor left: closing a connection helps.
pub fn is_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(code: i32) -> bool {
        is_shortage(&io::Error::from_raw_os_error(code))
    }

    #[test]
    fn a_lack_of_anything_local_is_a_shortage() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL] {
            assert!(is_ours(code), "{}", io::Error::from_raw_os_error(code));
        }
    }

    #[test]
    fn what_the_other_end_says_or_one_address_suffers_from_is_none() {
        for code in [
            libc::ECONNREFUSED,
            libc::ECONNRESET,
            libc::ETIMEDOUT,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::EPERM,
            libc::EACCES,
            libc::ENOENT,
            libc::EAGAIN,
        ] {
            assert!(!is_ours(code), "{}", io::Error::from_raw_os_error(code));
        }
        assert!(!is_shortage(&io::Error::other("EMFILE")));
    }
}
