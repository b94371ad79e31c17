//! An access log whose reader reads nothing: the writer is stuck and neither sleeps nor rests, so the cost of a line
//! does not depend on its time.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use evenkeel::config::{AccessFormat, AccessLog, LogOutput};
use evenkeel::telemetry::{Telemetry, access};
use nix::sys::stat::Mode;

use super::WORKERS;
use super::traffic::{self, PLAIN, Times};

/// Lines that the queue holds: more than are logged here.
const QUEUE: usize = 8192;

/// Enough lines to give the queue a capacity that does not grow while a few more are counted.
const LINES: u32 = 40;

pub fn stuck_telemetry() -> Telemetry {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
    let config = AccessLog {
        output: LogOutput::File(path.clone()),
        format: AccessFormat::Json,
        queue: QUEUE,
        options: None,
    };
    let log = access::AccessLog::start(&config, WORKERS).expect("it can always be opened");
    let mut pipe = OpenOptions::new();
    let mut pipe = pipe.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a pipe");
    while pipe.write(&[b'\n'; 4096]).is_ok() {}
    log.worker().log(traffic::named(&traffic::record(PLAIN)), Times::new().later());
    assert!(!log.flush(Duration::from_millis(100)), "nobody reads it");
    Telemetry::new(log, SystemTime::UNIX_EPOCH)
}

/// Grows the queue that the next worker will get: logs some lines to it, and gives it back.
pub fn grow_queue(telemetry: &Telemetry) {
    let (log, record, now) = (telemetry.access_log.worker(), traffic::record(PLAIN), Times::new().later());
    (0..LINES).for_each(|_| log.log(traffic::named(&record), now));
}
