//! The terminal: taken at the start, and given back as it was, however `top` ends.

use std::io::{self, Stdout};
use std::panic;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::{Frame, Terminal};

use super::Message;

/// The time to end after a signal. A terminal that takes no more text, such as a connection that hangs, would not let it.
const END_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

// === impl Screen ===

impl Screen {
    /// A panic gives the terminal back before it is reported.
    pub fn open() -> io::Result<Self> {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        let opened = Self::take_terminal();
        if opened.is_err() {
            restore();
        }
        opened
    }

    fn take_terminal() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(Self(Terminal::new(CrosstermBackend::new(io::stdout()))?))
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// There is nobody to tell if the terminal is gone.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = terminal::disable_raw_mode();
}

/// Keys and new sizes, until the terminal is gone.
pub(super) fn read_keys(messages: &SyncSender<Message>) {
    while let Ok(event) = event::read() {
        if messages.send(Message::Terminal(event)).is_err() {
            return;
        }
    }
}

/// The signals that end a program. Blocked here, so that threads that begin later leave them to [`wait_for_end`].
pub(super) fn block_signals() -> io::Result<SigSet> {
    let signals: SigSet =
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    signals.thread_block()?;
    Ok(signals)
}

/// Waits for a signal, and ends the process if nobody else does.
pub(super) fn wait_for_end(signals: &SigSet, messages: &SyncSender<Message>) {
    if signals.wait().is_err() {
        return;
    }
    let _ = messages.try_send(Message::End);
    thread::sleep(END_LIMIT);
    // Standard output is locked by whoever hangs there, so the screen stays.
    let _ = terminal::disable_raw_mode();
    std::process::exit(1);
}
