//! Reads the memory trace of `valgrind --tool=lackey --trace-mem=yes --trace-sched=yes -v`, and finds the cache lines
//! that two threads shared.
//!
//! The traced program writes to one address, the mark, when the part to be examined begins and when it ends.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead};

/// The size of a cache line on all likely processors.
const LINE_BYTES: u64 = 64;

/// The last messages kept, to be shown if the program fails.
const MESSAGES: usize = 20;

/// What one thread did to one cache line.
#[derive(Debug, Clone, Copy)]
struct Access {
    writes: u32,
    /// The first instruction that wrote the line, or, without writes, the first one that read it.
    first: u64,
}

/// The accesses of one thread between two marks, by cache line.
#[derive(Debug, Default)]
struct Window {
    thread: u32,
    lines: BTreeMap<u64, Access>,
}

/// A cache line that one thread wrote and another one read or wrote.
#[derive(Debug, Clone, Copy)]
pub struct SharedLine {
    /// The number of writes of both threads.
    pub writes: u32,
    /// For each thread, the first instruction that wrote the line, or, without writes, the first one that read it.
    pub first: [u64; 2],
}

/// Reads a trace.
#[derive(Debug, Default)]
pub struct Reader {
    /// The address of the mark, once it is known.
    mark: Option<u64>,
    thread: u32,
    instruction: u64,
    open: Option<Window>,
    closed: Vec<Window>,
    /// The program's last messages, the newest first.
    messages: VecDeque<String>,
}

/// How an access is traced.
enum Kind {
    Load,
    /// Or a load and a store in one instruction, because writing needs exclusive ownership of the line in any case.
    Store,
}

impl Reader {
    /// Reads to the end. `mark` is asked for the mark's address until it is known.
    pub fn read(
        mut self,
        mut trace: impl BufRead,
        mut mark: impl FnMut() -> Option<u64>,
    ) -> io::Result<Self> {
        let mut line = Vec::new();
        while trace.read_until(b'\n', &mut line)? > 0 {
            if self.mark.is_none() {
                self.mark = mark();
            }
            // Other messages of valgrind are ignored.
            let _ = self.line(&line);
            line.clear();
        }
        Ok(self)
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        match line {
            [b'I', b' ', rest @ ..] => self.instruction = address(rest)?,
            [b' ', b'L', rest @ ..] => self.access(address(rest)?, Kind::Load),
            [b' ', b'S' | b'M', rest @ ..] => self.access(address(rest)?, Kind::Store),
            [b'-', b'-', rest @ ..] => self.thread = scheduled(rest)?,
            [b'=', b'=', ..] => {}
            message => self.keep_message(String::from_utf8_lossy(message).trim_end().to_owned()),
        }
        Some(())
    }

    fn keep_message(&mut self, message: String) {
        self.messages.truncate(MESSAGES - 1);
        self.messages.push_front(message);
    }

    /// The last lines that the program itself has written.
    pub fn messages(&self) -> String {
        self.messages.iter().rev().cloned().collect::<Vec<_>>().join("\n")
    }

    fn access(&mut self, address: u64, kind: Kind) {
        match (&mut self.open, kind) {
            (_, Kind::Store) if Some(address) == self.mark => self.at_mark(),
            (Some(window), kind) if window.thread == self.thread => {
                let new = Access { writes: 0, first: self.instruction };
                let access = window.lines.entry(address / LINE_BYTES).or_insert(new);
                if let Kind::Store = kind {
                    if access.writes == 0 {
                        access.first = self.instruction;
                    }
                    access.writes += 1;
                }
            }
            _ => {}
        }
    }

    fn at_mark(&mut self) {
        match self.open.take() {
            Some(window) => self.closed.push(window),
            None => self.open = Some(Window { thread: self.thread, ..Window::default() }),
        }
    }

    /// For each pair of consecutive windows, the lines that their threads shared.
    pub fn shared(&self) -> Vec<Vec<SharedLine>> {
        let pairs = self.closed.chunks_exact(2);
        pairs.map(|pair| pair.first().zip(pair.last()).map_or_else(Vec::new, in_common)).collect()
    }
}

/// The lines that one thread wrote and the other one read or wrote.
fn in_common((one, other): (&Window, &Window)) -> Vec<SharedLine> {
    let both = one.lines.iter().filter_map(|(line, access)| Some((access, other.lines.get(line)?)));
    both.filter(|(one, other)| one.writes + other.writes > 0)
        .map(|(one, other)| SharedLine { writes: one.writes + other.writes, first: [one.first, other.first] })
        .collect()
}

/// `  1ffeffe7d8,8`
fn address(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.split(|byte| *byte == b',').next()?;
    let mut address = 0;
    for digit in digits {
        address = address << 4 | u64::from(char::from(*digit).to_digit(16)?);
    }
    Some(address)
}

/// `1234--   SCHED[3]:  acquired lock (VG_(vg_yield))`
fn scheduled(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let (thread, what) = text.split_once("SCHED[")?.1.split_once("]:")?;
    what.trim_start().starts_with("acquired lock").then(|| thread.parse().ok())?
}
