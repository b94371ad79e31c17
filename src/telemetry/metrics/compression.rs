//! What compression has made of the bodies of responses.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::exposition::{Exposition, Kind};
use crate::config::Encoding;
use crate::telemetry::record::Encoded;

/// By encoding, in the order of [`Encoding::ALL`].
#[derive(Default)]
pub(super) struct Compression {
    plain: [AtomicU64; Encoding::ALL.len()],
    sent: [AtomicU64; Encoding::ALL.len()],
}

impl Compression {
    /// Counts one response; `sent` is how much of it its client has taken.
    pub(super) fn count(&self, encoded: Encoded, sent: u64) {
        let counters = Encoding::ALL.iter().zip(self.plain.iter().zip(&self.sent));
        for (encoding, (plain_bytes, sent_bytes)) in counters {
            if *encoding == encoded.encoding {
                plain_bytes.fetch_add(encoded.plain_bytes, Relaxed);
                sent_bytes.fetch_add(sent, Relaxed);
            }
        }
    }

    pub(super) fn encode(&self, out: &mut Exposition) {
        for (name, help, counters) in [
            (
                "evenkeel_compression_input_bytes_total",
                "Bytes of responses' bodies before they were compressed.",
                &self.plain,
            ),
            ("evenkeel_compression_output_bytes_total", "The same bodies as they were sent.", &self.sent),
        ] {
            out.metric(name, Kind::Counter, help);
            for (encoding, counter) in Encoding::ALL.iter().zip(counters) {
                out.sample(&[("encoding", encoding.as_str())], counter.load(Relaxed));
            }
        }
    }
}
