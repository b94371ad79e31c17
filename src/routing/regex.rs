//! Regular expressions: their syntax and what one may take.

use std::fmt;
use std::sync::Arc;

use regex_automata::meta::{self, BuildError};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::primitives::PatternID;
use regex_automata::util::syntax;

use crate::template::Groups;

/// The cache of the lazy DFA, for each thread and direction of search.
const CACHE_BYTES: usize = 128 << 10;

/// A compiled regular expression. Clones share it.
///
/// Character classes are those of ASCII unless the expression has `(?u)`: Unicode's make it up to fifty times as large,
/// and paths are ASCII only when they are matched.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    regex: meta::Regex,
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegexError {
    /// With the parser's message.
    Syntax(String),
    /// It has Unicode classes without `(?u)`.
    Unicode,
    /// It takes more than [`Regex::BYTES_MAX`].
    TooLarge,
}

// === impl Regex ===

impl Regex {
    /// The memory that one may take. Ordinary ones take some tens of KiB.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Compiles an expression of which only whether it matches is asked.
    pub fn new(text: &str) -> Result<Self, RegexError> {
        Self::compile(text, WhichCaptures::None)
    }

    /// Compiles an expression that also says what its groups have found.
    pub fn with_groups(text: &str) -> Result<Self, RegexError> {
        Self::compile(text, WhichCaptures::All)
    }

    fn compile(text: &str, captures: WhichCaptures) -> Result<Self, RegexError> {
        let settings = meta::Config::new()
            .utf8_empty(false)
            .which_captures(captures)
            .nfa_size_limit(Some(Self::BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES);
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let built = meta::Builder::new().configure(settings).syntax(syntax).build(text);
        let regex = built.map_err(|error| RegexError::of(&error))?;
        let compiled = Self(Arc::new(Compiled { text: text.into(), regex }));
        if compiled.bytes() > Self::BYTES_MAX { Err(RegexError::TooLarge) } else { Ok(compiled) }
    }

    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether the text has a match anywhere.
    pub fn is_match(&self, text: impl AsRef<[u8]>) -> bool {
        self.0.regex.is_match(text.as_ref())
    }

    /// What the groups of the first match have found; `None`: there is no match. Needs [`Regex::with_groups`].
    pub fn groups(&self, text: &str) -> Option<Groups> {
        let mut captures = self.0.regex.create_captures();
        self.0.regex.captures(text, &mut captures);
        captures.is_match().then(|| Groups::new(text, captures.iter().map(|span| Some(span?.range()))))
    }

    /// The number of a group by its number or its name. Needs [`Regex::with_groups`].
    pub fn group_number(&self, name: &str) -> Option<usize> {
        let groups = self.0.regex.group_info();
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        match is_number {
            true => name.parse().ok().filter(|number| *number < groups.group_len(PatternID::ZERO)),
            false => groups.to_index(PatternID::ZERO, name),
        }
    }

    /// The numbers and names of all groups but the whole match. Needs [`Regex::with_groups`].
    pub fn group_names(&self) -> impl Iterator<Item = String> + '_ {
        let groups = self.0.regex.group_info().pattern_names(PatternID::ZERO).enumerate().skip(1);
        groups.map(|(number, name)| name.map_or_else(|| number.to_string(), str::to_owned))
    }

    /// The memory that it takes, without the caches of threads.
    pub fn bytes(&self) -> usize {
        self.0.regex.memory_usage()
    }
}

/// Compares the texts.
impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regex").field(&self.0.text).finish()
    }
}

// === impl RegexError ===

impl RegexError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_ascii_unless_it_says_otherwise() {
        let is_match = |pattern: &str, text: &str| Regex::new(pattern).expect("a pattern").is_match(text);
        assert!(is_match(r"^\w+$", "Abc_1") && !is_match(r"^\w+$", "é"));
        assert!(is_match(r"(?u)^\w+$", "é") && is_match(r"^(?u:\w)+$", "é"));
        assert!(is_match("^é$", "é") && is_match("(?i)^ABC$", "abc"));
        assert!(is_match("x", "a-x-b"), "it is found anywhere");
        assert_eq!(Regex::new("[é]"), Err(RegexError::Unicode));
        assert_eq!(Regex::new(r"\p{Greek}"), Err(RegexError::Unicode));
        assert!(is_match("(?u)^[é]$", "é"));
    }

    #[test]
    fn groups_have_numbers_and_names() {
        let regex = Regex::with_groups("^/u/(?P<id>[0-9]+)(/x)?").expect("a pattern");
        assert_eq!(regex.group_names().collect::<Vec<_>>(), ["id", "2"]);
        let number = |name: &str| regex.group_number(name);
        assert_eq!(
            [number("0"), number("1"), number("id"), number("3"), number("x"), number("")],
            [Some(0), Some(1), Some(1), None, None, None]
        );
        let groups = regex.groups("/u/77/y").expect("a match");
        assert_eq!([groups.get(0), groups.get(1), groups.get(2), groups.get(9)], ["/u/77", "77", "", ""]);
        assert_eq!(regex.groups("/v/77"), None);
    }

    #[test]
    fn ordinary_ones_are_small_and_large_ones_are_refused() {
        let bytes = |text: &str| Regex::new(text).expect("a pattern").bytes();
        assert!(bytes(r"^/u1/[\w-]{1,64}/items/[\w-]{1,64}$") < 128 << 10);
        assert!(bytes(r"^/v[0-9]+/") < 32 << 10);
        assert_eq!(Regex::new(r"(?u)\w{1000}"), Err(RegexError::TooLarge));
        assert_eq!(Regex::new("((a{100}){100}){100}"), Err(RegexError::TooLarge));
        assert!(matches!(Regex::new("("), Err(RegexError::Syntax(why)) if why == "unclosed group"));
    }
}
