//! Arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

use evenkeel::cli::Cli;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(Cli::of_process().execute() as u8)
}
