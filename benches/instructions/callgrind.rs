//! Counts the instructions of an operation with callgrind, and finds what the counts depend on beside the code.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The tools and the machine, on which counts depend.
pub struct Toolchain {
    rustc: String,
    valgrind: String,
    libc: String,
    machine: &'static str,
}

impl Toolchain {
    /// Finds the versions; an error says what is missing.
    pub fn find() -> Result<Self, String> {
        Ok(Self {
            rustc: first_line("rustc", "--version")?,
            valgrind: first_line("valgrind", "--version")?,
            libc: first_line("getconf", "GNU_LIBC_VERSION")?,
            machine: machine(),
        })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}, {}", self.rustc, self.valgrind, self.libc, self.machine)
    }
}

fn first_line(program: &str, argument: &str) -> Result<String, String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .map_err(|error| format!("{program} cannot be run ({error})"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next().filter(|_| output.status.success()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(format!("{program} {argument} says nothing")),
    }
}

/// The processor, as far as libraries choose their code by it: callgrind hides features beyond AVX2.
#[cfg(target_arch = "x86_64")]
fn machine() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx2") { "x86_64 with AVX2" } else { "x86_64" }
}

#[cfg(not(target_arch = "x86_64"))]
fn machine() -> &'static str {
    std::env::consts::ARCH
}

/// The instructions of all counted turns of an operation.
pub fn count(operation: &str) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let file = folder.path().join("callgrind.out");
    let program = std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*instructions::counted*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--operation", operation])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    total(&file, &output).map_err(|error| format!("{operation}: {error}\n{}", tail(&output.stderr)))
}

/// The last lines of a program's output.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn total(file: &Path, output: &Output) -> Result<u64, String> {
    if !output.status.success() {
        return Err(format!("it ended with {}", output.status));
    }
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.filter(|total| *total > 0).ok_or_else(|| "nothing was counted".to_owned())
}
