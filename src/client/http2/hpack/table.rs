//! The tables of HPACK (RFC 7541, section 2.3): one that never changes, and one that each connection fills.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::part::Part;

/// Of the dynamic table, in bytes: the default of SETTINGS_HEADER_TABLE_SIZE, which we leave as it is.
pub const SIZE_MAX: usize = 4096;

/// What each entry counts beside its bytes (section 4.1).
const OVERHEAD: usize = 32;

/// Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The dynamic table: the bytes of its entries lie behind each other, the oldest first.
#[derive(Debug)]
pub struct Table {
    bytes: Vec<u8>,
    /// The newest last.
    entries: VecDeque<Entry>,
    /// Bytes at the front that are no entry's any more.
    gone: usize,
    size: usize,
    size_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: usize,
    value: usize,
    is_valid: bool,
}

/// What an entry holds.
pub struct TableField<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// It is known to be valid, whatever its place.
    pub is_valid: bool,
}

/// The indexes of static entries that are valid as they are, among those that are whole fields of requests.
const VALID: RangeInclusive<usize> = 2..=16;

impl Default for Table {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), gone: 0, size: 0, size_max: SIZE_MAX }
    }
}

impl Table {
    /// An entry; static ones come first.
    pub fn get(&self, index: usize) -> Option<TableField<'_>> {
        let at = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(at) {
            let is_valid = VALID.contains(&index);
            return Some(TableField { name: name.as_bytes(), value: value.as_bytes(), is_valid });
        }
        let newer = at - STATIC.len();
        let place = self.entries.len().checked_sub(newer + 1)?;
        let after: usize = self.entries.range(place + 1..).map(|entry| entry.name + entry.value).sum();
        let Entry { name, value, is_valid } = *self.entries.get(place)?;
        let end = self.bytes.len().checked_sub(after)?;
        let begin = end.checked_sub(name + value)?;
        let (name, value) = self.bytes.part(begin..end).split_at_checked(name)?;
        Some(TableField { name, value, is_valid })
    }

    pub fn insert(&mut self, TableField { name, value, is_valid }: TableField<'_>) {
        let size = name.len() + value.len() + OVERHEAD;
        self.evict(size);
        if size > self.size_max {
            return;
        }
        if self.gone > SIZE_MAX {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry { name: name.len(), value: value.len(), is_valid });
        self.size += size;
    }

    /// `false`: the size is larger than it may be.
    pub fn resize(&mut self, size_max: usize) -> bool {
        self.size_max = size_max.min(SIZE_MAX);
        self.evict(0);
        size_max <= SIZE_MAX
    }

    /// Drops the oldest entries until there is room for so many bytes.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.size_max
            && let Some(Entry { name, value, .. }) = self.entries.pop_front()
        {
            self.gone += name + value;
            self.size -= name + value + OVERHEAD;
        }
    }
}
