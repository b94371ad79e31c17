//! Counts the cache lines that workers share: a line that two processors write moves back and forth between them, and
//! each waits for it. Two threads perform each operation of a request in turns under valgrind, which traces all memory
//! accesses; lines that one thread writes and the other one uses are counted, independently of clocks. More lines or
//! writes than in `recorded.tsv` fail. `make sharing` runs it; `cargo bench --bench sharing -- --times` measures what
//! sharing costs on this machine.
//!
//! This program is both the guard, and, when the guard runs it under valgrind, the operations.

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

/// The allocator of the real binary, because the addresses of data depend on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads that perform the same operation.
const WORKERS: usize = 2;

/// Turns before the counted ones, to fill caches and buffers.
const WARM: u32 = 8;
const COUNTED: u32 = 4;

/// Bytes that are added to the environment, which move what is in memory. Allocations of two workers may lie in one cache
/// line by chance; what the code makes them share, they share in every layout.
const LAYOUTS: [usize; 3] = [0, 1000, 2300];

/// A write to this address marks in the trace that a thread begins or ends its counted turns.
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

/// Runs all operations, under valgrind.
fn traced() -> ExitCode {
    lackey::introduce((&raw const MARK).addr());
    OPERATIONS.iter().for_each(alternate);
    // Threads that were started end with the process.
    ExitCode::SUCCESS
}

/// Has the workers perform an operation one after the other, so that nothing depends on their speed.
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

/// Does `work` when it is this worker's turn, and waits for the turns of the others.
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
    let done = if std::env::var_os("EVENKEEL_WRITE_EXPECTED").is_some() {
        LAYOUTS.into_iter().try_fold(Vec::new(), count).and_then(|found| Recorded::write(&found))
    } else {
        Recorded::read().and_then(|recorded| compare(&recorded))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts, and keeps for each operation the lesser of what is found and what was found `before`.
fn count(before: Vec<Counted>, layout: usize) -> Result<Vec<Counted>, String> {
    let found = Counted::all(lackey::trace(layout)?);
    Ok(if before.is_empty() { found } else { Counted::lesser(before, found) })
}

/// Counts until nothing is more than recorded, or in all layouts.
fn compare(recorded: &Recorded) -> Result<(), String> {
    let mut found = Vec::new();
    for layout in LAYOUTS {
        found = count(found, layout)?;
        if !recorded.is_exceeded(&found) {
            break;
        }
    }
    judge(recorded, &found)
}

fn skipped(reason: &str) -> ExitCode {
    println!("skipped: {reason}");
    ExitCode::SUCCESS
}

fn judge(recorded: &Recorded, found: &[Counted]) -> Result<(), String> {
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
        return Ok(());
    }
    Err("To accept it: EVENKEEL_WRITE_EXPECTED=1 make sharing; then read the difference, and say why."
        .to_owned())
}
