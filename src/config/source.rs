//! The text of a config file, and positions in it.

use std::fmt;

/// Bytes `start..end` of a [`Source`]; both lie on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The text of a file, without a byte order mark, and its name in errors.
#[derive(Clone, Default)]
pub(crate) struct Source {
    name: String,
    text: String,
    /// The offset of each line.
    line_starts: Vec<usize>,
    /// How many characters begin before each multiple of [`STEP`] bytes, so that no column is counted from the start of
    /// its line: a file may be one line.
    chars_before: Vec<usize>,
}

const STEP: usize = 1024;

/// Omits the text, which may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Source {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let chars_before = std::iter::once(0)
            .chain(text.as_bytes().chunks_exact(STEP).scan(0, |chars, step| {
                *chars += starts(step);
                Some(*chars)
            }))
            .collect();
        Source { name: name.to_owned(), text, line_starts, chars_before }
    }

    /// Replaces the text by one whose characters have the same lengths.
    pub(crate) fn with_text(self, text: String) -> Source {
        Source { text, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// The number of a byte's line, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Line and column of a byte, both counted from 1, columns in characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        (
            line,
            self.chars_before(offset.min(self.text.len())) - self.chars_before(self.line_starts[line - 1])
                + 1,
        )
    }

    /// The offset of a line and column.
    pub(crate) fn offset(&self, line: usize, column: usize) -> usize {
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let wanted = self.chars_before(start) + column.saturating_sub(1);
        let step = self.chars_before.partition_point(|chars| *chars <= wanted).saturating_sub(1);
        let missing = wanted - self.chars_before[step];
        let mut begun = self.text.bytes().enumerate().skip(step * STEP).filter(|(_, byte)| is_start(*byte));
        begun.nth(missing).map_or(self.text.len(), |(at, _)| at)
    }

    /// How many characters begin before a byte.
    fn chars_before(&self, offset: usize) -> usize {
        let step = offset / STEP;
        self.chars_before[step] + starts(&self.text.as_bytes()[step * STEP..offset])
    }
}

fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| is_start(**byte)).count()
}

/// Whether a character begins with this byte of UTF-8.
fn is_start(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_both_ways() {
        let mut text = "\u{fc}a\r\n\n\u{20ac}b\u{1f600}".to_owned();
        text.push_str(&"\u{fc}x\u{20ac}".repeat(STEP));
        text.push('\n');
        text.push_str(&"y".repeat(3 * STEP));
        let source = Source::new("x", &text);
        let (mut line, mut column) = (1, 1);
        for (at, letter) in text.char_indices() {
            assert_eq!(source.position(at), (line, column), "{at}");
            assert_eq!(source.offset(line, column), at, "{line}:{column}");
            (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        assert_eq!(source.position(text.len()), (line, column));
        assert_eq!(source.offset(line, column), text.len());
        assert_eq!((source.offset(line, 1_000_000), source.offset(line + 7, 1)), (text.len(), text.len()));
    }
}
