//! What workers write in common: a cache line that two processors write goes to and fro between them, and each waits for
//! it. For each operation of a request two threads do it in turns under valgrind, which writes down all accesses to memory;
//! lines that one of them writes and the other one uses are counted. No clock has a say in it. More of them than
//! `recorded.tsv` has fails. `make sharing` runs it; `cargo bench --bench sharing -- --times` measures what sharing costs on
//! this machine.
//!
//! This program is both: the guard, and under valgrind, called again by it, the operations.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what is found is to be seen")]
#![expect(clippy::panic, reason = "what is measured is written here: it works, or this is to be mended")]

mod counted;
mod lackey;
mod operations;
mod recorded;
mod requests;
mod stuck;
mod times;
mod trace;
#[path = "../instructions/traffic.rs"]
#[expect(dead_code, reason = "what instructions are counted for needs more of it")]
mod traffic;

use std::process::{Command, ExitCode};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use counted::Counted;
use evenkeel::sharded_counter::use_own_shard;
use operations::{OPERATIONS, Operation, Work};
use recorded::{Recorded, Verdict};
use tokio::task::LocalSet;

/// Those of the process have it: where things are in memory depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads that do the same.
const WORKERS: usize = 2;

/// Before anything is counted, so that what is made once and kept is there.
const WARM: u32 = 8;
const COUNTED: u32 = 4;

/// Where this is written to, the trace tells that a thread begins or ends what is counted.
static MARK: AtomicU32 = AtomicU32::new(0);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).find(|argument| *argument != "--bench") {
        Some(lackey::TRACED) => traced(),
        Some("--times") => {
            times::lives();
            times::transfers();
            ExitCode::SUCCESS
        }
        _ => guard(),
    }
}

/// What valgrind sees.
fn traced() -> ExitCode {
    lackey::introduce((&raw const MARK).addr());
    OPERATIONS.iter().for_each(alternate);
    // What else was started ends with the process.
    ExitCode::SUCCESS
}

/// Workers do it one after the other: nothing depends on which is faster.
fn alternate(operation: &Operation) {
    let (for_workers, turn) = ((operation.prepare)(), Barrier::new(WORKERS));
    thread::scope(|scope| {
        for index in 0..WORKERS {
            let (for_workers, turn) = (&for_workers, &turn);
            scope.spawn(move || {
                use_own_shard(index);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let work = async {
                    let mut once = for_workers();
                    in_turns(index, turn, async || repeat(WARM, &mut once).await).await;
                    in_turns(index, turn, async || counted(&mut once).await).await;
                };
                LocalSet::new().block_on(&runtime.expect("a runtime"), work);
            });
        }
    });
}

/// Does it when it is this worker's turn, and waits for those of the others.
async fn in_turns(index: usize, turn: &Barrier, mut work: impl AsyncFnMut()) {
    for of in 0..WORKERS {
        if of == index {
            work().await;
        }
        turn.wait();
    }
}

async fn repeat(times: u32, once: &mut Work) {
    for _ in 0..times {
        once().await;
    }
}

async fn counted(once: &mut Work) {
    MARK.fetch_add(1, SeqCst);
    repeat(COUNTED, once).await;
    MARK.fetch_add(1, SeqCst);
}

fn guard() -> ExitCode {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        return skipped(&format!("valgrind cannot be run ({error})"));
    }
    if cfg!(not(target_arch = "x86_64")) {
        return skipped("recorded on x86_64, where a count is written by one instruction");
    }
    let found = match lackey::trace() {
        Ok(traced) => Counted::all(traced),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let done = if std::env::var_os("EVENKEEL_WRITE_EXPECTED").is_some() {
        Recorded::write(&found).map(|()| ExitCode::SUCCESS)
    } else {
        Recorded::read().map(|recorded| judge(&recorded, &found))
    };
    done.unwrap_or_else(|error| {
        eprintln!("{}: {error}", recorded::FILE);
        ExitCode::FAILURE
    })
}

fn skipped(reason: &str) -> ExitCode {
    println!("skipped: {reason}");
    ExitCode::SUCCESS
}

fn judge(recorded: &Recorded, found: &[Counted]) -> ExitCode {
    let verdicts: Vec<Verdict> = found.iter().map(|counted| recorded.judge(counted)).collect();
    for verdict in &verdicts {
        println!("{verdict}");
        if verdict.is_failure() {
            verdict.found.users().iter().for_each(|user| println!("  {user}"));
        }
    }
    let gone: Vec<&str> = recorded.without(found).collect();
    gone.iter().for_each(|name| println!("{name}: recorded, but counted no more"));
    if gone.is_empty() && !verdicts.iter().any(Verdict::is_failure) && found.len() == OPERATIONS.len() {
        return ExitCode::SUCCESS;
    }
    eprintln!("To accept it: EVENKEEL_WRITE_EXPECTED=1 make sharing; then read the difference, and say why.");
    ExitCode::FAILURE
}
