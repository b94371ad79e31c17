//! Counts the instructions of each operation on a request's way with callgrind, independently of clocks and other load.
//! An operation that takes over 5 % more than `recorded.tsv` says fails. `make instructions` runs it.
//!
//! This program is both the guard, and, when the guard runs it under callgrind, the operation.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what is found is to be seen")]
#![expect(clippy::panic, reason = "what is measured is written here: it works, or this is to be mended")]

mod callgrind;
mod operations;
mod recorded;
mod traffic;

use std::hint::black_box;
use std::process::ExitCode;

use callgrind::Toolchain;
use operations::{OPERATIONS, Operation};
use recorded::{Recorded, Verdict};

/// Turns before the counted ones, to fill caches and buffers.
const WARM: u64 = 20;
const COUNTED: u64 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, name] if flag == "--operation" => run(name),
        _ => guard(),
    }
}

/// Runs one operation, under callgrind.
fn run(name: &str) -> ExitCode {
    let Some(operation) = OPERATIONS.iter().find(|operation| operation.name == name) else {
        eprintln!("no operation is called {name:?}");
        return ExitCode::FAILURE;
    };
    let mut once = (operation.prepare)();
    (0..WARM).for_each(|_| once());
    counted(&mut once);
    // Threads that were started end with the process.
    ExitCode::SUCCESS
}

/// Callgrind counts while this function runs, which it knows by name.
#[inline(never)]
fn counted(once: &mut dyn FnMut()) {
    for _ in 0..COUNTED {
        black_box(&mut *once)();
    }
}

fn guard() -> ExitCode {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => return skipped(&reason),
    };
    let write = std::env::var_os("EVENKEEL_WRITE_EXPECTED").is_some();
    let recorded = match Recorded::read() {
        Ok(recorded) => recorded,
        Err(_) if write => Recorded::default(),
        Err(error) => {
            eprintln!("{}: {error}", recorded::FILE);
            return ExitCode::FAILURE;
        }
    };
    if !write && recorded.taken_with != toolchain.to_string() {
        return skipped(&format!("recorded with {}, but here is {toolchain}", recorded.taken_with));
    }
    let found: Vec<(&Operation, u64)> = match OPERATIONS.iter().map(count).collect() {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if write {
        return Recorded::write(&toolchain, &found);
    }
    judge(&recorded, &found)
}

fn count(operation: &Operation) -> Result<(&Operation, u64), String> {
    Ok((operation, callgrind::count(operation.name)? / COUNTED))
}

fn judge(recorded: &Recorded, found: &[(&Operation, u64)]) -> ExitCode {
    let verdicts: Vec<Verdict> =
        found.iter().map(|(operation, now)| recorded.judge(operation.name, *now)).collect();
    for verdict in &verdicts {
        println!("{verdict}");
    }
    let gone = recorded.without(found);
    for name in &gone {
        println!("{name}: recorded, but counted no more");
    }
    let failed = verdicts.iter().filter(|verdict| verdict.is_failure()).count() + gone.len();
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "To accept it: EVENKEEL_WRITE_EXPECTED=1 make instructions; then read the difference, and say why."
    );
    ExitCode::FAILURE
}

fn skipped(reason: &str) -> ExitCode {
    println!("skipped: {reason}");
    ExitCode::SUCCESS
}
