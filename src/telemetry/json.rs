//! A JSON writer for log lines: straight into a reused buffer, in the order of the calls, nothing allocated.

use std::io::Write;
use std::time::Duration;

use super::escape;

/// An object, open until [`Object::end`].
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// The key; whatever is written to the buffer next is its value.
    pub(super) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        escape::json(self.out, key);
        self.out.push(b':');
        self.out
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        escape::json(self.key(key), value);
    }

    /// Left out when there is none.
    pub(super) fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(key, value);
        }
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        number(self.key(key), value);
    }

    pub(super) fn seconds(&mut self, key: &str, value: Duration) {
        let out = self.key(key);
        number(out, value.as_secs());
        out.push(b'.');
        let micros = value.subsec_micros();
        for place in [100_000, 10_000, 1000, 100, 10, 1] {
            out.push(b'0' + (micros / place % 10) as u8);
        }
    }

    pub(super) fn literal(&mut self, key: &str, value: &str) {
        self.key(key).extend_from_slice(value.as_bytes());
    }

    /// A list of objects; left out when empty.
    pub(super) fn list<T>(&mut self, key: &str, items: &[T], write: impl Fn(&mut Object<'_>, &T)) {
        if items.is_empty() {
            return;
        }
        let out = self.key(key);
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let mut object = Object::begin(out);
            write(&mut object, item);
            object.end();
        }
        out.push(b']');
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "{value}");
}
