//! The outputs that lines are written to.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Writes to a pipe are atomic up to this size (`PIPE_BUF`): logs that share a pipe do not tear each other's lines.
const PIPE_BYTES: usize = 4096;

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// An open output. Not `std::io::Stdout`, whose lock and buffer other code shares.
pub(super) struct Sink {
    output: Box<dyn Write + Send>,
    pipe: bool,
}

// === impl Output ===

impl Output {
    pub fn is_terminal(&self) -> bool {
        match self {
            Output::Stdout => io::stdout().is_terminal(),
            Output::Stderr => io::stderr().is_terminal(),
            Output::File(_) => false,
        }
    }

    pub(super) fn open(&self) -> io::Result<Sink> {
        let file = match self {
            Output::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            Output::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            Output::File(path) => open_file(path).map_err(|error| named(path, &error))?,
        };
        let pipe = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        Ok(Sink { output: Box::new(file), pipe })
    }

    /// `None` for what cannot be opened anew.
    pub(super) fn reopen(&self) -> io::Result<Option<Sink>> {
        match self {
            Output::Stdout | Output::Stderr => Ok(None),
            Output::File(_) => self.open().map(Some),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    // Opening a named pipe for writing waits for a reader, unless it is opened for reading as well.
    if path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return OpenOptions::new().read(true).write(true).open(path);
    }
    // Not readable by everybody: an access log contains addresses and query strings.
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
}

// === impl Sink ===

impl Sink {
    #[cfg(test)]
    pub(super) fn of(output: impl Write + Send + 'static) -> Sink {
        Sink { output: Box::new(output), pipe: false }
    }

    /// Writes the whole buffer. Returns how much was written, also in case of an error.
    pub(super) fn write(&mut self, buffer: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < buffer.len() {
            let rest = &buffer[written..];
            let piece = if self.pipe { whole_lines(rest) } else { rest };
            match self.output.write(piece) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process may have made a shared output non-blocking: wait here in its place.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10))
                }
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

/// As many whole lines as fit one atomic write, at least one line.
fn whole_lines(buffer: &[u8]) -> &[u8] {
    if buffer.len() <= PIPE_BYTES {
        return buffer;
    }
    let fits = buffer[..PIPE_BYTES].iter().rposition(|&byte| byte == b'\n');
    let end = fits.or_else(|| buffer.iter().position(|&byte| byte == b'\n'));
    end.map_or(buffer, |end| &buffer[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_lines_end() {
        let line = [&[b'x'; 2999][..], b"\n"].concat();
        let buffer = [&line[..], &line, &line].concat();
        assert_eq!(whole_lines(&buffer).len(), 3000);
        let long = [&[b'x'; 9999][..], b"\n", &line].concat();
        assert_eq!(whole_lines(&long).len(), 10_000);
        assert_eq!(whole_lines(&line).len(), 3000);
    }
}
