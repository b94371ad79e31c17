//! Taps: people who watch requests as they end, or while they are in flight.
//!
//! Each worker asks one byte of its own whether there is a tap, and where there is one formats a line for each request
//! that the tap's filter has. Lines wait in bounded queues, one for each worker, until the tap's reader takes them; what
//! does not fit is dropped and counted, so no request waits for a reader.

mod filter;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Instant;

use http::HeaderName;
use parking_lot::Mutex;

use super::access::shown::{InFlight, Shown};
use super::access::{json, text};
use super::record::NamedRecord;
use super::wanted::Wanted;
use super::writer::{Gathered, LineQueues};
use crate::config::FieldNames;
use crate::terminal::Painter;
pub use filter::{Filter, HeaderFilter};

/// Taps that may be open at a time.
pub const TAPS_MAX: usize = 16;

/// Lines and bytes that may wait for the reader of one tap.
const LINES_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;

/// What a tap shows, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TapRequest {
    pub filter: Filter,
    /// Also requests that begin to wait, and that are sent to an endpoint.
    pub in_flight: bool,
    pub format: TapFormat,
    /// Nothing is masked.
    pub secrets: bool,
    /// The header fields to show.
    pub fields: FieldNames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapFormat {
    /// The lines of the access log in JSON.
    Json,
    /// Those for people.
    Text { colours: bool },
}

/// All taps of the process, and its workers; clones share them.
#[derive(Clone, Default)]
pub struct Taps(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    taps: Vec<Arc<OpenTap>>,
    workers: Vec<Weak<WorkerSide>>,
}

struct OpenTap {
    request: TapRequest,
    /// Those to capture: to show, and to choose by.
    names: Arc<FieldNames>,
    queues: LineQueues,
}

/// A tap's reader; dropped, the tap is closed.
pub struct Tap {
    all: Taps,
    open: Arc<OpenTap>,
    gathered: Gathered,
    /// Lines that were dropped, and told of.
    told: u64,
}

/// There are as many taps as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{TAPS_MAX} taps are open, and no more are let in: end one of them")]
pub struct TooManyTaps;

/// The taps as one worker has them.
pub(super) struct WorkerTaps(Arc<WorkerSide>);

struct WorkerSide {
    wanted: Arc<Wanted>,
    /// Each with the index of the worker's queue.
    taps: Mutex<Vec<(Arc<OpenTap>, usize)>>,
}

// === impl Taps ===

impl Taps {
    pub fn open(&self, request: TapRequest) -> Result<Tap, TooManyTaps> {
        let mut all = self.0.lock();
        if all.taps.len() >= TAPS_MAX {
            return Err(TooManyTaps);
        }
        all.workers.retain(|worker| worker.strong_count() > 0);
        let queues = LineQueues::new(LINES_MAX, BYTES_MAX, all.workers.len());
        let open = Arc::new(OpenTap { names: Arc::new(request.names()), request, queues });
        all.taps.push(open.clone());
        all.publish();
        Ok(Tap { all: self.clone(), open, gathered: Gathered::default(), told: 0 })
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.lock().taps.len()
    }

    pub(super) fn worker(&self, wanted: Arc<Wanted>) -> WorkerTaps {
        let mut all = self.0.lock();
        let worker = Arc::new(WorkerSide { wanted, taps: Mutex::default() });
        all.workers.push(Arc::downgrade(&worker));
        all.publish();
        WorkerTaps(worker)
    }

    fn close(&self, tap: &Arc<OpenTap>) {
        let mut all = self.0.lock();
        all.taps.retain(|one| !Arc::ptr_eq(one, tap));
        all.publish();
    }
}

// === impl Open ===

impl Open {
    /// Tells each worker which taps there are.
    fn publish(&self) {
        let in_flight = self.taps.iter().any(|tap| tap.request.in_flight);
        for worker in self.workers.iter().filter_map(Weak::upgrade) {
            let mut taps = worker.taps.lock();
            taps.retain(|(tap, _)| self.taps.iter().any(|one| Arc::ptr_eq(one, tap)));
            for tap in &self.taps {
                if !taps.iter().any(|(one, _)| Arc::ptr_eq(one, tap)) {
                    taps.push((tap.clone(), tap.queues.claim()));
                }
            }
            let names = self.taps.iter().map(|tap| tap.names.clone()).collect();
            worker.wanted.set_taps(names, !self.taps.is_empty(), in_flight);
        }
    }
}

// === impl TapRequest ===

impl TapRequest {
    /// The fields to capture.
    fn names(&self) -> FieldNames {
        let by_value = self.filter.headers.iter().map(|header| &header.name);
        let mut request: Vec<HeaderName> = self.fields.request.to_vec();
        request.extend(by_value.filter(|name| !self.fields.request.contains(name)).cloned());
        FieldNames { request: request.into(), ..self.fields.clone() }
    }

    fn write(&self, out: &mut Vec<u8>, record: NamedRecord<'_>, in_flight: Option<InFlight<'_>>) {
        let shown = Shown { fields: Some(&self.fields), in_flight, ..Shown::new(record) };
        match self.secrets {
            true => self.write_shown(out, &shown),
            false => shown.masked(|shown| self.write_shown(out, shown)),
        }
    }

    fn write_shown(&self, out: &mut Vec<u8>, shown: &Shown<'_>) {
        match self.format {
            TapFormat::Json => json::write(out, shown),
            TapFormat::Text { colours } => text::write(out, shown, Painter { colours }),
        }
        out.push(b'\n');
    }
}

// === impl Tap ===

impl Tap {
    /// The next lines, those of requests that ended first at the front; `None`: there are none now. The room of those
    /// before is given back.
    pub fn next_lines(&mut self) -> Option<&[u8]> {
        self.open.queues.next_piece(&mut self.gathered)
    }

    /// How many lines were dropped since this was asked last.
    pub fn newly_dropped(&mut self) -> u64 {
        let dropped = self.open.queues.dropped();
        dropped - std::mem::replace(&mut self.told, dropped)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.all.close(&self.open);
    }
}

// === impl WorkerTaps ===

impl WorkerTaps {
    /// Shows a request to the taps that it is for. Never blocks: only who opens or closes a tap holds the lock, for a
    /// moment.
    #[cold]
    pub fn show(&self, record: NamedRecord<'_>, in_flight: Option<InFlight<'_>>, now: Instant) {
        let taps = self.0.taps.lock();
        let mut line = Vec::new();
        for (tap, queue) in taps.iter() {
            let is_for = in_flight.is_none() || tap.request.in_flight;
            if is_for && tap.request.filter.has(record, in_flight) {
                line.clear();
                tap.request.write(&mut line, record, in_flight);
                tap.queues.add(*queue, &line, now);
            }
        }
    }
}
