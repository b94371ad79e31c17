//! The bytes by which a client's connection is known to begin with HTTP/2.

/// The first bytes of a connection that begins with HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection begins with the preface of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preface {
    Whole,
    /// A part of the preface has arrived: more bytes are needed.
    Part,
    /// It begins with something else.
    None,
}

impl Preface {
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Whole
        } else if PREFACE.starts_with(bytes) {
            Self::Part
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_known_by_its_24_bytes() {
        for length in 0..PREFACE.len() {
            assert_eq!(Preface::of(&PREFACE[..length]), Preface::Part);
            let mut other = PREFACE[..=length].to_vec();
            other[length] ^= 1;
            assert_eq!(Preface::of(&other), Preface::None);
        }
        assert_eq!(Preface::of(PREFACE), Preface::Whole);
        assert_eq!(Preface::of(&[PREFACE, b"\0\0\0"].concat()), Preface::Whole);
        assert_eq!(Preface::of(b"POST / HTTP/1.1"), Preface::None);
    }
}
