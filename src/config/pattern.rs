//! The regular expressions of routes: their syntax, their limits, and a cache that compiles equal ones once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use regex_automata::meta::{self, BuildError};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;

use super::Config;
use super::model::{PathPattern, ValueMatch};

/// The memory that one may take. Ordinary ones take some tens of KiB.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// The memory that all of a config together may take.
pub(crate) const ALL_BYTES_MAX: usize = 64 << 20;

/// Above this, a warning is given.
pub(crate) const WARN_BYTES: usize = 256 << 10;

/// The cache of the lazy DFA, for each thread and direction of search.
const CACHE_BYTES: usize = 128 << 10;

/// A compiled regular expression. Clones share it.
///
/// Character classes are those of ASCII unless the expression has `(?u)`: Unicode's make it up to fifty times as large,
/// and paths are ASCII only when they are matched.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    regex: meta::Regex,
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// With the parser's message.
    Syntax(String),
    /// It has Unicode classes without `(?u)`.
    Unicode,
    /// It takes more than [`BYTES_MAX`].
    TooLarge,
    /// All of the config take more than [`ALL_BYTES_MAX`].
    TooLargeTogether,
}

/// The patterns of one config by their texts, so that each is compiled once.
pub(crate) struct Patterns {
    /// Those of the previous config, which need not be compiled again.
    known: HashMap<Box<str>, Pattern>,
    /// `None`: refused as [`PatternError::TooLargeTogether`].
    used: HashMap<Box<str>, Option<Pattern>>,
    /// What is left of [`ALL_BYTES_MAX`].
    bytes_left: usize,
    is_full: bool,
    is_reported: bool,
}

// === impl Pattern ===

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, PatternError> {
        let settings = meta::Config::new()
            .utf8_empty(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES);
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let built = meta::Builder::new().configure(settings).syntax(syntax).build(text);
        let regex = built.map_err(|error| PatternError::of(&error))?;
        let pattern = Self(Arc::new(Compiled { text: text.into(), regex }));
        if pattern.bytes() > BYTES_MAX { Err(PatternError::TooLarge) } else { Ok(pattern) }
    }

    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether the text has a match anywhere.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.regex.is_match(text)
    }

    /// The memory that it takes, without the caches of threads.
    pub fn bytes(&self) -> usize {
        self.0.regex.memory_usage()
    }
}

/// Compares the texts.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.0.text).finish()
    }
}

// === impl PatternError ===

impl PatternError {
    fn of(error: &BuildError) -> Self {
        if error.size_limit().is_some() {
            return Self::TooLarge;
        }
        let text = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
        // The last line is the message; those before it show the expression.
        match text.lines().last().unwrap_or("").trim_start_matches("error: ") {
            why if why.starts_with("Unicode not allowed") => Self::Unicode,
            why if why.contains("size limit") => Self::TooLarge,
            why => Self::Syntax(why.to_owned()),
        }
    }
}

// === impl Patterns ===

impl Default for Patterns {
    fn default() -> Self {
        let (known, used) = Default::default();
        Self { known, used, bytes_left: ALL_BYTES_MAX, is_full: false, is_reported: false }
    }
}

impl Patterns {
    /// For the config that follows this one.
    pub(crate) fn after(config: &Config) -> Self {
        let matches = config.routes.iter().map(|route| &route.matches);
        let known = matches.flat_map(|matches| {
            let paths = matches.paths.iter().filter_map(|path| match path {
                PathPattern::Regex(pattern) => Some(pattern),
                PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
            });
            let headers = matches.headers.iter().map(|header| &header.value);
            let values = headers.chain(matches.query.iter().map(|query| &query.value));
            paths.chain(values.filter_map(|value| match value {
                ValueMatch::Regex(pattern) => Some(pattern),
                ValueMatch::Exact(_) | ValueMatch::Present => None,
            }))
        });
        let known = known.map(|pattern| (pattern.as_str().into(), pattern.clone())).collect();
        Self { known, ..Self::default() }
    }

    /// The pattern of this text, compiled if it is not known; and whether this is the first request for it.
    pub(crate) fn get(&mut self, text: &str) -> Result<(Pattern, bool), PatternError> {
        if let Some(used) = self.used.get(text) {
            return used.clone().map(|pattern| (pattern, false)).ok_or(PatternError::TooLargeTogether);
        }
        let pattern = match self.known.get(text) {
            Some(known) => known.clone(),
            // Once the limit is exceeded nothing more is compiled, so that a refused config takes no more memory.
            None if self.is_full => return Err(PatternError::TooLargeTogether),
            None => Pattern::new(text)?,
        };
        self.is_full |= pattern.bytes() > self.bytes_left;
        self.bytes_left = self.bytes_left.saturating_sub(pattern.bytes());
        self.used.insert(text.into(), (!self.is_full).then(|| pattern.clone()));
        if self.is_full { Err(PatternError::TooLargeTogether) } else { Ok((pattern, true)) }
    }

    /// Whether this is the first call: the limit for all together is reported once.
    pub(crate) fn is_first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.is_reported, true)
    }

    /// The one that takes the most memory.
    pub(crate) fn largest(&self) -> Option<&Pattern> {
        self.used.values().flatten().max_by_key(|pattern| pattern.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_ascii_unless_it_says_otherwise() {
        let is_match = |pattern: &str, text: &str| Pattern::new(pattern).expect("a pattern").is_match(text);
        assert!(is_match(r"^\w+$", "Abc_1") && !is_match(r"^\w+$", "é"));
        assert!(is_match(r"(?u)^\w+$", "é") && is_match(r"^(?u:\w)+$", "é"));
        assert!(is_match("^é$", "é") && is_match("(?i)^ABC$", "abc"));
        assert!(is_match("x", "a-x-b"), "it is found anywhere");
        assert_eq!(Pattern::new("[é]"), Err(PatternError::Unicode));
        assert_eq!(Pattern::new(r"\p{Greek}"), Err(PatternError::Unicode));
        assert!(is_match("(?u)^[é]$", "é"));
    }

    #[test]
    fn ordinary_ones_are_small_and_large_ones_are_refused() {
        let bytes = |text: &str| Pattern::new(text).expect("a pattern").bytes();
        assert!(bytes(r"^/u1/[\w-]{1,64}/items/[\w-]{1,64}$") < 128 << 10);
        assert!(bytes(r"^/v[0-9]+/") < 32 << 10);
        assert_eq!(Pattern::new(r"(?u)\w{1000}"), Err(PatternError::TooLarge));
        assert_eq!(Pattern::new("((a{100}){100}){100}"), Err(PatternError::TooLarge));
        assert!(matches!(Pattern::new("("), Err(PatternError::Syntax(why)) if why == "unclosed group"));
    }

    #[test]
    fn together_they_have_a_limit_and_nothing_is_compiled_beyond_it() {
        let mut patterns = Patterns { bytes_left: 100 << 10, ..Patterns::default() };
        let number = |number: usize| format!(r"{number}[a-z]{{100}}");
        let refused = (0..1000).find_map(|count| Some((count, patterns.get(&number(count)).err()?)));
        let (count, why) = refused.expect("a limit");
        assert_eq!(why, PatternError::TooLargeTogether);
        assert!(count > 1, "{count}");
        assert!(patterns.is_first_refusal() && !patterns.is_first_refusal());
        assert_eq!(patterns.get("x"), Err(PatternError::TooLargeTogether), "small as it is");
        assert_eq!(patterns.get("("), Err(PatternError::TooLargeTogether), "it is not even looked at");
        assert!(patterns.get(&number(0)).is_ok(), "it is there");
    }

    #[test]
    fn what_is_known_or_written_twice_is_compiled_once() {
        let text = "listeners: [{ address: '127.0.0.1:1' }]\npools: { p: ['127.0.0.1:2'] }\nroutes:\n  - { name: a, pool: p, match: { paths: [{ regex: ^/x }], headers: { a: { regex: ^y } } } }\n  - { name: b, pool: p, match: { paths: [/b], query: { q: { regex: ^y } } } }\n";
        let config = crate::config::parse(text, "test").expect("a valid config");
        let (PathPattern::Regex(path), ValueMatch::Regex(header), ValueMatch::Regex(query)) = (
            &config.routes[0].matches.paths[0],
            &config.routes[0].matches.headers[0].value,
            &config.routes[1].matches.query[0].value,
        ) else {
            panic!("they are expressions")
        };
        assert!(Arc::ptr_eq(&header.0, &query.0));
        let mut next = Patterns::after(&config);
        let (again, is_new) = next.get("^/x").expect("a pattern");
        assert!(is_new && Arc::ptr_eq(&again.0, &path.0));
        assert!(!next.get("^/x").expect("a pattern").1);
    }
}
