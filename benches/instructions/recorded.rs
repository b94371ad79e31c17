//! The recorded counts, with which new ones are compared.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::process::ExitCode;

use super::callgrind::Toolchain;
use super::operations::Operation;

pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/recorded.tsv");

const HEADER: &str =
    "# Instructions an operation takes. EVENKEEL_WRITE_EXPECTED=1 make instructions writes this anew.";
const TAKEN_WITH: &str = "taken with";
/// How much more than recorded is tolerated, in percent.
const TOLERANCE: u64 = 5;

#[derive(Default)]
pub struct Recorded {
    pub taken_with: String,
    counts: BTreeMap<String, u64>,
}

pub struct Verdict<'a> {
    operation: &'a str,
    before: Option<u64>,
    now: u64,
}

impl Recorded {
    pub fn read() -> io::Result<Self> {
        let mut recorded = Self::default();
        for line in fs::read_to_string(FILE)?.lines().filter(|line| !line.starts_with('#')) {
            let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("what is {line:?}?"));
            let (name, value) = line.split_once('\t').ok_or_else(invalid)?;
            if name == TAKEN_WITH {
                value.clone_into(&mut recorded.taken_with);
            } else {
                recorded.counts.insert(name.to_owned(), value.parse().map_err(|_| invalid())?);
            }
        }
        Ok(recorded)
    }

    pub fn write(toolchain: &Toolchain, found: &[(&Operation, u64)]) -> ExitCode {
        let mut text = format!("{HEADER}\n{TAKEN_WITH}\t{toolchain}\n");
        for (operation, count) in found {
            let _ = writeln!(text, "{}\t{count}", operation.name);
        }
        match fs::write(FILE, text) {
            Ok(()) => {
                println!("{FILE}: {} counts written", found.len());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{FILE}: {error}");
                ExitCode::FAILURE
            }
        }
    }

    pub fn judge<'a>(&self, operation: &'a str, now: u64) -> Verdict<'a> {
        Verdict { operation, before: self.counts.get(operation).copied(), now }
    }

    /// Recorded operations that no longer exist.
    pub fn without(&self, found: &[(&Operation, u64)]) -> Vec<&str> {
        let names = self.counts.keys().map(String::as_str);
        names.filter(|name| found.iter().all(|(operation, _)| operation.name != *name)).collect()
    }
}

impl Verdict<'_> {
    pub fn is_failure(&self) -> bool {
        self.before.is_none_or(|before| self.now * 100 > before * (100 + TOLERANCE))
    }

    fn is_cheaper(&self) -> bool {
        self.before.is_some_and(|before| self.now * (100 + TOLERANCE) < before * 100)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, before, now } = self;
        let Some(before) = before else {
            return write!(f, "{operation}: {now} instructions, but none are recorded");
        };
        write!(f, "{operation}: {now} instructions")?;
        if self.is_failure() {
            let more = (now - before) as f64 * 100.0 / *before as f64;
            write!(f, ", {more:.1} % more than the {before} recorded; {TOLERANCE} % are allowed")?;
        } else if self.is_cheaper() {
            write!(f, ", cheaper than the {before} recorded: to be written down")?;
        }
        Ok(())
    }
}
