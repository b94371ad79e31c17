//! What the client gets in the place of an endpoint's body: a page of the config, or the same compressed.

use bytes::Bytes;
use http::{HeaderName, header};

use super::super::Exchange;
use super::super::edits::{Action, Edits};
use crate::config::{Compress, Encoding};
use crate::header_field::same_name;
use crate::telemetry::record::Encoded;

/// Fields that describe a body which the client does not get.
const OF_BODY: [HeaderName; 8] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_DISPOSITION,
    header::ACCEPT_RANGES,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// Fields that prove a body byte by byte.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// What is sent in the place of the endpoint's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewBody {
    /// A whole body.
    Page(Bytes),
    /// The endpoint's own, compressed.
    Encoded { encoding: Encoding, level: u8 },
}

/// A response's fields as the client gets them.
struct Edited<'s, F> {
    fields: &'s F,
    edits: &'s Edits,
}

impl<'a, F, I> Edited<'_, F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'a [u8], &'a [u8])>,
{
    /// Calls `found` with each value of that name.
    fn each(&self, name: &HeaderName, mut found: impl FnMut(&[u8])) {
        let text = name.as_str().as_bytes();
        let is_kept = !self.edits.replaced(text).any(|other| same_name(other.as_bytes(), text));
        if is_kept {
            let values = (self.fields)().filter(|(other, _)| other.eq_ignore_ascii_case(text));
            values.for_each(|(_, value)| found(value));
        }
        for (other, action) in self.edits.iter() {
            match action {
                Action::Set(value) | Action::Append(value) if other == name.as_str() => found(value),
                _ => {}
            }
        }
    }

    fn first(&self, name: &HeaderName) -> Option<Vec<u8>> {
        let mut first = None;
        self.each(name, |value| {
            first.get_or_insert_with(|| value.to_vec());
        });
        first
    }

    fn has(&self, name: &HeaderName) -> bool {
        let mut has = false;
        self.each(name, |_| has = true);
        has
    }

    /// Whether a list has that word.
    fn lists(&self, name: &HeaderName, word: &str) -> bool {
        let mut lists = false;
        self.each(name, |value| {
            let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            lists |= words.any(|other| other.eq_ignore_ascii_case(word.as_bytes()));
        });
        lists
    }
}

impl Exchange {
    /// Decides whether the client gets another body than the endpoint's, and makes the edits of the head that go with it:
    /// after all others. `length` is what the endpoint has announced.
    pub fn new_body<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
        &mut self,
        status: u16,
        length: Option<u64>,
        fields: impl Fn() -> I,
        edits: &mut Edits,
    ) -> Option<NewBody> {
        let policy = self.response_policy()?;
        if policy.intercept_errors
            && let Some(page) = self.error_page(status)
        {
            OF_BODY.into_iter().chain(DIGESTS).for_each(|name| edits.remove(name));
            edits.set(header::CONTENT_TYPE, page.content_type);
            return Some(NewBody::Page(page.body.clone()));
        }
        let compress = policy.compress.as_ref()?;
        let encoding = self.wishes.as_ref().and_then(|wishes| wishes.encoding);
        let level = compress.level;
        if status == 304 {
            // The client has it compressed, if it was, with a weak tag.
            vary(edits);
            if encoding.is_some() {
                weaken_tag(edits, &fields);
            }
            return None;
        }
        if !may_encode(compress, status, length, &Edited { fields: &fields, edits }) {
            return None;
        }
        if !(Edited { fields: &fields, edits }).lists(&header::VARY, "accept-encoding") {
            vary(edits);
        }
        let encoding = encoding?;
        edits.set(header::CONTENT_ENCODING, encoding.as_str());
        edits.remove(header::ACCEPT_RANGES);
        weaken_tag(edits, &fields);
        self.record.unusual_mut().encoded = Some(Encoded { encoding, plain_bytes: 0 });
        Some(NewBody::Encoded { encoding, level })
    }

    /// Records how long a body was before it was compressed.
    pub fn encoded(&mut self, plain_bytes: u64) {
        if let Some(encoded) = self.record.unusual.as_mut().and_then(|unusual| unusual.encoded.as_mut()) {
            encoded.plain_bytes = plain_bytes;
        }
    }
}

/// Whether clients that take it may get this response compressed.
fn may_encode<'a, F: Fn() -> I, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
    compress: &Compress,
    status: u16,
    length: Option<u64>,
    response: &Edited<'_, F>,
) -> bool {
    let has_body = !matches!(status, 0..=199 | 204..=206 | 304);
    if !has_body || length.is_some_and(|length| length < compress.min_size) {
        return false;
    }
    let Some(content_type) = response.first(&header::CONTENT_TYPE) else { return false };
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let Ok(media_type) = str::from_utf8(media_type) else { return false };
    !is_stream_of_messages(media_type)
        && compress.types.iter().any(|pattern| pattern.has(media_type))
        && !response.has(&header::CONTENT_ENCODING)
        && !response.has(&header::CONTENT_RANGE)
        && !response.lists(&header::CACHE_CONTROL, "no-transform")
        && !DIGESTS.into_iter().any(|name| response.has(&name))
}

/// Event streams and gRPC, whose messages are for programs that wait for each.
fn is_stream_of_messages(media_type: &str) -> bool {
    let grpc = "application/grpc";
    media_type.eq_ignore_ascii_case("text/event-stream")
        || media_type.get(..grpc.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(grpc))
}

/// Beside what the response says of itself.
fn vary(edits: &mut Edits) {
    edits.append(header::VARY, b"Accept-Encoding");
}

/// The bytes differ from those that the endpoint has tagged (RFC 9110, section 8.8.1).
fn weaken_tag<'a, F: Fn() -> I, I: Iterator<Item = (&'a [u8], &'a [u8])>>(edits: &mut Edits, fields: &F) {
    let tag = Edited { fields, edits: &*edits }.first(&header::ETAG);
    if let Some(tag) = tag.filter(|tag| tag.starts_with(b"\"")) {
        edits.set_with(header::ETAG, |line| {
            line.extend_from_slice(b"W/");
            line.extend_from_slice(&tag);
        });
    }
}
