//! A log whose reader reads nothing: its writer is stuck and neither sleeps nor rests, so what a line costs does not depend
//! on when it is written.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use evenkeel::config::{AccessFormat, AccessLog, LogOutput};
use evenkeel::telemetry::{Telemetry, access};
use nix::sys::stat::Mode;

use super::WORKERS;
use super::traffic::{self, PLAIN, Times};

/// Enough for all lines that are logged here.
const QUEUE: usize = 8192;

/// So many lines have a queue that does not grow while a few more are counted.
const LINES: u32 = 40;

pub fn stuck_telemetry() -> Telemetry {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
    let config =
        AccessLog { output: LogOutput::File(path.clone()), format: AccessFormat::Json, queue: QUEUE };
    let log = access::AccessLog::start(&config, WORKERS).expect("it can always be opened");
    let mut pipe = OpenOptions::new();
    let mut pipe = pipe.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a pipe");
    while pipe.write(&[b'\n'; 4096]).is_ok() {}
    log.worker().log(traffic::named(&traffic::record(PLAIN)), Times::new().later());
    assert!(!log.flush(Duration::from_millis(100)), "nobody reads it");
    Telemetry::new(log, SystemTime::UNIX_EPOCH)
}

/// Gives memory to the queue that the next worker has: this one, which has logged some lines, gives it back.
pub fn give_memory(telemetry: &Telemetry) {
    let (log, record, now) = (telemetry.access_log.worker(), traffic::record(PLAIN), Times::new().later());
    (0..LINES).for_each(|_| log.log(traffic::named(&record), now));
}
