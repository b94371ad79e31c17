//! The proxy under test: a process and its successors.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::admin::{self, AdminError};
use super::folder::Folder;
use super::resolver::Resolver;

/// The interval of polling.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time for a start, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often to poll for the end of killed processes.
const KILL_POLLS_MAX: usize = 200;

/// The end of a process whose exit code is not known.
pub(super) const GONE: &str = "it is not there any more";

/// The process that listens, and all processes of its group. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Subject {
    pid: Pid,
    /// The process group of the first process and of all that descend from it.
    group: Pid,
}

/// Why there is no proxy to go on with.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    #[error("the proxy cannot be started: {0}")]
    Spawn(io::Error),
    #[error("its files cannot be written: {0}")]
    Files(io::Error),
    #[error("an endpoint cannot listen again: {0}")]
    Endpoint(io::Error),
    #[error("the proxy ended: {0}")]
    Ended(String),
    #[error("the proxy was not ready within {} s", START_LIMIT.as_secs())]
    NotReady,
    #[error("the proxy did not end within {0} s")]
    DoesNotEnd(u64),
    #[error(transparent)]
    Admin(#[from] AdminError),
}

// === impl Subject ===

impl Subject {
    /// Starts the proxy and waits until it is ready.
    pub(super) async fn start(folder: &Folder, resolver: Option<&Resolver>) -> Result<Self, SubjectError> {
        let subject = Self::spawn(folder, resolver).map_err(SubjectError::Spawn)?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(how) = ended(subject.pid) {
                return Err(SubjectError::Ended(how));
            }
            if let Ok(status) = admin::status(folder).await
                && status.is_ready()
                && status.pid == subject.pid()
            {
                return Ok(subject);
            }
            if Instant::now() > deadline {
                return Err(SubjectError::NotReady);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn spawn(folder: &Folder, resolver: Option<&Resolver>) -> io::Result<Self> {
        // Successors whose parent has ended become this process's children, so that their exit codes can be read.
        nix::sys::prctl::set_child_subreaper(true)?;
        let log = File::options().create(true).append(true).open(folder.log())?;
        let command = resolver.map_or_else(|| Command::new(folder.binary()), |with| with.run(folder));
        let child = { command }
            .args(["run", "-c"])
            .arg(folder.config())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this process, which then ends the proxy itself.
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        Ok(Self { pid, group: pid })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Makes another process the subject, after an upgrade.
    pub(super) fn set_pid(&mut self, pid: u32) {
        if let Ok(pid) = i32::try_from(pid) {
            self.pid = Pid::from_raw(pid);
        }
    }

    /// How the process ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        ended(self.pid)
    }

    pub(super) fn terminate(&self) {
        self.signal(self.pid(), Signal::SIGTERM);
    }

    /// Signals all processes of the group, as Ctrl-C and `kill $(pidof evenkeel)` do.
    pub(super) fn signal_all(&self, signal: Signal) {
        self.all().into_iter().for_each(|pid| self.signal(pid, signal));
    }

    /// Signals one process of the group.
    pub(super) fn signal(&self, pid: u32, signal: Signal) {
        if let Ok(raw) = i32::try_from(pid)
            && runs_in(pid, self.group)
        {
            let _ = kill(Pid::from_raw(raw), signal);
        }
    }

    /// Waits for the end of a process; returns how it ended.
    pub(super) async fn wait_for_exit(pid: u32, limit: Duration) -> Result<String, SubjectError> {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        let deadline = Instant::now() + limit;
        loop {
            if let Some(how) = ended(pid) {
                return Ok(how);
            }
            if Instant::now() > deadline {
                return Err(SubjectError::DoesNotEnd(limit.as_secs()));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// All running processes of the group but the subject.
    pub(super) fn others(&self) -> Vec<u32> {
        self.all().into_iter().filter(|pid| *pid != self.pid()).collect()
    }

    /// All running processes of the group.
    pub(super) fn all(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| runs_in(*pid, self.group)).collect()
    }

    /// Resident memory in KiB.
    pub(super) fn memory_kib(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for _ in 0..KILL_POLLS_MAX {
            // While a process of the group is this one's child, no other group can have the group's number.
            match waitpid(Pid::from_raw(-self.group.as_raw()), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {
                    let _ = killpg(self.group, Signal::SIGKILL);
                    std::thread::sleep(POLL_INTERVAL);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// How a process ended; `None` while it runs.
fn ended(pid: Pid) -> Option<String> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(format!("exit code {code}")),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(signal.to_string()),
        Ok(_) => None,
        // The process is not this one's child, or not yet, or no longer.
        Err(_) => (kill(pid, None) == Err(Errno::ESRCH)).then(|| GONE.to_owned()),
    }
}

/// Whether a process belongs to a group, and has not ended.
fn runs_in(pid: u32, group: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The fields after the name, which may contain anything, are state, parent and group.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let mut fields = rest.split(' ');
    let state = fields.next();
    state != Some("Z") && fields.nth(1).is_some_and(|field| field == group.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_in_its_group() {
        let (own, group) = (std::process::id(), nix::unistd::getpgrp());
        assert!(runs_in(own, group));
        assert!(!runs_in(own, Pid::from_raw(group.as_raw() + 1)));
        assert!(!runs_in(u32::MAX, group), "nobody");
    }
}
