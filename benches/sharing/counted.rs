//! The cache lines that the workers of an operation shared, with the names of the functions if the program has debug
//! info.

use std::path::PathBuf;
use std::process::Command;

use super::lackey::Traced;
use super::operations::OPERATIONS;
use super::trace::SharedLine;
use super::{COUNTED, WORKERS};

pub struct Counted {
    pub operation: &'static str,
    pub lines: Vec<SharedLine>,
    base: u64,
}

impl Counted {
    /// In the order of the operations.
    pub fn all(traced: Traced) -> Vec<Self> {
        let base = traced.base;
        let each = OPERATIONS.iter().zip(traced.operations);
        each.map(|(operation, lines)| Self { operation: operation.name, lines, base }).collect()
    }

    /// For each operation the one with fewer lines, or fewer writes.
    pub fn lesser(one: Vec<Self>, other: Vec<Self>) -> Vec<Self> {
        let each = one.into_iter().zip(other);
        each.map(|(one, other)| if other.counts() < one.counts() { other } else { one }).collect()
    }

    /// How many lines, and how often they are written.
    pub fn counts(&self) -> (usize, u32) {
        (self.lines.len(), self.writes())
    }

    /// How often one worker writes shared lines in one turn, rounded up.
    fn writes(&self) -> u32 {
        let all: u32 = self.lines.iter().map(|line| line.writes).sum();
        all.div_ceil(COUNTED * WORKERS as u32)
    }

    /// For each line, the function that first wrote or read it in each thread, with its inlining callers.
    pub fn users(&self) -> Vec<String> {
        let each = self.lines.iter().map(|line| line.first.map(|address| self.name(address)));
        each.map(|[one, other]| if one == other { one } else { format!("{one}\n    and {other}") }).collect()
    }

    fn name(&self, address: u64) -> String {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::new());
        let output = Command::new("addr2line")
            .args(["--functions", "--demangle", "--inlines", "--pretty-print", "--basenames", "--exe"])
            .arg(program)
            .arg(format!("{:x}", address.wrapping_sub(self.base)))
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let frames = text.unwrap_or_default().replace(" (inlined by) ", "< ");
        frames.lines().collect::<Vec<_>>().join(" ")
    }
}
