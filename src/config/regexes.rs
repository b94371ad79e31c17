//! The regular expressions of one config: what all may take, and each text compiled once.

use std::collections::HashMap;

use super::Config;
use crate::routing::{PathPattern, Regex, RegexError, ValueMatch};

/// The memory that all of a config together may take.
pub(crate) const ALL_BYTES_MAX: usize = 64 << 20;

/// Above this, a warning is given.
pub(crate) const WARN_BYTES: usize = 256 << 10;

/// Why a config may not have an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Alone(RegexError),
    /// All of the config take more than [`ALL_BYTES_MAX`].
    TooLargeTogether,
}

/// The regexes of one config by their texts, so that each is compiled once.
pub(crate) struct Regexes {
    /// Those of the previous config, which need not be compiled again. Never those with groups.
    known: HashMap<Box<str>, Regex>,
    /// `None`: refused as [`Refused::TooLargeTogether`].
    used: HashMap<Box<str>, Option<Regex>>,
    /// As `used`, of those that say what their groups have found.
    with_groups: HashMap<Box<str>, Option<Regex>>,
    /// What is left of [`ALL_BYTES_MAX`].
    bytes_left: usize,
    is_full: bool,
    is_reported: bool,
}

impl Default for Regexes {
    fn default() -> Self {
        let (known, used, with_groups) = Default::default();
        Self { known, used, with_groups, bytes_left: ALL_BYTES_MAX, is_full: false, is_reported: false }
    }
}

impl Regexes {
    /// For the config that follows this one.
    pub(crate) fn after(config: &Config) -> Self {
        let matches = config.routes.iter().map(|route| &route.matches);
        let matches = matches.flat_map(|matches| [matches].into_iter().chain(&matches.not));
        let known = matches.flat_map(|matches| {
            let paths = matches.paths.iter().filter_map(|path| match path {
                PathPattern::Regex(regex) => Some(regex),
                PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
            });
            let headers = matches.headers.iter().flat_map(|header| &header.values);
            let values = headers.chain(matches.query.iter().flat_map(|query| &query.values));
            paths.chain(values.filter_map(|value| match value {
                ValueMatch::Regex(regex) => Some(regex),
                ValueMatch::Exact(_) | ValueMatch::Present => None,
            }))
        });
        let known = known.map(|regex| (regex.as_str().into(), regex.clone())).collect();
        Self { known, ..Self::default() }
    }

    /// The regex of this text, compiled if it is not known; and whether this is the first request for it.
    pub(crate) fn get(&mut self, text: &str) -> Result<(Regex, bool), Refused> {
        if let Some(used) = self.used.get(text) {
            return used.clone().map(|regex| (regex, false)).ok_or(Refused::TooLargeTogether);
        }
        let regex = match self.known.get(text) {
            Some(known) => known.clone(),
            // Once the limit is exceeded nothing more is compiled, so that a refused config takes no more memory.
            None if self.is_full => return Err(Refused::TooLargeTogether),
            None => Regex::new(text).map_err(Refused::Alone)?,
        };
        self.take_room_for(&regex);
        self.used.insert(text.into(), (!self.is_full).then(|| regex.clone()));
        if self.is_full { Err(Refused::TooLargeTogether) } else { Ok((regex, true)) }
    }

    /// Like [`Regexes::get`], of one that says what its groups have found.
    pub(crate) fn get_with_groups(&mut self, text: &str) -> Result<(Regex, bool), Refused> {
        if let Some(used) = self.with_groups.get(text) {
            return used.clone().map(|regex| (regex, false)).ok_or(Refused::TooLargeTogether);
        }
        if self.is_full {
            return Err(Refused::TooLargeTogether);
        }
        let regex = Regex::with_groups(text).map_err(Refused::Alone)?;
        self.take_room_for(&regex);
        self.with_groups.insert(text.into(), (!self.is_full).then(|| regex.clone()));
        if self.is_full { Err(Refused::TooLargeTogether) } else { Ok((regex, true)) }
    }

    fn take_room_for(&mut self, regex: &Regex) {
        self.is_full |= regex.bytes() > self.bytes_left;
        self.bytes_left = self.bytes_left.saturating_sub(regex.bytes());
    }

    /// Whether this is the first call: the limit for all together is reported once.
    pub(crate) fn is_first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.is_reported, true)
    }

    /// The one that takes the most memory.
    pub(crate) fn largest(&self) -> Option<&Regex> {
        self.used.values().chain(self.with_groups.values()).flatten().max_by_key(|regex| regex.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn together_they_have_a_limit_and_nothing_is_compiled_beyond_it() {
        let mut regexes = Regexes { bytes_left: 100 << 10, ..Regexes::default() };
        let number = |number: usize| format!(r"{number}[a-z]{{100}}");
        let refused = (0..1000).find_map(|count| Some((count, regexes.get(&number(count)).err()?)));
        let (count, why) = refused.expect("a limit");
        assert_eq!(why, Refused::TooLargeTogether);
        assert!(count > 1, "{count}");
        assert!(regexes.is_first_refusal() && !regexes.is_first_refusal());
        assert_eq!(regexes.get("x"), Err(Refused::TooLargeTogether), "small as it is");
        assert_eq!(regexes.get("("), Err(Refused::TooLargeTogether), "it is not even looked at");
        assert!(regexes.get(&number(0)).is_ok(), "it is there");
    }

    #[test]
    fn what_is_known_or_written_twice_is_compiled_once() {
        let text = "listeners: [{ address: '127.0.0.1:1' }]\npools: { p: ['127.0.0.1:2'] }\nroutes:\n  - { name: a, pool: p, match: { paths: [{ regex: ^/x }], headers: { a: { regex: ^y } } } }\n  - { name: b, pool: p, match: { paths: [/b], query: { q: { regex: ^y } } } }\n";
        let config = crate::config::parse(text, "test").expect("a valid config");
        let (PathPattern::Regex(path), ValueMatch::Regex(header), ValueMatch::Regex(query)) = (
            &config.routes[0].matches.paths[0],
            &config.routes[0].matches.headers[0].values[0],
            &config.routes[1].matches.query[0].values[0],
        ) else {
            panic!("they are expressions")
        };
        let same = |a: &Regex, b: &Regex| std::ptr::eq(a.as_str(), b.as_str());
        assert!(same(header, query));
        let mut next = Regexes::after(&config);
        let (again, is_new) = next.get("^/x").expect("a regex");
        assert!(is_new && same(&again, path));
        assert!(!next.get("^/x").expect("a regex").1);
    }
}
