//! Normalizes paths, once and before routing: the path that is matched is the path that the endpoint gets.
//!
//! Nearly every endpoint takes `/x/../admin`, `//admin` and `/%61dmin` for `/admin`, so the router must do so too. A
//! path that endpoints interpret differently is refused.
//!
//! | written | becomes |
//! |---|---|
//! | `[` `]` `{` `}` `^` `\|` | escaped, as RFC 3986 wants them |
//! | an escaped letter, digit, `-`, `.`, `_` or `~` | itself (RFC 3986, section 6.2.2.2) |
//! | any other escape | the same in capital letters |
//! | `/./`, `/x/../`, escaped or not | `/` (section 5.2.4) |
//! | `..` above the root | refused, where the RFC would ignore it |
//! | `//` | `/`, unless `merge_slashes` is off |
//! | `%2F` | as `escaped_slashes` says; kept, it is part of its segment |
//! | `%5C` | kept with `escaped_slashes: keep`, and no slash; otherwise refused |
//! | `\`, control bytes, their escapes, `%` without two digits | refused |
//! | `..;x`, `..%2Fx`, `x%5C..` and the like | refused: to some endpoints these are dot segments |
//!
//! Other parameters (`/a;x=1`) are part of their segment. The target `*` and the query are not changed.

use std::borrow::Cow;

use crate::percent;

/// How paths are brought into the form that routes match and endpoints get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// Take `//` for `/`.
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
}

/// What is done with `%2F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// It stays, and does not end its segment.
    Keep,
    /// The request is answered 400.
    Refuse,
    /// It becomes a slash.
    Decode,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    AboveRoot,
    DisguisedDots,
    EscapedSlash,
    Backslash,
    Control,
    BadEscape,
}

impl PathFault {
    /// In words for the operator.
    pub fn reason(self) -> &'static str {
        match self {
            Self::AboveRoot => "the path climbs above its root",
            Self::DisguisedDots => "a segment of the path is a dot segment to some servers",
            Self::EscapedSlash => "escaped slash in the path",
            Self::Backslash => "backslash in the path",
            Self::Control => "control byte in the path",
            Self::BadEscape => "bad percent escape in the path",
        }
    }
}

/// The normal form of a path; borrowed if the path has it already. A text that does not begin with `/` is returned as
/// it is.
pub fn normalize(path: &str, rules: PathRules) -> Result<Cow<'_, str>, PathFault> {
    if !path.starts_with('/') || is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    match escape_raw(path) {
        Cow::Borrowed(path) => normalize_escaped(path, rules),
        Cow::Owned(path) => Ok(Cow::Owned(normalize_escaped(&path, rules)?.into_owned())),
    }
}

fn normalize_escaped(path: &str, rules: PathRules) -> Result<Cow<'_, str>, PathFault> {
    match normalize_escapes(path, rules)? {
        Cow::Borrowed(path) => Ok(remove_dot_segments(path, rules)?.map_or(Cow::Borrowed(path), Cow::Owned)),
        Cow::Owned(path) => Ok(Cow::Owned(remove_dot_segments(&path, rules)?.unwrap_or(path))),
    }
}

/// Whether a path is certainly in its normal form: one pass without branches, so that the compiler can vectorize it.
fn is_plain(path: &[u8]) -> bool {
    let odd = |byte: u8| (byte == b'%') | (byte < b' ') | (byte == 0x7f) | (byte == b'\\') | is_raw(byte);
    let meets = |one: u8, next: u8| (one == b'/') & ((next == b'/') | (next == b'.'));
    let pairs = path.iter().zip(path.get(1..).unwrap_or_default());
    !pairs.fold(false, |found, (one, next)| found | odd(*next) | meets(*one, *next))
}

/// Whether browsers send a byte as it is, where a path has it escaped.
fn is_raw(byte: u8) -> bool {
    // `[`, `]`, `{`, `}`, `|`, and the backslash, which is refused later.
    let brackets = (byte | 0x20).wrapping_sub(b'{') <= 2;
    (brackets & (byte != b'\\')) | (byte == b'^')
}

/// The path with these bytes escaped.
fn escape_raw(path: &str) -> Cow<'_, str> {
    if !path.bytes().any(is_raw) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 16);
    for letter in path.chars() {
        match u8::try_from(letter) {
            Ok(byte) if is_raw(byte) => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(letter),
        }
    }
    Cow::Owned(out)
}

/// How an escape changes.
enum Escape {
    Keep,
    Decode(char),
    Uppercase,
}

/// The path with each escape in its normal form.
fn normalize_escapes(path: &str, rules: PathRules) -> Result<Cow<'_, str>, PathFault> {
    if path.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(PathFault::Control);
    }
    if path.contains('\\') {
        return Err(PathFault::Backslash);
    }
    let escapes =
        || path.split('%').skip(1).map(|piece| piece.split_at_checked(2).ok_or(PathFault::BadEscape));
    let mut changes = false;
    for escape in escapes() {
        changes |= !matches!(normalize_escape(escape?.0, rules)?, Escape::Keep);
    }
    if !changes {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    out.push_str(path.split('%').next().unwrap_or_default());
    for escape in escapes() {
        let (digits, rest) = escape?;
        match normalize_escape(digits, rules)? {
            Escape::Keep => out.extend(["%", digits]),
            Escape::Decode(letter) => out.push(letter),
            Escape::Uppercase => out.extend(["%", &digits.to_ascii_uppercase()]),
        }
        out.push_str(rest);
    }
    Ok(Cow::Owned(out))
}

fn normalize_escape(digits: &str, rules: PathRules) -> Result<Escape, PathFault> {
    let letter = percent::byte(digits.as_bytes()).map(char::from).ok_or(PathFault::BadEscape)?;
    match (letter, rules.escaped_slashes) {
        ('/', EscapedSlashes::Decode) => return Ok(Escape::Decode('/')),
        ('/', EscapedSlashes::Refuse) => return Err(PathFault::EscapedSlash),
        // Decoded it would be a backslash, and no path may hold one.
        ('\\', EscapedSlashes::Decode | EscapedSlashes::Refuse) => return Err(PathFault::Backslash),
        _ if letter.is_ascii_control() => return Err(PathFault::Control),
        _ => {}
    }
    if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | '~') {
        return Ok(Escape::Decode(letter));
    }
    let has_lowercase = digits.bytes().any(|digit| digit.is_ascii_lowercase());
    Ok(if has_lowercase { Escape::Uppercase } else { Escape::Keep })
}

/// The path without dot segments, and without empty segments if `merge_slashes` is on; `None` if it has none of them.
/// Expects escapes in their normal form.
fn remove_dot_segments(path: &str, rules: PathRules) -> Result<Option<String>, PathFault> {
    let mut changes = false;
    for (segment, is_last) in segments(path) {
        if is_ambiguous(segment) {
            return Err(PathFault::DisguisedDots);
        }
        changes |= is_dots(segment) || (segment.is_empty() && rules.merge_slashes && !is_last);
    }
    if !changes {
        return Ok(None);
    }
    let mut out = String::with_capacity(path.len());
    for (segment, is_last) in segments(path) {
        match segment {
            ".." => out.truncate(out.rfind('/').ok_or(PathFault::AboveRoot)?),
            "." => {}
            "" if rules.merge_slashes && !is_last => {}
            segment => out.extend(["/", segment]),
        }
        if is_last && is_dots(segment) {
            out.push('/');
        }
    }
    Ok(Some(out))
}

/// Each segment, and whether it is the last one.
fn segments(path: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut segments = path.split('/').skip(1).peekable();
    std::iter::from_fn(move || {
        let segment = segments.next()?;
        Some((segment, segments.peek().is_none()))
    })
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Whether a segment is or contains a dot segment for a server that first removes parameters, or that takes an escaped
/// slash or backslash for a slash. Plain dot segments are not meant.
fn is_ambiguous(segment: &str) -> bool {
    // Fast path: most segments end here.
    if is_dots(segment) || !segment.contains('.') || !segment.contains(['%', ';']) {
        return false;
    }
    let without_parameters = |part: &str| {
        let end = part.find(';').unwrap_or(part.len()).min(part.find("%3B").unwrap_or(part.len()));
        is_dots(&part[..end])
    };
    segment.split("%2F").flat_map(|part| part.split("%5C")).any(without_parameters)
}

#[cfg(test)]
mod tests;
