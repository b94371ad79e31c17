//! Field lines, of a head or of the trailers of a chunked body. Every line ends with CRLF; folded lines are refused.

use super::syntax::{Span, is_blank, is_token, token_length, trim, value_length};
use crate::header_field::is_valid_value;
use crate::part::Part;

/// A section of field lines, parsed as its bytes arrive.
#[derive(Debug, Default)]
pub struct Fields {
    lines: Vec<Line>,
    /// Where the section begins.
    begin: usize,
    /// Where the first incomplete line begins.
    line: usize,
    /// Up to here, that line has been searched for its end.
    searched: usize,
    /// Bit `length % 64` is set if a name of that length has been read.
    lengths: u64,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    name: Span,
    value: Span,
}

/// How large a section may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all lines, with their ends.
    pub bytes: usize,
    pub count: usize,
}

/// What is wrong with a section, in words for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Malformed(&'static str),
    TooLarge(&'static str),
}

/// The next line of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextLine {
    Partial,
    /// Ends before `end`; the next one begins at `next`.
    Complete {
        end: usize,
        next: usize,
    },
    /// Ends with a line feed that no carriage return precedes.
    Bare {
        next: usize,
    },
}

pub(super) const BARE_FEED: &str = "line feed without carriage return";

/// Finds the end of the line that begins at `begin`; the bytes before `searched` are known to hold no line feed.
pub(super) fn next_line(bytes: &[u8], begin: usize, searched: usize) -> NextLine {
    let searched = searched.max(begin);
    let rest = bytes.part(searched..);
    let Some(feed) = memchr::memchr(b'\n', rest).map(|at| searched + at) else {
        return NextLine::Partial;
    };
    match bytes.get(begin..feed).and_then(<[u8]>::last) {
        Some(b'\r') => NextLine::Complete { end: feed - 1, next: feed + 1 },
        _ => NextLine::Bare { next: feed + 1 },
    }
}

impl Fields {
    /// Clears it for a section that begins at `at`.
    pub(super) fn restart(&mut self, at: usize) {
        self.lines.clear();
        (self.begin, self.line, self.searched) = (at, at, at);
        self.lengths = 0;
    }

    /// Parses further lines. `Some`: the section is complete, and its empty line ends here.
    pub(super) fn read(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Fault> {
        loop {
            // Fast path for complete and valid lines; the faults of others are found below. A line that arrives in
            // pieces is not tried again with each piece.
            if self.searched == self.line
                && let Some((line, next)) = good_line(bytes, self.line)
            {
                self.fits(next, bounds)?;
                self.push(line, next);
                continue;
            }
            match next_line(bytes, self.line, self.searched) {
                NextLine::Complete { end, next } if end == self.line => return Ok(Some(next)),
                NextLine::Complete { end, next } => {
                    self.fits(next, bounds)?;
                    let line = line(bytes, self.line, end).map_err(Fault::Malformed)?;
                    self.push(line, next);
                }
                // The limits are checked first everywhere, so that the verdict does not depend on how the bytes arrive.
                NextLine::Bare { next } => {
                    self.fits(next, bounds)?;
                    return Err(Fault::Malformed(BARE_FEED));
                }
                NextLine::Partial => {
                    self.searched = bytes.len();
                    // A lone CR may become the empty line, which does not count.
                    if !matches!(bytes.get(self.line..), None | Some(b"" | b"\r")) {
                        self.fits(bytes.len(), bounds)?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn push(&mut self, line: Line, next: usize) {
        self.lengths |= 1 << ((line.name.end() - line.name.start()) & 63);
        self.lines.push(line);
        (self.line, self.searched) = (next, next);
    }

    /// Checks that one more line, which ends at `end`, is within the limits.
    fn fits(&self, end: usize, bounds: Bounds) -> Result<(), Fault> {
        if self.lines.len() >= bounds.count {
            return Err(Fault::TooLarge("too many fields"));
        }
        if end - self.begin > bounds.bytes {
            return Err(Fault::TooLarge("too many bytes of fields"));
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Where the last parsed line ends.
    pub(super) fn end(&self) -> usize {
        self.line
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Name and value of each field, in order.
    pub fn iter<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        self.lines.iter().map(|line| (line.name.of(bytes), line.value.of(bytes)))
    }

    /// The values of that name, in order.
    pub(super) fn named<'a, 'n>(
        &'a self,
        bytes: &'a [u8],
        name: &'n [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.spans(bytes, name).map(|value| value.of(bytes))
    }

    /// Where the first value of that name is.
    pub(super) fn find(&self, bytes: &[u8], name: &[u8]) -> Option<Span> {
        self.spans(bytes, name).next()
    }

    fn spans<'a, 'n>(&'a self, bytes: &'a [u8], name: &'n [u8]) -> impl Iterator<Item = Span> + use<'a, 'n> {
        // Where no field has a name of that length, there is none of that name.
        let may_have = self.lengths >> (name.len() & 63) & 1 != 0;
        let lines = if may_have { &*self.lines } else { &[] };
        let named = lines.iter().filter(move |line| line.name.of(bytes).eq_ignore_ascii_case(name));
        named.map(|line| line.value)
    }

    /// The lines with the bytes that they lie in.
    pub(super) fn lines<'a>(&'a self, bytes: &'a [u8]) -> Lines<'a> {
        Lines { lines: &self.lines, bytes }
    }

    /// The size of each line, its CRLF included.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        let begins = self.lines.iter().map(|line| line.name.start());
        let ends = begins.clone().skip(1).chain([self.line]);
        begins.zip(ends).map(|(begin, end)| end.saturating_sub(begin))
    }
}

/// The lines of a complete section.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    lines: &'a [Line],
    bytes: &'a [u8],
}

impl Lines<'_> {
    /// Writes the lines for which `keep(name, value)` is true, each as `Name: value`. Adjacent lines that arrived in
    /// this form are copied in one piece.
    pub(super) fn copy_to(self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut piece = 0..0;
        for line in self.lines {
            let (name, value) = (line.name.of(self.bytes), line.value.of(self.bytes));
            if !keep(name, value) {
                continue;
            }
            let (begin, end) = (line.name.start(), line.value.end() + 2);
            if piece.end == begin && line.is_plain(self.bytes) {
                piece.end = end;
                continue;
            }
            out.extend_from_slice(self.bytes.part(piece));
            piece = begin..end;
            if !line.is_plain(self.bytes) {
                for part in [name, b": ", value, b"\r\n"] {
                    out.extend_from_slice(part);
                }
                piece = end..end;
            }
        }
        out.extend_from_slice(self.bytes.part(piece));
    }
}

impl Line {
    /// Whether it is in our normal form: one space before the value, and no blank after it.
    fn is_plain(self, bytes: &[u8]) -> bool {
        self.value.start() == self.name.end() + 2
            && bytes.get(self.name.end() + 1) == Some(&b' ')
            && bytes.get(self.value.end()) == Some(&b'\r')
    }
}

/// Parses a complete and valid line in one pass; also returns where the next line begins.
fn good_line(bytes: &[u8], begin: usize) -> Option<(Line, usize)> {
    let rest = bytes.get(begin..)?;
    let name = token_length(rest);
    let blanks = match rest.get(name..)? {
        [b':', ..] if name == 0 => return None,
        [b':', b' ', next, ..] if !is_blank(*next) => 1,
        [b':', more @ ..] => more.iter().take_while(|byte| is_blank(**byte)).count(),
        _ => return None,
    };
    let value = name + 1 + blanks;
    let end = value + value_length(rest.get(value..)?);
    let [b'\r', b'\n', ..] = rest.get(end..)? else { return None };
    let trailing = rest.get(value..end)?.iter().rev().take_while(|byte| is_blank(**byte)).count();
    let trimmed = end - trailing;
    // An empty value is placed right after the colon, whatever blanks follow.
    let (value, trimmed) = if trimmed == value { (name + 1, name + 1) } else { (value, trimmed) };
    let line =
        Line { name: Span::new(begin, begin + name), value: Span::new(begin + value, begin + trimmed) };
    Some((line, begin + end + 2))
}

fn line(bytes: &[u8], begin: usize, end: usize) -> Result<Line, &'static str> {
    let line = bytes.part(begin..end);
    let name = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    match line.get(name) {
        Some(b':') if name > 0 => {}
        Some(b':') => return Err("field without a name"),
        Some(byte) if is_blank(*byte) && name == 0 => return Err("folded or indented field line"),
        Some(byte) if is_blank(*byte) => return Err("blank before the colon of a field"),
        Some(_) => return Err("bad byte in a field name"),
        None => return Err("field line without a colon"),
    }
    let untrimmed = line.part(name + 1..);
    if !is_valid_value(untrimmed) {
        return Err(value_fault(untrimmed));
    }
    let value = trim(untrimmed);
    let lead = untrimmed.iter().take_while(|byte| is_blank(**byte)).count();
    let lead = if value.is_empty() { 0 } else { lead };
    let begin_of_value = begin + name + 1 + lead;
    Ok(Line {
        name: Span::new(begin, begin + name),
        value: Span::new(begin_of_value, begin_of_value + value.len()),
    })
}

fn value_fault(value: &[u8]) -> &'static str {
    match value.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
        Some(0) => "NUL in a field value",
        Some(b'\r') => "carriage return without line feed",
        _ => "control byte in a field value",
    }
}
