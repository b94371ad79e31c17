//! The recorded numbers of shared cache lines, with which new ones are compared.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::io;

use super::counted::Counted;

pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/sharing/recorded.tsv");

const HEADER: &str = "# Cache lines that an operation writes in common with other workers, and how often it writes them.\n\
    # EVENKEEL_WRITE_EXPECTED=1 make sharing writes this anew.\n";

/// Lines and writes by operation.
#[derive(Default)]
pub struct Recorded(BTreeMap<String, (usize, u32)>);

/// An operation, compared with its record.
pub struct Verdict<'a> {
    pub found: &'a Counted,
    before: Option<(usize, u32)>,
}

impl Recorded {
    pub fn read() -> io::Result<Self> {
        let mut recorded = Self::default();
        for line in fs::read_to_string(FILE)?.lines().filter(|line| !line.starts_with('#')) {
            let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("what is {line:?}?"));
            let mut parts = line.split('\t');
            let [Some(name), Some(lines), Some(writes), None] = std::array::from_fn(|_| parts.next()) else {
                return Err(invalid());
            };
            let counts = (lines.parse().map_err(|_| invalid())?, writes.parse().map_err(|_| invalid())?);
            recorded.0.insert(name.to_owned(), counts);
        }
        Ok(recorded)
    }

    pub fn write(found: &[Counted]) -> io::Result<()> {
        let mut text = HEADER.to_owned();
        for counted in found {
            let _ = writeln!(text, "{}\t{}\t{}", counted.operation, counted.lines.len(), counted.writes());
        }
        fs::write(FILE, text)?;
        println!("{FILE}: {} counts written", found.len());
        Ok(())
    }

    pub fn judge<'a>(&self, found: &'a Counted) -> Verdict<'a> {
        Verdict { found, before: self.0.get(found.operation).copied() }
    }

    /// Recorded operations that no longer exist.
    pub fn without<'a>(&'a self, found: &'a [Counted]) -> impl Iterator<Item = &'a str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| found.iter().all(|counted| counted.operation != *name))
    }
}

impl Verdict<'_> {
    fn now(&self) -> (usize, u32) {
        (self.found.lines.len(), self.found.writes())
    }

    pub fn is_failure(&self) -> bool {
        let (lines, writes) = self.now();
        self.before.is_none_or(|before| lines > before.0 || writes > before.1)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, writes) = self.now();
        write!(f, "{}: lines in common {lines}, written {writes} times", self.found.operation)?;
        match self.before {
            None => write!(f, ", but nothing is recorded"),
            Some(before) if before == self.now() => Ok(()),
            Some((lines, writes)) => {
                let what = if self.is_failure() { "more than" } else { "less than" };
                write!(f, ", {what} the {lines} and {writes} recorded")
            }
        }
    }
}
