//! Arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use evenkeel::cli::Cli;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().execute() as u8)
}
