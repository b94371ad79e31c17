//! Watches the headers of the frames that an HTTP/2 client sends (RFC 9113, section 4.1). Frames that cost the client
//! less than us are counted, and too many of them end the connection (section 10.5). So does a first frame that is not
//! SETTINGS, which h2 would accept (section 3.4). Of the settings, it reads the initial window of streams.
//!
//! It uses no socket and no clock.

use crate::part::Part;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The length of the preface, before the first frame.
const PREFACE: usize = 24;

/// The length of a frame's header.
const HEADER: usize = 9;

/// RST_STREAM frames allowed at once, and per second: a browser that leaves a page may cancel a hundred requests.
const BURST: f64 = 2000.0;
const RATE: f64 = 1000.0;

/// The cost of each other counted frame, which clients need less often, in RST_STREAM frames.
const OTHERS: f64 = 5.0;

/// The most streams that are remembered until h2 accepts them.
const UNACCEPTED_MAX: usize = 1024;

/// Mask of a stream's identifier.
const STREAM_ID: u32 = (1 << 31) - 1;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const ACK: u8 = 0x1;

/// The length of one setting: identifier and value.
const SETTING: usize = 6;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// The default of SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
const WINDOW: u32 = 65_535;

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Too many frames of this type.
    Flood(&'static str),
    /// The first frame is not SETTINGS.
    NoSettings,
}

#[derive(Debug)]
pub struct FloodGuard {
    header: [u8; HEADER],
    /// How many bytes of `header` have arrived.
    have: usize,
    /// Bytes until the next header begins.
    skip: usize,
    /// The first frame's header has arrived.
    begun: bool,
    /// Within a SETTINGS frame: the current setting, and how many of its bytes have arrived.
    setting: Option<([u8; SETTING], usize)>,
    /// The initial window of a stream.
    window: u32,
    budget: f64,
    since: Instant,
    /// The newest stream that has been opened.
    newest: u32,
    /// Streams that the client has opened and h2 has not accepted yet, the oldest first.
    unaccepted: VecDeque<u32>,
}

impl Violation {
    /// The label in metrics and log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Flood(_) => "http2_flood",
            Self::NoSettings => "http2_malformed",
        }
    }

    pub fn detail(self) -> String {
        match self {
            Self::Flood(kind) => format!("too many {kind} frames"),
            Self::NoSettings => "the first frame is not SETTINGS".to_owned(),
        }
    }
}

impl FloodGuard {
    pub fn new(now: Instant) -> Self {
        Self {
            header: [0; HEADER],
            have: 0,
            skip: PREFACE,
            begun: false,
            setting: None,
            window: WINDOW,
            budget: BURST,
            since: now,
            newest: 0,
            unaccepted: VecDeque::new(),
        }
    }

    /// The next bytes are the rest of a DATA frame.
    pub fn is_within_body(&self) -> bool {
        self.skip > 0 && self.begun && self.have == 0 && self.header[3] == DATA
    }

    /// The initial window of the client's streams, in bytes.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// h2 has accepted this stream.
    pub fn accepted(&mut self, stream: u32) {
        self.unaccepted.retain(|unaccepted| *unaccepted != stream);
    }

    /// h2 has answered or reset this stream; returns whether it has done so without accepting it.
    pub fn settled(&mut self, stream: u32) -> bool {
        let before = self.unaccepted.len();
        self.accepted(stream);
        self.unaccepted.len() < before
    }

    fn opened(&mut self, stream: u32) {
        if stream > self.newest {
            self.newest = stream;
            self.unaccepted.push_back(stream);
            if self.unaccepted.len() > UNACCEPTED_MAX {
                self.unaccepted.pop_front();
            }
        }
    }

    /// Passes on the next bytes that have arrived.
    pub fn take(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Violation> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            self.settings(bytes.part(..skipped));
            let missing = bytes.iter().skip(skipped).take(HEADER - self.have);
            let before = self.have;
            for (place, byte) in self.header.iter_mut().skip(before).zip(missing) {
                *place = *byte;
                self.have += 1;
            }
            bytes = bytes.part(skipped + self.have - before..);
            if self.have < HEADER {
                return Ok(());
            }
            self.have = 0;
            self.frame(now)?;
        }
    }

    fn frame(&mut self, now: Instant) -> Result<(), Violation> {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = length;
        if !self.begun && (kind != SETTINGS || flags & ACK != 0) {
            return Err(Violation::NoSettings);
        }
        self.begun = true;
        self.setting = (kind == SETTINGS && flags & ACK == 0).then_some(([0; SETTING], 0));
        if kind == HEADERS {
            self.opened(u32::from_be_bytes(stream) & STREAM_ID);
        }
        let (counted, cost) = match kind {
            // Many clients end a body with an empty DATA frame, so one with END_STREAM is free.
            DATA if length == 0 && flags & 0x1 == 0 => ("empty DATA", OTHERS),
            0x2 => ("PRIORITY", OTHERS),
            0x3 => ("RST_STREAM", 1.0),
            SETTINGS => ("SETTINGS", OTHERS),
            0x6 => ("PING", OTHERS),
            0x9 => ("CONTINUATION", OTHERS),
            _ => return Ok(()),
        };
        self.refill(now);
        self.budget -= cost;
        if self.budget < 0.0 { Err(Violation::Flood(counted)) } else { Ok(()) }
    }

    /// Reads settings, if `bytes` belong to a SETTINGS frame.
    fn settings(&mut self, bytes: &[u8]) {
        let Some((setting, have)) = &mut self.setting else { return };
        for byte in bytes {
            if let Some(place) = setting.get_mut(*have) {
                *place = *byte;
            }
            *have += 1;
            if *have == SETTING {
                *have = 0;
                let [high, low, value @ ..] = *setting;
                if [high, low] == INITIAL_WINDOW_SIZE {
                    self.window = u32::from_be_bytes(value);
                }
            }
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed > Duration::ZERO {
            self.budget = (self.budget + passed.as_secs_f64() * RATE).min(BURST);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + payload, 0xff);
        frame
    }

    /// What every client begins with.
    fn beginning() -> Vec<u8> {
        [vec![b'x'; PREFACE], frame(SETTINGS, 0, 6)].concat()
    }

    /// How many of these are let through at once.
    fn let_through(frame: &[u8], piece: usize) -> usize {
        let now = Instant::now();
        let mut frames = FloodGuard::new(now);
        let all = [beginning(), frame.repeat(5000)].concat();
        let mut taken = 0;
        for bytes in all.chunks(piece) {
            if frames.take(bytes, now).is_err() {
                return (taken + bytes.len() - beginning().len()) / frame.len();
            }
            taken += bytes.len();
        }
        5000
    }

    #[test]
    fn frames_that_cost_a_client_little_are_counted_however_they_come() {
        for (kind, payload) in [(0x0, 0), (0x2, 5), (0x3, 4), (0x4, 0), (0x4, 6), (0x6, 8), (0x9, 0)] {
            let frame = frame(kind, 0, payload);
            let most = if kind == 0x3 { 1995 } else { 399 };
            for piece in [1, 7, frame.len(), 16 * 1024] {
                let through = let_through(&frame, piece);
                let slack = 16 * 1024 / frame.len() + 1;
                assert!((most..=most + slack).contains(&through), "{kind}: {through} by {piece}");
            }
        }
    }

    #[test]
    fn requests_bodies_and_their_windows_are_free() {
        for (kind, flags, payload) in [(0x1, 0x5, 40), (0x0, 0, 5), (0x0, 1, 0), (0x8, 0, 4)] {
            assert_eq!(let_through(&frame(kind, flags, payload), 1024), 5000, "{kind}");
        }
    }

    #[test]
    fn what_comes_in_time_is_let_through() {
        let start = Instant::now();
        let mut frames = FloodGuard::new(start);
        frames.take(&beginning(), start).unwrap();
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            assert_eq!(frames.take(&frame(0x3, 0, 4).repeat(900), now), Ok(()), "{second}");
        }
    }

    #[test]
    fn bodies_are_told_from_the_rest() {
        let now = Instant::now();
        let mut frames = FloodGuard::new(now);
        assert!(!frames.is_within_body());
        frames.take(&beginning(), now).unwrap();
        let is_within = |frames: &mut FloodGuard, bytes: &[u8]| {
            frames.take(bytes, now).unwrap();
            frames.is_within_body()
        };
        let (headers, data) = (frame(0x1, 0x4, 40), frame(DATA, 0, 100));
        assert!(!is_within(&mut frames, &headers[..20]));
        assert!(!is_within(&mut frames, &headers[20..]));
        assert!(is_within(&mut frames, &data[..50]));
        assert!(is_within(&mut frames, &data[50..60]));
        assert!(!is_within(&mut frames, &data[60..]));
    }

    #[test]
    fn the_window_of_streams_is_known() {
        let now = Instant::now();
        let settings = |entries: &[[u8; 6]]| {
            let mut frame = frame(SETTINGS, 0, 6 * entries.len());
            frame.truncate(HEADER);
            [frame, entries.concat()].concat()
        };
        let (table, none, some) = ([0, 1, 0, 0, 0, 9], [0, 4, 0, 0, 0, 0], [0, 4, 0, 2, 0, 0]);
        for piece in [1, 5, 1000] {
            let window = |sent: &[Vec<u8>]| {
                let mut frames = FloodGuard::new(now);
                let all = [vec![vec![b'x'; PREFACE]], sent.to_vec()].concat().concat();
                all.chunks(piece).for_each(|bytes| frames.take(bytes, now).unwrap());
                frames.window()
            };
            assert_eq!(window(&[settings(&[])]), WINDOW);
            assert_eq!(window(&[settings(&[table, none])]), 0);
            assert_eq!(
                window(&[settings(&[none]), frame(0x6, 0, 8), settings(&[table, some, table])]),
                0x2_0000
            );
            // Something else looks like one.
            let ping = [&frame(0x6, 0, 8)[..HEADER], &none, &[0, 0]].concat();
            assert_eq!(window(&[settings(&[table]), ping]), WINDOW);
        }
    }

    #[test]
    fn a_connection_begins_with_settings() {
        let now = Instant::now();
        let first = |frame: Vec<u8>| FloodGuard::new(now).take(&[vec![b'x'; PREFACE], frame].concat(), now);
        assert_eq!(first(frame(SETTINGS, 0, 0)), Ok(()));
        for other in [frame(SETTINGS, ACK, 0), frame(0x1, 0x5, 40), frame(0x6, 0, 8), frame(0xbb, 0, 0)] {
            assert_eq!(first(other), Err(Violation::NoSettings));
        }
    }
}
