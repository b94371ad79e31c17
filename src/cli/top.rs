//! `evenkeel top`: a running process on a screen that is drawn anew each second.
//!
//! What is known (`model`, `rows`) and what is shown of it (`view`) know no terminal; `draw` draws on any.

mod buckets;
mod details;
mod draw;
mod model;
mod rows;
mod sample;
mod scrape;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::crossterm::event::Event;

use super::admin_request::{AdminTarget, cannot_ask};
use super::{Exit, fail, fail_usage};
use crate::config;
use crate::terminal::colours_wanted;
use model::{Answer, Model};
use sample::{Order, Sample};
use screen::Screen;
use view::{Action, View};

/// Messages that wait while the terminal is slow; who has more waits, too.
const MESSAGES_MAX: usize = 64;

/// Orders that wait for their turn; further ones are refused.
const ORDERS_MAX: usize = 4;

/// The range of the interval.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_hours(1);

/// Watch a running process: rates, times, errors, queues and states of its pools and endpoints, and its last events.
///
/// Keys sort and filter, and drain an endpoint or end that; `?` shows them. Rates and percentiles are of the last five
/// seconds. Percentiles are reckoned from the buckets of histograms, as if times were evenly spread in each.
#[derive(Debug, clap::Args)]
pub struct Top {
    #[command(flatten)]
    target: AdminTarget,
    /// How often to ask, such as 500ms or 10s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

/// What `top` waits for.
#[derive(Debug)]
enum Message {
    Answer(Answer),
    Terminal(Event),
    /// A signal, or a thread that has ended.
    End,
}

/// Ends `top` when its thread ends.
struct EndsTop(SyncSender<Message>);

fn interval(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Some(time) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&time) => Ok(time),
        Some(_) => Err("the interval is from 100ms to 1h".to_owned()),
        None => Err("the interval is written as 500ms, 1s or 1m".to_owned()),
    }
}

// === impl Top ===

impl Top {
    pub fn execute(self) -> Exit {
        if !io::stdout().is_terminal() {
            return fail_usage(
                "`evenkeel top` draws on a terminal, and standard output is none: see `evenkeel status`, or \
                 `evenkeel status --json` for tools",
            );
        }
        if std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb") {
            return fail(
                "`evenkeel top` needs a terminal with a cursor that moves, and TERM names none: see `evenkeel status`",
            );
        }
        let start = Instant::now();
        // What is wrong with the arguments is said before the screen is taken.
        let first = match Sample::take(&self.target, start) {
            Ok(sample) => sample,
            Err(error) => return cannot_ask(&error),
        };
        match self.watch(Model::new(first), start) {
            Ok(()) => Exit::Done,
            Err(error) => fail(format!("the terminal: {error}")),
        }
    }

    fn watch(self, mut model: Model, start: Instant) -> io::Result<()> {
        let Self { target, interval } = self;
        let (sender, messages) = mpsc::sync_channel(MESSAGES_MAX);
        let (orders, orders_to_send) = mpsc::sync_channel(ORDERS_MAX);
        let signals = screen::block_signals()?;
        let mut screen = Screen::open()?;
        let ends = EndsTop(sender.clone());
        thread::spawn(move || screen::wait_for_end(&signals, &ends.0));
        let ends = EndsTop(sender.clone());
        thread::spawn(move || screen::read_keys(&ends.0));
        let ends = EndsTop(sender);
        thread::spawn(move || ask(&target, interval, start, &orders_to_send, &ends.0));

        let (mut view, colours) = (View::default(), colours_wanted());
        loop {
            let groups = model.groups();
            let rows = view.rows(&groups);
            screen.draw(|frame| draw::draw(frame, &model, &view, &rows, colours))?;
            let Ok(message) = messages.recv() else { return Ok(()) };
            // One drawing for all that has come meanwhile.
            for message in std::iter::once(message).chain(messages.try_iter().take(MESSAGES_MAX)) {
                let action = match message {
                    Message::End => return Ok(()),
                    Message::Answer(answer) => {
                        model.take(answer, Timestamp::now());
                        None
                    }
                    Message::Terminal(Event::Key(key)) if key.is_press() => {
                        view.press(key, &view.rows(&groups))
                    }
                    Message::Terminal(_) => None,
                };
                if !carry_out(action, &mut model, &orders) {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether to go on.
fn carry_out(action: Option<Action>, model: &mut Model, orders: &SyncSender<Order>) -> bool {
    let told = match action {
        None => None,
        Some(Action::Quit) => return false,
        Some(Action::Tell(text)) => Some(text),
        Some(Action::Send(order)) => {
            orders.try_send(order).err().map(|_| "refused: orders before it have not ended")
        }
    };
    if let Some(text) = told {
        model.tell(text.to_owned(), Timestamp::now());
    }
    true
}

/// Asks the process once in the interval and after each order, until nobody listens.
fn ask(
    target: &AdminTarget,
    interval: Duration,
    start: Instant,
    orders: &Receiver<Order>,
    messages: &SyncSender<Message>,
) {
    let mut next = Instant::now() + interval;
    loop {
        match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(order) => {
                let outcome = order.send(target);
                if messages.send(Message::Answer(Answer::Ordered(order, outcome))).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        next = Instant::now() + interval;
        let answer = match Sample::take(target, start) {
            Ok(sample) => Answer::Sample(Box::new(sample)),
            Err(error) => Answer::Silent(error.to_string()),
        };
        if messages.send(Message::Answer(answer)).is_err() {
            return;
        }
    }
}

// === impl EndsTop ===

impl Drop for EndsTop {
    fn drop(&mut self) {
        let _ = self.0.send(Message::End);
    }
}
