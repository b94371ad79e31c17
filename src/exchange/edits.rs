//! Changes of a head's fields, as a list that each carrier applies to its own form.
//!
//! The values lie in one piece of memory, which the next request uses again.

use std::ops::Range;

use http::HeaderName;

/// Edits in order; what a later one undoes is not there any more.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
    text: Vec<u8>,
    /// A bit for each length of a name that some edit has, and of one whose fields some edit replaces.
    named: u64,
    replacing: u64,
}

#[derive(Debug)]
struct Edit {
    name: EditName,
    change: Change,
}

#[derive(Debug)]
enum EditName {
    Known(&'static str),
    /// As `Connection` has it, or the config.
    Other(HeaderName),
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Set(Range<usize>),
    Append(Range<usize>),
}

/// One change. The names are in lower case; the values have no byte that could end a field.
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
        self.list.clear();
        self.text.clear();
        (self.named, self.replacing) = (0, 0);
    }

    /// All fields of that name go. `name` is in lower case.
    pub fn remove(&mut self, name: &'static str) {
        self.replace(EditName::Known(name), Change::Remove);
    }

    pub fn remove_other(&mut self, name: HeaderName) {
        self.replace(EditName::Other(name), Change::Remove);
    }

    /// One field of that name, in the place of all others; none where `value` could not be sent.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.set_with(name, |text| text.extend_from_slice(value.as_bytes()));
    }

    /// As [`Edits::set`], with a value that is written in place.
    pub fn set_with(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.text.len();
        write(&mut self.text);
        if sendable(self.text.get(begin..).unwrap_or_default()) {
            self.replace(EditName::Known(name), Change::Set(begin..self.text.len()));
        } else {
            self.text.truncate(begin);
            self.remove(name);
        }
    }

    /// One more field of that name; none where `value` could not be sent.
    pub fn append(&mut self, name: &'static str, value: &[u8]) {
        if sendable(value) {
            let begin = self.text.len();
            self.text.extend_from_slice(value);
            let change = Change::Append(begin..self.text.len());
            self.named |= bit(name);
            self.list.push(Edit { name: EditName::Known(name), change });
        }
    }

    fn replace(&mut self, name: EditName, change: Change) {
        let bit = bit(name.as_str());
        if self.named & bit != 0 {
            self.list.retain(|edit| edit.name.as_str() != name.as_str());
        }
        self.named |= bit;
        self.replacing |= bit;
        self.list.push(Edit { name, change });
    }

    /// Name and change of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Action<'_>)> {
        self.list.iter().map(|edit| {
            let value = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
            let action = match &edit.change {
                Change::Remove => Action::Remove,
                Change::Set(range) => Action::Set(value(range)),
                Change::Append(range) => Action::Append(value(range)),
            };
            (edit.name.as_str(), action)
        })
    }

    /// The names whose fields of the original go and that are as long as `name`; nearly always none.
    pub fn replaced(&self, name: &[u8]) -> impl Iterator<Item = &str> {
        let possible = self.replacing >> (name.len() & 63) & 1 != 0;
        let length = name.len();
        self.list
            .iter()
            .filter(move |edit| possible && !matches!(edit.change, Change::Append(_)))
            .map(|edit| edit.name.as_str())
            .filter(move |name| name.len() == length)
    }
}

impl EditName {
    fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name,
            Self::Other(name) => name.as_str(),
        }
    }
}

fn bit(name: &str) -> u64 {
    1 << (name.len() & 63)
}

/// Whether these bytes can be a field's value. Without branches, so that the compiler makes it wide.
fn sendable(value: &[u8]) -> bool {
    let bad = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
    !value.iter().fold(false, |found, byte| found | bad(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(edits: &Edits) -> Vec<(&str, Action<'_>)> {
        edits.iter().collect()
    }

    #[test]
    fn what_comes_later_counts() {
        let mut edits = Edits::default();
        edits.append("x-a", b"0");
        edits.set("x-a", "1");
        edits.append("x-a", b"2");
        edits.remove("x-b");
        assert_eq!(
            list(&edits),
            [("x-a", Action::Set(b"1")), ("x-a", Action::Append(b"2")), ("x-b", Action::Remove)]
        );
        edits.remove("x-a");
        assert_eq!(list(&edits), [("x-b", Action::Remove), ("x-a", Action::Remove)]);
        assert_eq!(edits.replaced(b"X_A").collect::<Vec<_>>(), ["x-b", "x-a"]);
        assert_eq!(edits.replaced(b"host").count(), 0);
        edits.clear();
        assert_eq!((list(&edits), edits.replaced(b"X_A").count()), (vec![], 0));
    }

    #[test]
    fn a_value_that_would_end_its_field_is_not_sent() {
        let mut edits = Edits::default();
        edits.set("x-a", "1\r\nx-b: 2");
        edits.append("x-c", b"\0");
        assert_eq!(list(&edits), [("x-a", Action::Remove)]);
    }
}
