//! The recorded numbers of shared cache lines, with which new ones are compared.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;

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
    pub fn read() -> Result<Self, String> {
        let mut recorded = Self::default();
        let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let invalid = || format!("{FILE}: what is {line:?}?");
            let mut parts = line.split('\t');
            let [Some(name), Some(lines), Some(writes), None] = std::array::from_fn(|_| parts.next()) else {
                return Err(invalid());
            };
            let counts = (lines.parse().map_err(|_| invalid())?, writes.parse().map_err(|_| invalid())?);
            recorded.0.insert(name.to_owned(), counts);
        }
        Ok(recorded)
    }

    pub fn write(found: &[Counted]) -> Result<(), String> {
        let mut text = HEADER.to_owned();
        for counted in found {
            let (lines, writes) = counted.counts();
            let _ = writeln!(text, "{}\t{lines}\t{writes}", counted.operation);
        }
        fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"))?;
        println!("{FILE}: {} counts written", found.len());
        Ok(())
    }

    pub fn is_exceeded(&self, found: &[Counted]) -> bool {
        found.iter().any(|counted| self.judge(counted).is_failure())
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
    pub fn is_failure(&self) -> bool {
        let (lines, writes) = self.found.counts();
        self.before.is_none_or(|before| lines > before.0 || writes > before.1)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, writes) = self.found.counts();
        write!(f, "{}: lines in common {lines}, written {writes} times", self.found.operation)?;
        match self.before {
            None => write!(f, ", but nothing is recorded"),
            Some(before) if before == self.found.counts() => Ok(()),
            Some((lines, writes)) => {
                let what = if self.is_failure() { "more than" } else { "less than" };
                write!(f, ", {what} the {lines} and {writes} recorded")
            }
        }
    }
}
