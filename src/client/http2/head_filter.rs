//! Stands before h2, which ends a whole connection for one malformed field, refuses header blocks in many frames, and
//! answers or resets by itself what is too large or malformed. It reads the header blocks that a client sends, and lets h2
//! see only such as h2 takes: a request that is to be refused reaches it as another one, and is refused by us
//! (RFC 9113, section 8.1.1).
//!
//! Blocks go on as they are until the first that must not. From then on they are written anew, as literals, because h2's
//! table is no longer the client's.
//!
//! It uses no socket and no clock.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use super::head_judge::{
    Fault, HeadJudge, Limits, is_authority, is_method, is_name, is_of_connection, is_path, list_size,
};
use super::hpack::{Decoder, Fields, put_literal};
use crate::header_field::is_valid_value;
use crate::part::Part;

/// The length of the preface, before the first frame.
const PREFACE: usize = 24;

/// The length of a frame's header.
const HEADER: usize = 9;

/// The largest payload: the default of SETTINGS_MAX_FRAME_SIZE, which we leave as it is.
const PAYLOAD_MAX: usize = 16 * 1024;

/// The most streams of which it is known that the client has not ended them.
const UNENDED_MAX: usize = 1024;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The length of the fields of a frame with [`PRIORITY`].
const PRIORITY_FIELDS: usize = 5;

/// Mask of a stream's identifier.
const STREAM_ID: u32 = (1 << 31) - 1;

/// The largest header block, in times of what its fields may be: one that is larger ends the connection.
const BLOCK_MAX: usize = 4;

/// A block that ends the connection: index 0 stands for nothing (RFC 7541, section 6.1).
const NO_BLOCK: &[u8] = &[0x80];

/// A header block is larger than is read at all.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockTooLarge;

#[derive(Debug)]
pub struct HeadFilter {
    limits: Limits,
    decoder: Decoder,
    /// Bytes that go on before the next frame begins.
    skip: usize,
    /// The newest stream that the client has opened: a block on an older one is trailers.
    newest: u32,
    /// Streams that the client has opened and not ended, the oldest first.
    unended: VecDeque<u32>,
    /// The beginning of a frame of which more has to be known.
    held: Vec<u8>,
    /// A block of several frames, until its last one.
    gathered: Option<Block>,
    /// h2's table is the client's.
    is_verbatim: bool,
    /// What goes on in the place of what was held.
    ready: BytesMut,
}

/// The header block of one stream.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// Of HEADERS: whether the stream ends.
    flags: u8,
    fragment: Vec<u8>,
}

/// What becomes of the bytes at hand.
enum Step {
    /// So many go on as they are.
    Pass(usize),
    /// So many are taken.
    Taken(usize),
    /// More bytes are needed first.
    Incomplete,
}

impl HeadFilter {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            decoder: Decoder::default(),
            skip: PREFACE,
            newest: 0,
            unended: VecDeque::new(),
            held: Vec::new(),
            gathered: None,
            is_verbatim: true,
            ready: BytesMut::new(),
        }
    }

    /// Takes the next bytes that have arrived; returns how many of them, from the front, go on as they are. What follows
    /// goes on by [`ready`](Self::ready). `refuse` is called for each stream whose request is to be refused; `memory` is
    /// used meanwhile.
    pub fn pass(
        &mut self,
        new: &[u8],
        memory: &mut Vec<u8>,
        mut refuse: impl FnMut(u32, Fault),
    ) -> Result<usize, BlockTooLarge> {
        if self.held.is_empty() {
            let (passed, taken) = self.steps(new, true, memory, &mut refuse)?;
            self.held.extend_from_slice(new.part(taken..));
            return Ok(passed);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(new);
        let (_, taken) = self.steps(&joined, false, memory, &mut refuse)?;
        if taken < joined.len() {
            joined.drain(..taken);
            self.held = joined;
        }
        Ok(0)
    }

    /// How many of the bytes, from the front, go on as they are, which they may if they are `in_place`; and how many need
    /// not be held.
    fn steps(
        &mut self,
        bytes: &[u8],
        in_place: bool,
        memory: &mut Vec<u8>,
        refuse: &mut impl FnMut(u32, Fault),
    ) -> Result<(usize, usize), BlockTooLarge> {
        let (mut passed, mut taken) = (0, 0);
        while taken < bytes.len() {
            let rest = bytes.part(taken..);
            taken += match self.step(rest, memory, refuse)? {
                Step::Pass(count) if in_place && passed == taken && self.ready.is_empty() => {
                    passed += count;
                    count
                }
                Step::Pass(count) => {
                    self.ready.extend_from_slice(rest.part(..count));
                    count
                }
                Step::Taken(count) => count,
                Step::Incomplete => break,
            };
        }
        Ok((passed, taken))
    }

    /// What goes on before anything new.
    pub fn ready(&self) -> &[u8] {
        &self.ready
    }

    pub fn consume_ready(&mut self, count: usize) {
        self.ready.advance(count);
        if self.ready.is_empty() {
            self.ready = BytesMut::new();
        }
    }

    fn step(
        &mut self,
        bytes: &[u8],
        memory: &mut Vec<u8>,
        refuse: &mut impl FnMut(u32, Fault),
    ) -> Result<Step, BlockTooLarge> {
        if self.skip > 0 {
            let count = self.skip.min(bytes.len());
            self.skip -= count;
            return Ok(Step::Pass(count));
        }
        let Some(([high, middle, low, kind, flags, stream @ ..], payload)) =
            bytes.split_first_chunk::<HEADER>()
        else {
            return Ok(Step::Incomplete);
        };
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let stream = u32::from_be_bytes(*stream) & STREAM_ID;
        let is_next = match &self.gathered {
            Some(block) => *kind == CONTINUATION && stream == block.stream,
            None => *kind == HEADERS && stream != 0,
        };
        if !is_next || length > PAYLOAD_MAX {
            if (*kind == DATA && flags & END_STREAM != 0) || *kind == RST_STREAM {
                self.ends(stream);
            }
            return Ok(self.other_frame(length));
        }
        let Some(payload) = payload.get(..length) else { return Ok(Step::Incomplete) };
        let Some(fragment) = fragment(*kind, *flags, payload) else { return Ok(self.other_frame(length)) };
        let is_whole = flags & END_HEADERS != 0;
        if is_whole && self.gathered.is_none() {
            return Ok(match self.block(stream, flags & END_STREAM, fragment, memory, refuse) {
                true => Step::Pass(HEADER + length),
                false => Step::Taken(HEADER + length),
            });
        }
        let begun = Block { stream, flags: flags & END_STREAM, fragment: Vec::new() };
        let mut block = self.gathered.take().unwrap_or(begun);
        block.fragment.extend_from_slice(fragment);
        if block.fragment.len() > self.limits.bytes.saturating_mul(BLOCK_MAX).max(PAYLOAD_MAX) {
            return Err(BlockTooLarge);
        }
        if !is_whole {
            self.gathered = Some(block);
        } else if self.block(stream, block.flags, &block.fragment, memory, refuse) {
            put_block(&mut self.ready, stream, block.flags, &block.fragment);
        }
        Ok(Step::Taken(HEADER + length))
    }

    /// A frame that is no business of this filter. In the middle of a block it is a fault, which h2 finds.
    fn other_frame(&mut self, length: usize) -> Step {
        self.skip = HEADER + length;
        if let Some(Block { stream, fragment, .. }) = self.gathered.take() {
            let begun = fragment.part(..fragment.len().min(PAYLOAD_MAX));
            put_frame(&mut self.ready, HEADERS, 0, stream, begun);
        }
        Step::Taken(0)
    }

    fn begins(&mut self, stream: u32) {
        self.unended.push_back(stream);
        if self.unended.len() > UNENDED_MAX {
            self.unended.pop_front();
        }
    }

    fn ends(&mut self, stream: u32) {
        self.unended.retain(|unended| *unended != stream);
    }

    /// Judges a whole block; `true`: it goes on as it is. Otherwise what goes on in its place is ready.
    fn block(
        &mut self,
        stream: u32,
        flags: u8,
        block: &[u8],
        memory: &mut Vec<u8>,
        refuse: &mut impl FnMut(u32, Fault),
    ) -> bool {
        let is_trailers = stream <= self.newest;
        self.newest = self.newest.max(stream);
        let mut judge = HeadJudge::new(self.limits, is_trailers);
        let mut fields = Fields::within(std::mem::take(memory));
        let decoded = self
            .decoder
            .decode(block, &mut fields, |name, value, is_valid| judge.field(name, value, is_valid));
        let fault = judge.fault();
        self.is_verbatim &= fault.is_none() && decoded.is_ok();
        if !self.is_verbatim {
            let mut instead = Vec::new();
            match fault {
                _ if decoded.is_err() => instead.extend_from_slice(NO_BLOCK),
                None => fields.iter().for_each(|(name, value)| put_literal(&mut instead, name, value)),
                Some(_) if is_trailers => {}
                Some(fault) => {
                    put_refused(&mut instead, &fields, self.limits.bytes);
                    refuse(stream, fault);
                }
            }
            // Trailers that do not end the stream are a fault of theirs, for which h2 resets the stream.
            let is_reset = is_trailers && fault.is_some() && self.unended.contains(&stream);
            put_block(&mut self.ready, stream, if is_reset { 0 } else { flags }, &instead);
        }
        match flags & END_STREAM {
            0 if !is_trailers => self.begins(stream),
            _ => self.ends(stream),
        }
        *memory = fields.into_memory();
        self.is_verbatim
    }
}

/// The part of a frame's payload that belongs to the header block; `None`: the frame is malformed.
fn fragment(kind: u8, flags: u8, mut payload: &[u8]) -> Option<&[u8]> {
    if kind == CONTINUATION {
        return Some(payload);
    }
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (length, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(*length), rest);
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(PRIORITY_FIELDS..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

/// Appends a request in the place of one that is refused: with what is valid of it, and with the rest encoded, for the
/// log. Its list has less than `most` bytes.
fn put_refused(out: &mut Vec<u8>, fields: &Fields, most: usize) {
    let first = |wanted: &[u8]| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let method = encoded(first(b":method").unwrap_or_default(), is_method).unwrap_or_else(|| b"-".into());
    let authority = first(b":authority").filter(|value| is_authority(value));
    put_literal(out, b":method", &method);
    if method == b"CONNECT" {
        put_literal(out, b":authority", authority.unwrap_or(b"-"));
    } else {
        let secure = first(b":scheme") == Some(b"https");
        put_literal(out, b":scheme", if secure { b"https" } else { b"http" });
        let path = encoded(first(b":path").unwrap_or_default(), is_path).unwrap_or_else(|| b"/".into());
        put_literal(out, b":path", path.part(..path.len().min(most / 2)));
        authority.into_iter().for_each(|authority| put_literal(out, b":authority", authority));
    }
    // Refused by `validate`, whatever becomes of the note.
    put_literal(out, b"refused", b" ");
    let mut room = most.saturating_sub(out.len() + 5 * list_size(b"", b""));
    for (name, value) in fields.iter() {
        // What is sent as a body is read, and dropped.
        let goes = matches!(name, b"content-length" | b"te") || is_of_connection(name);
        room = room.saturating_sub(list_size(name, value));
        if !goes && is_name(name) && is_valid_value(value) && room > 0 {
            put_literal(out, name, value);
        }
    }
}

/// The value with all bytes but the harmless ones in hexadecimal, unless it is valid as it is; `None`: it cannot be made
/// valid.
fn encoded(value: &[u8], is_valid: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    if is_valid(value) {
        return Some(value.to_vec());
    }
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/?=&;,:@!$'()*+%".contains(&byte);
    let mut out = Vec::new();
    for byte in value {
        match is_harmless(*byte) {
            true => out.push(*byte),
            false => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    is_valid(&out).then_some(out)
}

/// Appends a whole header block, in as few frames as it takes.
fn put_block(out: &mut BytesMut, stream: u32, flags: u8, block: &[u8]) {
    let mut kind = HEADERS;
    let mut rest = block;
    loop {
        let (now, after) = rest.split_at_checked(PAYLOAD_MAX).unwrap_or((rest, &[]));
        let end = if after.is_empty() { END_HEADERS } else { 0 };
        let flags = if kind == HEADERS { flags | end } else { end };
        put_frame(out, kind, flags, stream, now);
        if after.is_empty() {
            return;
        }
        (kind, rest) = (CONTINUATION, after);
    }
}

fn put_frame(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_frame(&mut out, kind, flags, stream, payload);
        out.to_vec()
    }

    fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| put_literal(&mut block, name.as_bytes(), value.as_bytes()));
        block
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/x")];

    /// What h2 reads of these bytes in pieces of that size, behind the preface, and which streams are refused.
    fn filtered(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<u32>) {
        let mut filter = HeadFilter::new(Limits { bytes: 4096, fields: 10 });
        let (mut out, mut refused, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        let all = [&[b'x'; PREFACE][..], bytes].concat();
        for piece in all.chunks(size) {
            let passed = filter.pass(piece, &mut memory, |stream, _| refused.push(stream));
            out.extend_from_slice(&piece[..passed.expect("no block is too large")]);
            out.extend_from_slice(filter.ready());
            filter.consume_ready(filter.ready().len());
        }
        (out[PREFACE..].to_vec(), refused)
    }

    #[track_caller]
    fn become_one(sent: &[Vec<u8>], expected: &[Vec<u8>], refused: &[u32]) {
        let sent = sent.concat();
        for size in [1, 5, 9, 10, 64, 100_000] {
            assert_eq!(filtered(&sent, size), (expected.concat(), refused.to_vec()), "{size}");
        }
    }

    #[test]
    fn what_is_well_formed_goes_on_as_it_is() {
        let whole = END_HEADERS | END_STREAM;
        let padded = [&[3, 0, 0, 0, 0, 9][..], &literals(&GET), &[0; 3]].concat();
        let frames = [
            frame(0x4, 0, 0, &[0; 6]),
            frame(HEADERS, whole, 1, &literals(&GET)),
            frame(HEADERS, whole | PADDED | PRIORITY, 3, &padded),
            frame(DATA, 0, 3, &[7; 100]),
            frame(0x6, 0, 0, &[0; 8]),
            // Of these, h2 is the judge.
            frame(HEADERS, END_HEADERS | PADDED, 5, &[200, 0]),
            frame(CONTINUATION, END_HEADERS, 5, &[1, 2, 3]),
            frame(HEADERS, END_HEADERS, 0, &literals(&GET)),
        ];
        become_one(&frames, &frames, &[]);
    }

    #[test]
    fn a_block_in_pieces_comes_in_one_frame() {
        let block = literals(&GET);
        let pieces = |flags| {
            let (begin, end) = block.split_at(7);
            [
                frame(HEADERS, flags, 1, begin),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, end),
            ]
        };
        become_one(&pieces(END_STREAM), &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)], &[]);
        // Another frame in between is for h2 to find.
        let ping = frame(0x6, 0, 0, &[0; 8]);
        let torn = [frame(HEADERS, 0, 1, &block[..7]), ping];
        become_one(&torn, &torn, &[]);
    }

    #[test]
    fn one_fault_is_of_one_stream() {
        let with = |name: &str, value: &str| [&literals(&GET)[..], &literals(&[(name, value)])].concat();
        let mut indexed = with("X-Up", "1");
        let at = literals(&GET).len();
        indexed[at] = 0x40;
        let refused = literals(&[GET[0], GET[1], GET[3], GET[2], ("refused", " ")]);
        let sent = [
            frame(HEADERS, END_HEADERS, 1, &indexed),
            frame(DATA, END_STREAM, 1, b"x"),
            frame(HEADERS, END_HEADERS, 3, &literals(&GET)),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, &literals(&[("X-End", "1")])),
            // The malformed one is in the table, and as malformed there.
            frame(HEADERS, END_HEADERS, 5, &[&literals(&GET)[..], &[0x80 | 62]].concat()),
        ];
        let expected = [
            frame(HEADERS, END_HEADERS, 1, &refused),
            frame(DATA, END_STREAM, 1, b"x"),
            frame(HEADERS, END_HEADERS, 3, &literals(&GET)),
            frame(HEADERS, END_HEADERS, 3, &[]),
            frame(HEADERS, END_HEADERS, 5, &refused),
        ];
        become_one(&sent, &expected, &[1, 5]);
    }

    #[test]
    fn what_is_refused_keeps_what_the_log_can_have() {
        let fields =
            [(":method", "G T"), (":path", "/a b?\u{fc}"), ("user-agent", "x"), ("connection", "close")];
        let expected = [
            (":method", "G%20T"),
            (":scheme", "http"),
            (":path", "/a%20b?%C3%BC"),
            ("refused", " "),
            ("user-agent", "x"),
        ];
        let sent = [frame(HEADERS, END_HEADERS, 1, &literals(&fields))];
        become_one(&sent, &[frame(HEADERS, END_HEADERS, 1, &literals(&expected))], &[1]);
        // Nothing that is too large is kept.
        let long = "x".repeat(5000);
        let sent =
            [frame(HEADERS, END_HEADERS, 1, &literals(&[&GET[..], &[("x", &long), ("y", "z")]].concat()))];
        let (out, refused) = filtered(&sent.concat(), 1000);
        assert!(refused == [1] && out.len() < 4096, "{out:?}");
    }

    #[test]
    fn a_block_without_end_is_given_up() {
        let mut filter = HeadFilter::new(Limits { bytes: 4096, fields: 10 });
        let mut take = |bytes: &[u8]| filter.pass(bytes, &mut Vec::new(), |_, _| {});
        take(&[b'x'; PREFACE]).unwrap();
        take(&frame(HEADERS, 0, 1, &literals(&GET))).unwrap();
        let pieces = (0..100).take_while(|_| take(&frame(CONTINUATION, 0, 1, &[0; 1000])).is_ok());
        assert!(pieces.count() < 20);
    }
}
