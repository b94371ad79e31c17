//! A bar on the terminal that shows how far a long command is.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use crate::human;
use crate::replay::Progress;

const WIDTH: u64 = 30;

/// Removes the line that the cursor is in (ECMA-48, section 8.3.41).
const CLEAR: &str = "\r\x1b[K";

/// Shown on standard error, and only where that is a terminal.
pub(super) struct ProgressBar {
    /// In bytes; `None`: not known.
    size: Option<u64>,
    is_terminal: bool,
    is_shown: bool,
}

impl ProgressBar {
    pub fn new(size: Option<u64>) -> Self {
        Self { size, is_terminal: io::stderr().is_terminal(), is_shown: false }
    }

    pub fn show(&mut self, progress: Progress) {
        if self.is_terminal {
            self.is_shown = true;
            write(&format!("{CLEAR}{}", text(progress, self.size)));
        }
    }

    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            write(CLEAR);
        }
    }
}

fn write(text: &str) {
    let mut terminal = io::stderr();
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

/// `[#########                     ]  30 %  300,000 requests`
fn text(progress: Progress, size: Option<u64>) -> String {
    let mut out = String::new();
    if let Some(size) = size {
        let done = progress.bytes.min(size);
        let part = |of: u64| (u128::from(done) * u128::from(of) / u128::from(size.max(1))) as usize;
        // Writing to a `String` cannot fail.
        let _ = write!(out, "[{:<1$}] {2:>3} %  ", "#".repeat(part(WIDTH)), WIDTH as usize, part(100));
    }
    out + &format!("{} requests", human::count(progress.lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_what_is_read() {
        let at = |bytes, size| text(Progress { bytes, lines: 1234 }, size);
        assert_eq!(at(0, Some(0)), "[                              ]   0 %  1,234 requests");
        assert_eq!(at(50, Some(100)), "[###############               ]  50 %  1,234 requests");
        assert_eq!(at(999, Some(100)), "[##############################] 100 %  1,234 requests");
        assert_eq!(at(7, None), "1,234 requests");
    }
}
