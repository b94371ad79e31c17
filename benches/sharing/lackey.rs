//! Runs this program under valgrind's tool `lackey`, which traces all memory accesses.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use super::trace::{Reader, SharedLine};

/// The argument with which this program is called to be traced.
pub const TRACED: &str = "--traced";

/// The lines that the threads of each operation shared, and the address at which the program was loaded.
pub struct Traced {
    pub operations: Vec<Vec<SharedLine>>,
    pub base: u64,
}

/// What the traced program prints before it begins.
struct Hello {
    mark: u64,
    base: u64,
}

/// `layout`: bytes to add to the environment.
pub fn trace(layout: usize) -> Result<Traced, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--trace-sched=yes", "-v"])
        .arg(program)
        .arg(TRACED)
        .env("EVENKEEL_LAYOUT", "x".repeat(layout))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("valgrind: {error}"))?;
    let (sender, hello) = channel();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let greeting = thread::spawn(move || {
        let hello = read_hello(stdout?)?;
        sender.send(hello.mark).ok()?;
        // The traced program waits for this, so that the trace has no mark before its address is known here.
        acknowledge(stdin?);
        Some(hello.base)
    });
    let trace = BufReader::with_capacity(1 << 20, child.stderr.take().ok_or("no trace")?);
    let read = Reader::default().read(trace, || hello.try_recv().ok()).map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the traced program ended with {status}\n{}", read.messages()));
    }
    let base = greeting.join().ok().flatten().ok_or("the traced program said nothing")?;
    Ok(Traced { operations: read.shared(), base })
}

fn read_hello(stdout: ChildStdout) -> Option<Hello> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).ok()?;
    let (mark, base) = line.trim().split_once(' ')?;
    Some(Hello { mark: hexadecimal(mark)?, base: hexadecimal(base)? })
}

fn acknowledge(mut stdin: ChildStdin) {
    // If the program has ended, its exit status says why.
    let _ = stdin.write_all(b"\n");
}

/// For the traced program: prints the address of the mark, and waits until the reader knows it.
pub fn introduce(mark: usize) {
    println!("{mark:x} {:x}", base());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).expect("an answer");
}

/// The address at which this program is loaded.
fn base() -> u64 {
    let program = std::env::current_exe().expect("this program");
    let program = program.to_string_lossy();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel says");
    let first = maps.lines().find(|line| line.ends_with(&*program)).expect("this program");
    first.split('-').next().and_then(hexadecimal).expect("an address")
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}
