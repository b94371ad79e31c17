//! Changes of a head's fields, as a list that each engine applies to its own kind of head.
//!
//! The values lie in one buffer, which the worker's next request uses again.

use std::ops::Range;

use http::HeaderName;

use crate::header_field::{CLAIMS, NameFilter, is_connection_specific, is_framing, is_valid_value};

/// Fields that belong to one connection (RFC 9110, section 7.6.1). No field is named `Close`, but `Connection: close`
/// names it.
const HOP_BY_HOP: [&str; 7] =
    ["close", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "upgrade"];

/// Edits in order; an edit that a later one overrides is gone.
#[derive(Debug, Default)]
pub struct Edits {
    /// Fields to remove from any head: those that are hop by hop, except `Upgrade` on a connection that is upgraded.
    hop_by_hop: &'static [&'static str],
    /// Fields to remove because the client is not trusted: [`CLAIMS`] or none.
    claims: &'static [&'static str],
    list: Vec<Edit>,
    /// The added lines, as HTTP/1.1 sends them.
    lines: Vec<u8>,
    /// `lines` has lines of edits that are gone.
    torn: bool,
    /// A bit for the length of each name in `list`, modulo 64: enough to tell that a name is new.
    lengths: u64,
    /// All names whose fields are removed or replaced.
    replacing: NameFilter,
}

#[derive(Debug)]
struct Edit {
    name: HeaderName,
    change: Change,
}

/// The ranges are those of the values in `Edits::lines`.
#[derive(Debug, Clone)]
enum Change {
    Remove,
    Set(Range<usize>),
    Append(Range<usize>),
}

/// One change. The values have no byte that could end a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// All fields of that name go.
    Remove,
    /// One field of that name, in the place of all others.
    Set(&'a [u8]),
    /// One more field of that name.
    Append(&'a [u8]),
}

impl Edits {
    pub fn clear(&mut self) {
        let Self { hop_by_hop, claims, list, lines, torn, lengths, replacing } = self;
        list.clear();
        lines.clear();
        (*hop_by_hop, *claims, *torn) = (&[], &[], false);
        (*lengths, *replacing) = Default::default();
    }

    /// Removes the hop-by-hop fields, except `Upgrade` where the connection is upgraded.
    pub fn remove_hop_by_hop(&mut self, upgrade: bool) {
        let [rest @ .., _] = &HOP_BY_HOP;
        self.hop_by_hop = if upgrade { rest } else { &HOP_BY_HOP };
        self.replacing.extend(const { NameFilter::of(&HOP_BY_HOP) });
    }

    /// Removes the fields in which proxies describe the client, which anybody can send, except those that are written
    /// afresh.
    pub fn remove_claims(&mut self) {
        self.claims = &CLAIMS;
        self.replacing.extend(const { NameFilter::of(&CLAIMS) });
    }

    /// Removes all fields of that name.
    pub fn remove(&mut self, name: HeaderName) {
        self.replace(name, Change::Remove);
    }

    /// Puts one field of that name in the place of all others; none if `value` is invalid.
    pub fn set(&mut self, name: HeaderName, value: &str) {
        self.set_with(name, |line| line.extend_from_slice(value.as_bytes()));
    }

    /// As [`Edits::set`], with a value that `write` appends.
    pub fn set_with(&mut self, name: HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        let change = self.line(&name, write).map_or(Change::Remove, Change::Set);
        self.replace(name, change);
    }

    /// Adds a field of that name; none if `value` is invalid.
    pub fn append(&mut self, name: HeaderName, value: &[u8]) {
        self.append_with(name, |line| line.extend_from_slice(value));
    }

    /// As [`Edits::append`], with a value that `write` appends.
    pub fn append_with(&mut self, name: HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(value) = self.line(&name, write) {
            self.lengths |= length_bit(&name);
            self.list.push(Edit { name, change: Change::Append(value) });
        }
    }

    /// Writes a line, and returns the range of its value; `None`: the field must not be sent.
    fn line(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>)) -> Option<Range<usize>> {
        let (name, begin) = (name.as_str(), self.lines.len());
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        let value = self.lines.len();
        write(&mut self.lines);
        let value = value..self.lines.len();
        if is_valid_value(self.lines.get(value.clone())?) && !is_of_engines(name) {
            self.lines.extend_from_slice(b"\r\n");
            return Some(value);
        }
        self.lines.truncate(begin);
        None
    }

    fn replace(&mut self, name: HeaderName, change: Change) {
        let bytes = name.as_str().as_bytes();
        let length = length_bit(&name);
        if self.lengths & length != 0 {
            let before = self.list.len();
            self.list.retain(|edit| edit.name != name);
            self.torn |= self.list.len() < before;
        }
        self.lengths |= length;
        self.replacing.insert(bytes);
        self.list.push(Edit { name, change });
    }

    /// Name and change of each edit.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Action<'_>)> {
        let standing = self.hop_by_hop.iter().chain(self.claims).map(|name| (*name, Action::Remove));
        standing.chain(self.list.iter().map(|edit| (edit.name.as_str(), self.action(&edit.change))))
    }

    fn action(&self, change: &Change) -> Action<'_> {
        let value = |range: &Range<usize>| self.lines.get(range.clone()).unwrap_or_default();
        match change {
            Change::Remove => Action::Remove,
            Change::Set(range) => Action::Set(value(range)),
            Change::Append(range) => Action::Append(value(range)),
        }
    }

    /// The names of removed and replaced fields that are as long as `name`: those to compare it with, nearly always
    /// none.
    pub fn replaced(&self, name: &[u8]) -> impl Iterator<Item = &str> {
        let length = name.len();
        let (hop_by_hop, claims, list) = match self.replacing.may_have(name) {
            true => (self.hop_by_hop, self.claims, &*self.list),
            false => Default::default(),
        };
        let named = list.iter().filter(|edit| !matches!(edit.change, Change::Append(_)));
        let all = hop_by_hop.iter().chain(claims).copied().chain(named.map(|edit| edit.name.as_str()));
        all.filter(move |name| name.len() == length)
    }

    /// Whether some edit adds a field of that name.
    pub fn gives(&self, name: &HeaderName) -> bool {
        let gives = |edit: &Edit| !matches!(edit.change, Change::Remove) && edit.name == *name;
        self.lengths & length_bit(name) != 0 && self.list.iter().any(gives)
    }

    /// The added fields, in order: name, and range of the value in `lines`.
    pub fn added(&self) -> impl Iterator<Item = (&HeaderName, Range<usize>)> {
        self.list.iter().filter_map(|edit| match &edit.change {
            Change::Remove => None,
            Change::Set(value) | Change::Append(value) => Some((&edit.name, value.clone())),
        })
    }

    /// The buffer in which the values lie.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Writes the added lines.
    pub fn write_lines(&self, out: &mut Vec<u8>) {
        if !self.torn {
            return out.extend_from_slice(&self.lines);
        }
        for edit in &self.list {
            if let Action::Set(value) | Action::Append(value) = self.action(&edit.change) {
                for part in [edit.name.as_str().as_bytes(), b": ", value, b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
    }
}

fn length_bit(name: &HeaderName) -> u64 {
    1 << (name.as_str().len() & 63)
}

/// Whether engines write that field themselves, for framing and connection, so that no edit may add it.
#[inline]
fn is_of_engines(name: &str) -> bool {
    name == "trailer" || is_connection_specific(name.as_bytes()) || is_framing(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    fn list(edits: &Edits) -> Vec<(&str, Action<'_>)> {
        edits.iter().collect()
    }

    #[test]
    fn what_comes_later_counts() {
        let mut edits = Edits::default();
        edits.append(name("x-a"), b"0");
        edits.set(name("x-a"), "1");
        edits.append(name("x-a"), b"2");
        edits.remove(name("x-b"));
        assert_eq!(
            list(&edits),
            [("x-a", Action::Set(b"1")), ("x-a", Action::Append(b"2")), ("x-b", Action::Remove)]
        );
        edits.remove(name("x-a"));
        assert_eq!(list(&edits), [("x-b", Action::Remove), ("x-a", Action::Remove)]);
        assert_eq!(edits.replaced(b"X_A").collect::<Vec<_>>(), ["x-b", "x-a"]);
        assert_eq!(edits.replaced(b"host").count(), 0);
        edits.clear();
        assert_eq!((list(&edits), edits.replaced(b"X_A").count()), (vec![], 0));
    }

    #[test]
    fn lines_are_those_of_the_edits_that_are_left() {
        let mut edits = Edits::default();
        let lines = |edits: &Edits| {
            let mut out = Vec::new();
            edits.write_lines(&mut out);
            String::from_utf8(out).expect("ASCII")
        };
        edits.set(name("x-a"), "1");
        edits.append(name("x-b"), b"2");
        edits.set(name("connection"), "close");
        assert_eq!(lines(&edits), "x-a: 1\r\nx-b: 2\r\n");
        edits.set(name("x-a"), "3");
        assert_eq!(lines(&edits), "x-b: 2\r\nx-a: 3\r\n");
        assert!(edits.gives(&name("x-a")) && !edits.gives(&name("connection")) && !edits.gives(&name("x-c")));
    }

    #[test]
    fn an_upgrade_keeps_its_field() {
        let mut edits = Edits::default();
        edits.remove_hop_by_hop(true);
        assert_eq!(edits.replaced(b"Upgrade").count(), 0);
        edits.remove_hop_by_hop(false);
        assert_eq!(edits.replaced(b"Upgrade").collect::<Vec<_>>(), ["upgrade"]);
    }

    #[test]
    fn a_value_that_would_end_its_field_is_not_sent() {
        let mut edits = Edits::default();
        edits.set(name("x-a"), "1\r\nx-b: 2");
        edits.append(name("x-c"), b"\0");
        assert_eq!(list(&edits), [("x-a", Action::Remove)]);
    }
}
