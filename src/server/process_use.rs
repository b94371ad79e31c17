//! What the system says of this process: processor time, memory, threads, descriptors.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use crate::telemetry::metrics::ProcessUse;

/// `None`: the system does not say it.
pub fn read() -> Option<ProcessUse> {
    let stat = Stat::of(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(ProcessUse {
        cpu_seconds: stat.ticks as f64 / ticks_per_second as f64,
        threads: stat.threads,
        virtual_bytes: stat.virtual_bytes,
        open_files: open_files()?,
        open_files_max: getrlimit(Resource::RLIMIT_NOFILE).ok()?.0,
    })
}

fn open_files() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    // Since Linux 6.2 the size is their number: looking at a hundred thousand takes long.
    match fs::metadata(FOLDER).ok()?.len() {
        // One of them is the folder's.
        0 => Some((fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// What `/proc/PID/stat` has.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Of the program and of the kernel for it.
    ticks: u64,
    threads: u64,
    virtual_bytes: u64,
}

impl Stat {
    /// The second field is the name in parentheses, which may have any characters.
    fn of(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // The first one here is the third, the state; proc(5) counts from 1.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { ticks: field(14)? + field(15)?, threads: field(20)?, virtual_bytes: field(23)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let text = "1 (a b) c) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20 0 5 0 99 4096 12";
        let expected = Stat { ticks: 730, threads: 5, virtual_bytes: 4096 };
        assert_eq!(Stat::of(text), Some(expected));
        assert_eq!(Stat::of("1 (a"), None);
        assert_eq!(Stat::of("1 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_takes_something() {
        let found = read().expect("Linux says it");
        assert!(found.threads >= 1 && found.virtual_bytes > 0, "{found:?}");
        assert!(found.open_files >= 3 && found.open_files <= found.open_files_max, "{found:?}");
    }
}
