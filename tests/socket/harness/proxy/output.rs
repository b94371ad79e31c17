//! Lines that a process writes, kept as they come.

use std::io::{BufRead, BufReader, Read};
use std::process::ChildStdout;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

pub(super) struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    /// Kept open and never read.
    _ignored: Option<ChildStdout>,
}

impl Lines {
    pub(super) fn read(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Lines { lines, reader: Some(reader), _ignored: None }
    }

    pub(super) fn ignore(pipe: ChildStdout) -> Lines {
        Lines { lines: Arc::default(), reader: None, _ignored: Some(pipe) }
    }

    pub(super) fn snapshot(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the last line of a process that has ended.
    pub(super) fn wait_for_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
