//! Judges the lines of a log on all processors.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Progress;
use super::chunks::{Chunk, Chunks};
use super::judge::{Judge, Memory};
use super::line::Line;
use super::tally::Tally;

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// The most threads.
const THREADS_MAX: usize = 32;

#[derive(Default)]
struct Done {
    bytes: AtomicU64,
    lines: AtomicU64,
}

/// Lets threads judge their chunks in the order of the log.
#[derive(Default)]
struct Turns {
    /// The number of the chunk whose turn it is; `None`: a thread has panicked, and nobody waits any more.
    next: Mutex<Option<usize>>,
    changed: Condvar,
}

/// The turn of one chunk; it ends when it is dropped.
struct Turn<'a> {
    turns: &'a Turns,
    number: usize,
}

pub(super) fn judge_all(
    judge: &Judge,
    log: impl Read + Send,
    mut progress: impl FnMut(Progress),
) -> io::Result<Tally> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
    let (send_chunk, receive_chunk) = sync_channel::<Chunk>(threads);
    let (send_tally, receive_tally) = channel::<Tally>();
    let (receive_chunk, done) = (Mutex::new(receive_chunk), Done::default());
    let turns = Turns { next: Mutex::new(Some(0)), changed: Condvar::new() };
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(log, &send_chunk));
        for _ in 0..threads {
            let (send_tally, receive_chunk, done, turns) =
                (send_tally.clone(), &receive_chunk, &done, &turns);
            scope.spawn(move || {
                // Somebody waits for it.
                let _ = send_tally.send(work(judge, receive_chunk, turns, done));
            });
        }
        drop(send_tally);
        let mut all = Tally::default();
        loop {
            match receive_tally.recv_timeout(PROGRESS) {
                Ok(tally) => all.merge(tally),
                Err(RecvTimeoutError::Timeout) => progress(done.progress()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        progress(done.progress());
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(all)
    })
}

fn read(log: impl Read, chunks: &SyncSender<Chunk>) -> io::Result<()> {
    for chunk in Chunks::new(log) {
        if chunks.send(chunk?).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(judge: &Judge, chunks: &Mutex<Receiver<Chunk>>, turns: &Turns, done: &Done) -> Tally {
    let (mut tally, mut memory) = (Tally::default(), Memory::default());
    loop {
        let next = chunks.lock().recv();
        let Ok(chunk) = next else { return tally };
        let turn = judge.counts().then_some(Turn { turns, number: chunk.number });
        let texts = chunk.text.split(|byte| *byte == b'\n').map(|text| text.trim_ascii());
        let lines: Vec<_> = (chunk.first_line..)
            .zip(texts)
            .filter(|(_, text)| !text.is_empty())
            .map(|(number, text)| (number, Line::read(text)))
            .collect();
        turn.iter().for_each(Turn::wait);
        let count = lines.len() as u64;
        lines.into_iter().for_each(|(number, line)| tally.add(number, line, judge, &mut memory));
        drop(turn);
        done.lines.fetch_add(count, Ordering::Relaxed);
        done.bytes.fetch_add(chunk.text.len() as u64, Ordering::Relaxed);
    }
}

// === impl Done ===

impl Done {
    fn progress(&self) -> Progress {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Progress { bytes: count(&self.bytes), lines: count(&self.lines) }
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// Waits until all chunks before this one are done.
    fn wait(&self) {
        let mut next = self.turns.next.lock();
        self.turns.changed.wait_while(&mut next, |next| next.is_some_and(|next| next != self.number));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut next = self.turns.next.lock();
        *next = next.filter(|_| !thread::panicking()).map(|_| self.number + 1);
        self.turns.changed.notify_all();
    }
}
