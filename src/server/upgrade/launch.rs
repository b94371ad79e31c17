//! Starts a successor: the binary that is now at the path by which this process was started, with the same arguments.
//!
//! The successor must not be a child of this process: a service manager wants to be the parent of its main process, and
//! kills it at the next stop otherwise. So an intermediate process starts the successor and exits at once. It runs the
//! binary of this process, whatever is on the disk.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::message::{Message, SUCCESSOR};
use crate::server::fd_passing;

/// The hidden subcommand that makes this binary the intermediate process: its name is like no other, so that nobody who
/// mistypes one is told of it.
pub const COMMAND: &str = "__successor";

/// The running binary, even where another one has taken its place on the disk.
const OURSELVES: &str = "/proc/self/exe";

/// Variables that a service manager has set for the process that it started, and not for a successor.
const OWN_VARIABLES: [&str; 5] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// How long the end of a killed process is waited for; it takes milliseconds.
const END_LIMIT_MS: u16 = 1000;

/// How this process was started.
#[derive(Debug, Clone)]
pub struct Invocation {
    binary: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

/// A process that was started; killed when this is dropped, unless it was detached.
#[must_use = "the process is killed when this is dropped"]
pub struct Launched {
    pub pid: u32,
    process: Option<OwnedFd>,
}

// === impl Invocation ===

impl Invocation {
    /// Call this at the start: relative paths refer to the working directory of that time.
    pub fn of_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().ok_or(io::ErrorKind::NotFound)?;
        let binary = match find(Path::new(&name)) {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?,
        };
        Ok(Self { binary, name, arguments: arguments.collect() })
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Blocks until the successor is started. `theirs` becomes its standard input. `ours` must be nonblocking: the
    /// message of the intermediate process is there once that has exited.
    pub fn launch(&self, ours: impl AsFd, theirs: OwnedFd) -> io::Result<Launched> {
        let mut intermediate = Command::new(OURSELVES);
        intermediate.arg(COMMAND).arg("--").arg(&self.binary).arg(&self.name).args(&self.arguments);
        for name in OWN_VARIABLES {
            intermediate.env_remove(name);
        }
        let mut child = intermediate.stdin(Stdio::from(theirs)).spawn()?;
        // This closes our copy of `theirs`, so that `ours` can see the end of the channel.
        drop(intermediate);
        child.wait()?;
        match Message::parse(&fd_passing::receive(ours)?.0) {
            Some(Message::Launched { pid }) => {
                let process = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
                let process = held(process, pidfd_open(process, PidfdFlags::empty()))?;
                Ok(Launched { pid: pid.unsigned_abs(), process })
            }
            Some(Message::Failed { reason, .. }) => Err(io::Error::other(reason)),
            _ => Err(io::Error::other("it was not started")),
        }
    }
}

/// The pidfd of a process; `None`: it has ended. A process without a pidfd could not be killed later, and is killed
/// now.
fn held(pid: Pid, opened: rustix::io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(process) => Ok(Some(process)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => {
            // By its pid, which no other process can have yet: it has just been started, and has none of our sockets.
            let _ = kill_process(pid, Signal::KILL);
            Err(error.into())
        }
    }
}

/// Finds the binary as a shell would.
fn find(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The intermediate process: starts `command` (a binary, its name, its arguments), and sends its pid, or why there is
/// none.
pub fn start(command: &[OsString]) -> io::Result<()> {
    let [binary, name, arguments @ ..] = command else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut successor = Command::new(binary);
    successor.arg0(name).args(arguments).env(SUCCESSOR, "1");
    let message = match successor.spawn() {
        Ok(child) => Message::Launched { pid: child.id().cast_signed() },
        Err(error) => {
            let reason = format!("{} cannot be run: {error}", Path::new(binary).display());
            Message::Failed { reason, invalid_config: false }
        }
    };
    fd_passing::send(io::stdin(), &message.to_bytes(), &[])
}

// === impl Launched ===

impl Launched {
    /// Lets the process live on, whatever becomes of this one.
    pub fn detach(mut self) {
        self.process = None;
    }

    /// Readable once the process has ended.
    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Launched {
    /// Kills the process and waits for its end: until then it has the listening sockets, too, and clients that enter
    /// their queues after this process has closed its own would be reset.
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        // An error means that it has ended.
        if pidfd_send_signal(&process, Signal::KILL).is_ok() {
            let _ =
                poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::from(END_LIMIT_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_dropped_has_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep is there");
        let pid = Pid::from_child(&child);
        let process = pidfd_open(pid, PidfdFlags::empty()).ok();
        assert!(process.is_some());
        drop(Launched { pid: child.id(), process });
        assert!(child.try_wait().expect("a child").is_some(), "it still runs");
    }

    #[test]
    fn a_process_that_cannot_be_held_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep is there");
        let pid = Pid::from_child(&child);
        assert!(held(pid, Err(Errno::SRCH)).expect("it has ended").is_none());
        assert!(child.try_wait().expect("a child").is_none(), "that it has ended is no reason to kill");
        let error = held(pid, Err(Errno::MFILE)).expect_err("there is no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(!child.wait().expect("a child").success());
    }
}
