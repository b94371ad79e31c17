//! Reads a log in pieces of whole lines, in memory that is bounded.

use std::io::{self, Read};

/// How much is read at a time, and so the longest line that is read whole.
const CHUNK: usize = 1 << 20;

/// Some whole lines of the log.
pub(super) struct Chunk {
    /// From 0.
    pub number: usize,
    /// The number of its first line, from 1.
    pub first_line: u64,
    pub text: Vec<u8>,
}

pub(super) struct Chunks<R> {
    log: R,
    number: usize,
    next_line: u64,
    /// The beginning of the next line.
    rest: Vec<u8>,
    /// The rest of a line that was too long is passed over.
    passes_over: bool,
    ended: bool,
}

impl<R: Read> Chunks<R> {
    pub fn new(log: R) -> Self {
        Self { log, number: 0, next_line: 1, rest: Vec::new(), passes_over: false, ended: false }
    }

    fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        while !self.ended {
            let mut text = std::mem::take(&mut self.rest);
            self.fill(&mut text)?;
            if self.passes_over {
                match memchr::memchr(b'\n', &text) {
                    None => continue,
                    Some(end) => drop(text.drain(..=end)),
                }
                self.passes_over = false;
            }
            match memchr::memrchr(b'\n', &text) {
                _ if self.ended => {}
                Some(end) => self.rest = text.split_off(end + 1),
                // Its beginning is no line that could be read, and is counted as one.
                None if text.len() >= CHUNK => self.passes_over = true,
                None => {
                    self.rest = text;
                    continue;
                }
            }
            if !text.is_empty() {
                return Ok(Some(self.chunk(text)));
            }
        }
        Ok(None)
    }

    fn fill(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        let wanted = CHUNK.saturating_sub(text.len()) as u64;
        let read = self.log.by_ref().take(wanted).read_to_end(text)?;
        self.ended = (read as u64) < wanted;
        Ok(())
    }

    fn chunk(&mut self, text: Vec<u8>) -> Chunk {
        let chunk = Chunk { number: self.number, first_line: self.next_line, text };
        let lines = memchr::memchr_iter(b'\n', &chunk.text).count() as u64;
        self.number += 1;
        self.next_line += lines + u64::from(self.passes_over);
        chunk
    }
}

impl<R: Read> Iterator for Chunks<R> {
    type Item = io::Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &[u8]) -> Vec<(u64, usize)> {
        let chunks = Chunks::new(log).map(|chunk| chunk.expect("memory can be read"));
        let lines = chunks.flat_map(|chunk| {
            let lines = chunk.text.split(|byte| *byte == b'\n').map(<[u8]>::len).collect::<Vec<_>>();
            (chunk.first_line..).zip(lines).filter(|(_, length)| *length > 0).collect::<Vec<_>>()
        });
        lines.collect()
    }

    #[test]
    fn all_lines_have_their_numbers() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"a\n\nbc\nd"), [(1, 1), (3, 2), (4, 1)]);
        let many: Vec<u8> = (0..300_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        let read = lines(&many);
        assert_eq!(read.len(), 300_000);
        assert_eq!((read[0], read[299_999]), ((1, 1), (300_000, 6)));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let long = vec![b'x'; 3 * CHUNK + 7];
        assert_eq!(lines(&long), [(1, CHUNK)]);
        let log = [b"a\n", &long[..], b"\nb\n", &long[..], b"\nc"].concat();
        let read = lines(&log);
        assert_eq!((read[0], read[2], read[4]), ((1, 1), (3, 1), (5, 1)));
        assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
}
