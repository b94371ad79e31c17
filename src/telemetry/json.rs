//! A JSON writer for log lines: writes members to a reused buffer in the order of the calls, without allocating.

use std::borrow::Cow;

use std::time::Duration;

use crate::escape;

/// A key known at compile time, with the comma, quotes and colon around it: see [`key!`].
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) &'static str);

/// Makes a [`Key`] of a literal at compile time.
macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::json::Key(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

/// An object, open until [`Object::end`].
///
/// The methods that write a member are inlined, so that the compiler stores the key's constant text in place of copying
/// it.
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

    /// Writes the key; the caller then writes its value to the returned buffer.
    #[inline(always)]
    pub(super) fn key(&mut self, Key(key): Key) -> &mut Vec<u8> {
        // Without its comma, if it is the first.
        let key = if self.empty { key.get(1..).unwrap_or_default() } else { key };
        self.empty = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out
    }

    /// As [`Object::key`], for a key that may need to be escaped.
    pub(super) fn foreign_key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        escape::json(self.out, key);
        self.out.push(b':');
        self.out
    }

    /// For a text that needs no escaping.
    #[inline(always)]
    pub(super) fn plain(&mut self, key: Key, value: &str) {
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    #[inline(always)]
    pub(super) fn string(&mut self, key: Key, value: impl AsRef<[u8]>) {
        escape::json(self.key(key), value);
    }

    /// Writes nothing for `None`.
    #[inline(always)]
    pub(super) fn optional(&mut self, key: Key, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = value {
            self.string(key, value);
        }
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: Key, value: u64) {
        number(self.key(key), value);
    }

    /// With six decimal places.
    #[inline(always)]
    pub(super) fn seconds(&mut self, key: Key, value: Duration) {
        seconds(self.key(key), value);
    }

    pub(super) fn literal(&mut self, key: Key, value: &str) {
        self.key(key).extend_from_slice(value.as_bytes());
    }

    /// A list of texts that need no escaping; writes nothing when empty.
    pub(super) fn words(&mut self, key: Key, words: impl Iterator<Item = &'static str>) {
        let mut words = words.peekable();
        if words.peek().is_none() {
            return;
        }
        let out = self.key(key);
        for (index, word) in words.enumerate() {
            out.extend_from_slice(if index == 0 { b"[\"" } else { b",\"" });
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
        }
        out.push(b']');
    }

    /// An object whose names and values are foreign; writes nothing when empty.
    pub(super) fn foreign<'v>(&mut self, key: Key, members: impl Iterator<Item = (&'v str, Cow<'v, [u8]>)>) {
        let mut members = members.peekable();
        if members.peek().is_none() {
            return;
        }
        let mut object = Object::begin(self.key(key));
        for (name, value) in members {
            escape::json(object.foreign_key(name), &*value);
        }
        object.end();
    }

    /// A list of objects; writes nothing when empty.
    pub(super) fn list<T>(&mut self, key: Key, items: &[T], write: impl Fn(&mut Object<'_>, &T)) {
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

fn seconds(out: &mut Vec<u8>, value: Duration) {
    number(out, value.as_secs());
    let mut fraction = *b".000000";
    let mut rest = value.subsec_micros();
    for digit in fraction.iter_mut().skip(1).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&fraction);
}

fn number(out: &mut Vec<u8>, value: u64) {
    // Most numbers are 0 or 1.
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
