//! What is asked of one worker's requests beside their usual records. Mostly it is nothing, and a request learns that
//! from one byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use parking_lot::Mutex;

use super::record::{Captured, Record};
use crate::config::FieldNames;
use crate::routing::RequestHead;

/// Somebody watches requests as they end.
const TAPPED: u8 = 1;
/// Somebody watches requests that are in flight.
const IN_FLIGHT: u8 = 2;
/// Fields of requests are asked for.
const REQUEST_FIELDS: u8 = 4;
/// Fields of responses are asked for.
const RESPONSE_FIELDS: u8 = 8;

/// In its own cache lines: only its worker reads it for each request, and whoever asks for something writes it.
#[derive(Default)]
#[repr(align(128))]
pub struct Wanted {
    bits: AtomicU8,
    names: Mutex<NamesBy>,
}

#[derive(Default)]
struct NamesBy {
    log: Vec<Arc<FieldNames>>,
    taps: Vec<Arc<FieldNames>>,
}

impl Wanted {
    /// The fields that the access log writes.
    pub(super) fn set_log(&self, names: Option<Arc<FieldNames>>) {
        let mut all = self.names.lock();
        all.log = names.into_iter().collect();
        self.update(&all, 0, 0);
    }

    /// What taps ask for: `in_flight`, whether one of them watches requests in flight.
    pub(super) fn set_taps(&self, names: Vec<Arc<FieldNames>>, tapped: bool, in_flight: bool) {
        let mut all = self.names.lock();
        all.taps = names;
        let bits = if tapped { TAPPED } else { 0 } | if in_flight { IN_FLIGHT } else { 0 };
        self.update(&all, TAPPED | IN_FLIGHT, bits);
    }

    /// Sets the bits of the fields, and those of `mask` to `bits`. Called with the lock held.
    fn update(&self, names: &NamesBy, mask: u8, bits: u8) {
        let any = |has: fn(&FieldNames) -> bool| names.log.iter().chain(&names.taps).any(|names| has(names));
        let request = any(|names| !names.request.is_empty() || !names.cookies.is_empty());
        let response = any(|names| !names.response.is_empty());
        let fields = if request { REQUEST_FIELDS } else { 0 } | if response { RESPONSE_FIELDS } else { 0 };
        let kept = self.bits.load(Relaxed) & !(mask | REQUEST_FIELDS | RESPONSE_FIELDS);
        self.bits.store(kept | bits | fields, Relaxed);
    }

    #[inline]
    fn has(&self, bit: u8) -> bool {
        self.bits.load(Relaxed) & bit != 0
    }

    #[inline]
    pub(super) fn is_tapped(&self) -> bool {
        self.has(TAPPED)
    }

    #[inline]
    pub(super) fn in_flight(&self) -> bool {
        self.has(IN_FLIGHT)
    }

    #[inline]
    pub(super) fn capture_request(&self, record: &mut Record, head: &impl RequestHead) {
        if self.has(REQUEST_FIELDS) {
            self.capture(record, |captured, names| captured.add_request(names, head));
        }
    }

    #[inline]
    pub(super) fn capture_response<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
        &self,
        record: &mut Record,
        fields: impl Fn() -> I,
    ) {
        if self.has(RESPONSE_FIELDS) {
            self.capture(record, |captured, names| captured.add_response(names, &fields));
        }
    }

    #[cold]
    fn capture(&self, record: &mut Record, add: impl Fn(&mut Captured, &FieldNames)) {
        let mut captured =
            record.unusual.as_mut().and_then(|unusual| unusual.captured.take()).unwrap_or_default();
        let names = self.names.lock();
        names.log.iter().chain(&names.taps).for_each(|names| add(&mut captured, names));
        drop(names);
        if !captured.is_empty() {
            record.unusual_mut().captured = Some(captured);
        }
    }
}
