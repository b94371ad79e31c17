//! Reads whole files: only regular ones, and up to a limit. A thread that waits for another one can see which file that
//! one hangs on.

use std::cell::RefCell;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

/// Reads a regular file of at most `limit` bytes. Anything else is not even opened: a pipe would block, and opening a
/// device may have effects.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    access(path, || {
        check_regular(&fs::metadata(path)?)?;
        let (file, _) = open_regular(path, 0)?;
        read_open(file, limit)
    })
}

/// Opens a regular file for reading, with more flags of open(2). Never waits for the other end of a pipe, even if one
/// has taken the place of a file that was looked at before.
pub fn open_regular(path: &Path, flags: i32) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | flags).open(path)?;
    let found = file.metadata()?;
    check_regular(&found)?;
    Ok((file, found))
}

/// As [`read`], and also what a shell passes to a command: `/dev/stdin`, or the `/dev/fd/63` of `<(...)`.
pub fn read_or_pipe(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let was_handed = ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|place| path.starts_with(place));
    if was_handed { read_open(File::open(path)?, limit) } else { read(path, limit) }
}

/// Reads all of an open file, of at most `limit` bytes.
pub fn read_open(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // The length is not asked for: that of a pipe is 0, and that of a file may grow.
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it is larger than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn check_regular(found: &Metadata) -> io::Result<()> {
    if found.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory, and only regular files are read",
        ));
    }
    let kind = match found.file_type() {
        found if found.is_file() => return Ok(()),
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    };
    let message = format!("it is {kind}, and only regular files are read");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// The file that a thread reads or writes at the moment, for another thread that waits for it with a time limit.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Option<(PathBuf, Instant)>>>);

thread_local! {
    /// `None`: nothing waits for this thread.
    static PROGRESS: RefCell<Option<Progress>> = const { RefCell::new(None) };
}

/// Notes that this thread reads or writes that file, for as long as `work` takes.
pub fn access<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let progress = PROGRESS.with_borrow(Clone::clone);
    let note = |file| {
        if let Some(Progress(current)) = &progress {
            *current.lock() = file;
        }
    };
    note(Some((path.to_owned(), Instant::now())));
    let done = work();
    note(None);
    done
}

impl Progress {
    /// Notes which files this thread reads and writes in `work`.
    pub fn of<T>(self, work: impl FnOnce() -> T) -> T {
        PROGRESS.with_borrow_mut(|progress| *progress = Some(self));
        let done = work();
        PROGRESS.with_borrow_mut(|progress| *progress = None);
        done
    }

    /// The file that is being read or written, and since when.
    pub fn current(&self) -> Option<(PathBuf, Instant)> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(path: &Path) -> String {
        read(path, 1 << 20).expect_err("refused").to_string()
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("a socket");
        assert!(refusal(&fifo).contains("it is a pipe"));
        assert!(refusal(&folder.path().join("socket")).contains("it is a socket"));
        assert!(refusal(folder.path()).contains("it is a directory"));
        assert!(refusal(Path::new("/dev/zero")).contains("it is a device"));
        let file = folder.path().join("file");
        fs::write(&file, "text").expect("written");
        assert_eq!(read(&file, 4).expect("it is there"), b"text");
        assert_eq!(read(&file, 3).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_pipe_that_takes_the_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        fs::write(place("file"), "text").expect("written");
        nix::unistd::mkfifo(&place("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert!(open_regular(&place("fifo"), 0).is_err());
        let point_to = |target: &str| {
            std::os::unix::fs::symlink(place(target), place("next")).expect("a symlink");
            fs::rename(place("next"), place("path")).expect("renamed");
        };
        point_to("file");
        let path = place("path");
        let reader = std::thread::spawn(move || {
            (0..10_000).filter(|_| read(&path, 4).is_ok_and(|text| text == b"text")).count()
        });
        let begun = Instant::now();
        while !reader.is_finished() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it waits for a writer of the pipe");
            ["fifo", "file"].into_iter().for_each(point_to);
        }
        assert!(reader.join().expect("it ends") > 0);
    }

    #[test]
    fn what_a_thread_accesses_is_seen_by_another() {
        let progress = Progress::default();
        let path = Path::new("/somewhere");
        progress.clone().of(|| {
            assert!(progress.current().is_none());
            let seen = access(path, || progress.current());
            assert_eq!(seen.map(|(path, _)| path).as_deref(), Some(path));
            assert!(progress.current().is_none());
        });
        assert!(access(path, || progress.current()).is_none(), "nobody waits for this thread");
    }
}
