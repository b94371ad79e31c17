//! The line that begins a chunk: its size and extensions.

use super::super::syntax::{is_blank, is_token};
use super::{ChunkError, EXTENSION_MAX, Leniency};

const DIGITS_MAX: u8 = 16;

/// Reads one line, byte by byte, as it arrives.
#[derive(Debug, Default)]
pub(super) struct SizeLine {
    place: Place,
    size: u64,
    digits: u8,
    /// Bytes after the size.
    extension: usize,
}

/// Where in the line the next byte stands.
///
/// ```text
/// chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    /// Blanks that a `;` must follow.
    BeforeSemicolon,
    /// After a `;`.
    BeforeName,
    Name,
    /// Blanks after a name: `=` or `;` must follow.
    AfterName,
    /// After a `=`.
    BeforeValue,
    Token,
    Quoted,
    /// After a backslash within quotes.
    Escaped,
    AfterQuoted,
    /// After the CR: a line feed must follow.
    Feed,
}

impl SizeLine {
    /// Returns how many bytes it has read, and the size once the line is complete.
    pub(super) fn read(
        &mut self,
        input: &[u8],
        leniency: Leniency,
    ) -> Result<(usize, Option<u64>), ChunkError> {
        for (at, byte) in input.iter().enumerate() {
            if self.place == Place::Feed {
                return if *byte == b'\n' { Ok((at + 1, Some(self.size))) } else { Err(ChunkError::LineEnd) };
            }
            if self.place == Place::Size && self.digit(*byte)? {
                continue;
            }
            self.place = self.behind_size(*byte, leniency)?;
        }
        Ok((input.len(), None))
    }

    /// Adds a digit to the size; `false`: the byte is no digit.
    fn digit(&mut self, byte: u8) -> Result<bool, ChunkError> {
        let Some(digit) = char::from(byte).to_digit(16) else { return Ok(false) };
        if self.digits == DIGITS_MAX {
            return Err(ChunkError::SizeTooLarge);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        // Many implementations use signed integers.
        if i64::try_from(self.size).is_err() { Err(ChunkError::SizeTooLarge) } else { Ok(true) }
    }

    fn behind_size(&mut self, byte: u8, leniency: Leniency) -> Result<Place, ChunkError> {
        let place = match (self.place, byte) {
            (Place::Size, _) if self.digits == 0 => return Err(ChunkError::Size),
            (Place::Size | Place::Name | Place::Token | Place::AfterQuoted, b'\r') => return Ok(Place::Feed),
            (Place::BeforeSemicolon, b'\r') if leniency == Leniency::Blanks => return Ok(Place::Feed),
            (_, b'\n') => return Err(ChunkError::LineEnd),
            (place, byte) => extension(place, byte)?,
        };
        self.extension += 1;
        if self.extension > EXTENSION_MAX { Err(ChunkError::ExtensionTooLong) } else { Ok(place) }
    }
}

/// The place after this byte, which is no line end.
fn extension(place: Place, byte: u8) -> Result<Place, ChunkError> {
    use Place::*;
    let next = match (place, byte) {
        (Size | BeforeSemicolon | Name | AfterName | Token | AfterQuoted, b';') => BeforeName,
        (Size | BeforeSemicolon | Token | AfterQuoted, byte) if is_blank(byte) => BeforeSemicolon,
        (Size, _) => return Err(ChunkError::Size),
        (BeforeName | BeforeValue, byte) if is_blank(byte) => place,
        (BeforeName | Name, byte) if is_token(byte) => Name,
        (Name | AfterName, byte) if is_blank(byte) => AfterName,
        (Name | AfterName, b'=') => BeforeValue,
        (BeforeValue, b'"') => Quoted,
        (BeforeValue | Token, byte) if is_token(byte) => Token,
        (Quoted, b'"') => AfterQuoted,
        (Quoted, b'\\') => Escaped,
        (Quoted | Escaped, byte) if byte == b'\t' || !byte.is_ascii_control() => Quoted,
        _ => return Err(ChunkError::Extension),
    };
    Ok(next)
}
