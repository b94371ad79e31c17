//! The request target: its four forms, and which bytes may stand in it.
//!
//! | bytes | in a path | in a query |
//! |---|---|---|
//! | those of RFC 3986 | as they are | as they are |
//! | `\|` `[` `]` `^` `{` `}` | percent-encoded, with its normal form | as they are |
//! | `` ` `` `\` | refused | as they are |
//! | `"` `<` `>` `#`, blanks, controls, all beyond ASCII | refused | refused |
//!
//! Browsers send the second row unencoded, and the third row in queries only (in a path, `\` becomes `/`); they never
//! send the last row. A query is not changed, because it may be signed. In a path, `%` must be followed by two hex digits
//! other than `00`; escapes in a query are not checked.

use super::super::syntax::{Span, is_path, is_query};
use crate::authority;
use crate::part::Part;

/// A target in its parts, as byte ranges of the head's buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Target {
    /// Of the absolute form; empty otherwise.
    pub(super) authority: Span,
    pub(super) secure: bool,
    /// Empty where an absolute target has none.
    pub(super) path: Span,
    pub(super) query: Option<Span>,
}

impl Target {
    /// `method` decides whether `*` is allowed. CONNECT must have been refused before.
    pub(super) fn read(bytes: &[u8], place: Span, method: &[u8]) -> Result<Self, &'static str> {
        let target = place.of(bytes);
        match target {
            [b'/', ..] => Self::default().rest(bytes, place.start(), place.end()),
            b"*" if method == b"OPTIONS" => Ok(Self { path: place, ..Self::default() }),
            b"*" => Err("target * for a method other than OPTIONS"),
            [] => Err("empty target"),
            _ => Self::absolute(bytes, place, target),
        }
    }

    fn absolute(bytes: &[u8], place: Span, target: &[u8]) -> Result<Self, &'static str> {
        let scheme = |name: &[u8]| target.get(..name.len()).is_some_and(|is| is.eq_ignore_ascii_case(name));
        let (secure, skipped) = match () {
            () if scheme(b"http://") => (false, 7),
            () if scheme(b"https://") => (true, 8),
            () => return Err("target is neither a path nor an http URL"),
        };
        let rest = target.part(skipped..);
        let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (begin, end) = (place.start() + skipped, place.end());
        let place = Span::new(begin, begin + length);
        match place.of(bytes) {
            [] => return Err("no host in the target"),
            named => authority::check(named)?,
        }
        Self { authority: place, secure, ..Self::default() }.rest(bytes, place.end(), end)
    }

    /// Path and query.
    fn rest(mut self, bytes: &[u8], begin: usize, end: usize) -> Result<Self, &'static str> {
        let rest = bytes.part(begin..end);
        let path = memchr::memchr(b'?', rest).unwrap_or(rest.len());
        self.path = Span::new(begin, begin + path);
        self.query = (path < rest.len()).then(|| Span::new(begin + path + 1, end));
        let path = self.path.of(bytes);
        if !path.iter().all(|byte| is_path(*byte)) {
            check(path, is_path, b"|[]^{}")?;
        }
        if !escapes_are_whole(path) {
            return Err("bad percent escape in the path");
        }
        let query = self.query.unwrap_or_default().of(bytes);
        if !query.iter().all(|byte| is_query(*byte)) {
            check(query, is_query, b"|[]^{}`\\")?;
        }
        Ok(self)
    }
}

fn check(part: &[u8], allowed: fn(u8) -> bool, others: &[u8]) -> Result<(), &'static str> {
    match part.iter().find(|byte| !allowed(**byte) && !others.contains(byte)) {
        None => Ok(()),
        Some(0) => Err("NUL in the target"),
        Some(b' ' | b'\t') => Err("blank in the target"),
        Some(b'#') => Err("fragment in the target"),
        Some(byte) if byte.is_ascii_control() => Err("control byte in the target"),
        Some(byte) if !byte.is_ascii() => Err("byte beyond ASCII in the target"),
        Some(_) => Err("unsafe byte in the target"),
    }
}

fn escapes_are_whole(path: &[u8]) -> bool {
    memchr::memchr_iter(b'%', path).all(|at| match path.get(at + 1..at + 3) {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00",
        None => false,
    })
}
