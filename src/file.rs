//! Reads whole files: only regular ones, and up to a limit. A thread that waits for another one can see which file that
//! one hangs on.

use std::cell::RefCell;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

/// Reads a regular file of at most `limit` bytes. Anything else is not even opened: a pipe would block, and opening a
/// device may have effects.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    access(path, || {
        let found = fs::metadata(path)?;
        if !found.is_file() {
            let message = format!("it is {}, and only regular files are read", kind(found.file_type()));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        read_open(File::open(path)?, limit)
    })
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

fn kind(found: FileType) -> &'static str {
    match found {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    }
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
