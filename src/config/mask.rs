//! Hides secrets in excerpts of a config and in messages. Secrets are recognized by the names of their keys.
//!
//! The text is scanned without a YAML parser, because a config with errors often cannot be parsed. In doubt, too much
//! is hidden rather than too little.

use std::collections::HashMap;
use std::ops::Range;

use super::decode::shown;
use super::report::Diagnostic;
use super::source::{Source, Span};
use super::suggest;
use super::tree::{Kind, Node};

/// A key whose name contains one of these has a secret value. Names are compared in lower case, without separators.
const SECRETS: [&str; 10] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "credential",
    "authorization",
    "cookie",
    "bearer",
];

/// A key of ours that only sounds so: the values below it are paths, domains and flags.
const COOKIE_EDITS: &str = "response_cookies";

/// Stands for a secret in messages.
pub(crate) const HIDDEN: &str = "***";

/// A mask for each length of a character in UTF-8, so that byte offsets and columns stay.
const MASKS: [&str; 4] = ["*", "\u{d7}", "\u{2022}", "\u{1d7ce}"];

/// Whether the name of a key says that its value is secret, be it misspelt.
pub(crate) fn is_secret(key: &str) -> bool {
    let letters = letters(key);
    letters.contains(char::is_alphabetic)
        && key != COOKIE_EDITS
        && (names_a_key(&letters)
            || SECRETS.iter().any(|secret| letters.contains(secret) || suggest::is_slip(&letters, secret)))
}

fn letters(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

fn names_a_key(letters: &str) -> bool {
    letters.ends_with("key") || letters.ends_with("keys")
}

/// Whether a value tells nothing, although its key sounds so: the path of a file with a key, or the name of a cookie.
///
/// Only keys called just `key` or `keys` have paths: the value of `X-Api-Key` may be base64 that begins with `/`. The value
/// of a header field `Cookie` has an equals sign.
pub(crate) fn is_no_secret(key: &str, value: &str) -> bool {
    match letters(key).as_str() {
        "key" | "keys" => value.starts_with('/'),
        "cookie" | "cookies" | "setcookie" => {
            matches!(key, "cookie" | "cookies" | "set_cookie") && !value.contains('=')
        }
        // Of `cors`.
        "credentials" => matches!(value, "on" | "off" | "true" | "false"),
        _ => false,
    }
}

/// Whether a value is just `${NAME}`, or `$NAME` by mistake, which reveals no secret.
fn is_variable(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('$') else { return false };
    match rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        None => rest.len() > 1 && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
    }
}

/// The text with every character of the regions replaced; line breaks and blanks stay.
pub(crate) fn masked(text: &str, regions: &[Span]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for region in regions.iter().filter(|region| region.end <= text.len()) {
        let start = region.start.max(from);
        let (Some(before), Some(secret)) = (text.get(from..start), text.get(start..region.end)) else {
            continue;
        };
        out.push_str(before);
        for c in secret.chars() {
            match c.is_ascii_whitespace() {
                true => out.push(c),
                false => out.push_str(MASKS[c.len_utf8() - 1]),
            }
        }
        from = region.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Replaces pieces of a secret in a message by [`HIDDEN`], and the whole secret by `instead`.
pub(crate) fn conceal(message: &str, secret: &str, instead: &str) -> String {
    /// Shorter pieces may be in a message by chance, unless they are quoted.
    const PIECE_BYTES_MIN: usize = 6;
    const WHOLE_BYTES_MIN: usize = 3;
    const SECRET_BYTES_MAX: usize = 4096;
    let secret = secret.get(..secret.floor_char_boundary(SECRET_BYTES_MAX)).unwrap_or_default().trim();
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let is_quoted = first == '`';
        let quoted = is_quoted.then(|| rest[1..].split('`').next().unwrap_or_default());
        let whole = secret.len() >= WHOLE_BYTES_MIN && rest.starts_with(secret);
        let piece = common_prefix(rest, secret);
        let (length, shown) = match quoted {
            Some(quoted) if !quoted.is_empty() && quoted == secret => {
                (1 + quoted.len(), format!("`{instead}"))
            }
            Some(quoted) if !quoted.is_empty() && secret.contains(quoted.trim_end_matches("...")) => {
                (1 + quoted.len(), format!("`{HIDDEN}"))
            }
            _ if whole => (secret.len(), instead.to_owned()),
            _ if piece >= PIECE_BYTES_MIN => (piece, HIDDEN.to_owned()),
            _ => (first.len_utf8(), first.to_string()),
        };
        out.push_str(&shown);
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// The length of the longest prefix of `text` that `secret` contains.
fn common_prefix(text: &str, secret: &str) -> usize {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.take_while(|end| secret.contains(&text[..*end])).last().unwrap_or_default()
}

/// Removes from diagnostics what they quote of secret values and of the values of variables, and returns the spans of
/// the secrets. The tree has what the text does not show: resolved aliases, escapes and variables.
pub(crate) fn conceal_values(root: &Node, source: &Source, diagnostics: &mut [Diagnostic]) -> Vec<Span> {
    let mut values = Values { source, found: HashMap::new(), regions: Vec::new() };
    values.visit(root, false, true);
    for diagnostic in diagnostics {
        if let Some((secret, instead)) = values.found.get(&diagnostic.span.start) {
            diagnostic.message = conceal(&diagnostic.message, secret, instead);
            diagnostic.remedy = conceal(&diagnostic.remedy, secret, instead);
        }
    }
    values.regions
}

/// Values that must not be shown.
struct Values<'a> {
    source: &'a Source,
    /// By start offset: a value, and what is shown instead.
    found: HashMap<usize, (String, String)>,
    regions: Vec<Span>,
}

impl Values<'_> {
    fn visit(&mut self, node: &Node, is_hidden: bool, is_root: bool) {
        match &node.kind {
            Kind::Null | Kind::Broken => {}
            Kind::List(items) => items.iter().for_each(|item| self.visit(item, is_hidden, false)),
            Kind::Map(entries) => {
                for (key, value) in entries {
                    match &value.kind {
                        Kind::Map(pools) if is_root && key.text == "pools" => {
                            pools.iter().for_each(|(_, pool)| self.visit(pool, false, false));
                        }
                        Kind::Scalar { text, .. } if is_no_secret(&key.text, text) => {
                            self.visit(value, is_hidden, false);
                        }
                        _ => self.visit(value, is_hidden || is_secret(&key.text), false),
                    }
                }
            }
            Kind::Scalar { text, .. } => self.scalar(node.span, text, is_hidden),
        }
    }

    fn scalar(&mut self, span: Span, text: &str, is_hidden: bool) {
        let written = self.source.slice(span);
        if is_hidden && !is_variable(written.trim_matches(['"', '\''])) {
            self.regions.push(span);
            self.found.insert(span.start, (text.to_owned(), HIDDEN.to_owned()));
        } else if written.contains("${") {
            let written = written.trim_matches(['"', '\'']);
            self.found.insert(span.start, (text.to_owned(), shown(written)));
        }
    }
}

/// The spans of the secrets in a text, sorted and disjoint.
pub(crate) fn regions(text: &str) -> Vec<Span> {
    let mut scanner =
        Scanner { text, at: 0, regions: Vec::new(), pools: Pools::Elsewhere, known: HashMap::new() };
    while scanner.at < text.len() {
        scanner.line();
    }
    joined(scanner.regions)
}

/// Sorts spans, and merges those that overlap or touch.
pub(crate) fn joined(mut regions: Vec<Span>) -> Vec<Span> {
    regions.retain(|region| region.start < region.end);
    regions.sort();
    let mut joined: Vec<Span> = Vec::with_capacity(regions.len());
    for region in regions {
        match joined.last_mut() {
            Some(last) if region.start <= last.end => last.end = last.end.max(region.end),
            _ => joined.push(region),
        }
    }
    joined
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    regions: Vec<Span>,
    pools: Pools,
    /// Results of [`is_secret`]: most words occur often.
    known: HashMap<String, bool>,
}

/// Whether the scanner is within the section `pools`, whose keys are names: a pool may be called `token-service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pools {
    Elsewhere,
    /// After `pools:`, with the indentation of the names once it is known.
    Within(Option<usize>),
}

/// A word followed by a colon or an equals sign.
struct Word {
    range: Range<usize>,
    /// The offset after the sign and the blanks that follow it.
    value: usize,
    sign: u8,
}

// === impl Scanner ===

impl Scanner<'_> {
    /// Scans one line, and the lines that belong to the value of its last key.
    fn line(&mut self) {
        let (start, end) = (self.at, self.end_of_line(self.at));
        let line = &self.text[start..end];
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            return self.private_key(start, line);
        }
        self.url_users(start, line);
        let indent = line.len() - line.trim_start_matches(' ').len();
        self.follow_pools(line, indent);
        let mut from = start;
        while let Some(word) = self.word(from, end) {
            let is_pool = self.pools == Pools::Within(Some(indent)) && word.range.start - start <= indent + 1;
            from = match !is_pool && self.is_secret(word.range.clone()) {
                true => self.value(start, &word),
                false => word.value,
            };
        }
        // A value may end in a later line.
        self.at = from.max(end + 1);
    }

    fn is_secret(&mut self, word: Range<usize>) -> bool {
        let word = &self.text[word];
        if let Some(known) = self.known.get(word) {
            return *known;
        }
        let known = is_secret(word);
        self.known.insert(word.to_owned(), known);
        known
    }

    fn end_of_line(&self, from: usize) -> usize {
        self.text[from..].find('\n').map_or(self.text.len(), |at| from + at)
    }

    fn hide(&mut self, start: usize, end: usize) {
        self.regions.push(Span { start, end });
    }

    /// Hides a private key up to its end, or up to the end of the text if it has none.
    fn private_key(&mut self, start: usize, line: &str) {
        let start = start + line.find("-----BEGIN").unwrap_or_default();
        let end = self.text[start..].find("-----END").map_or(self.text.len(), |at| start + at);
        self.hide(start, end);
        self.at = self.end_of_line(end) + 1;
    }

    /// Hides `user:password` in URLs.
    fn url_users(&mut self, start: usize, line: &str) {
        for (at, _) in line.match_indices("://") {
            let from = at + "://".len();
            let authority = line[from..].split(|c: char| c.is_whitespace() || "/\"'".contains(c)).next();
            if let Some(user) = authority.and_then(|authority| authority.rfind('@')) {
                self.hide(start + from, start + from + user);
            }
        }
    }

    fn follow_pools(&mut self, line: &str, indent: usize) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return;
        }
        self.pools = match (indent, self.pools) {
            (0, _) if line.starts_with("pools:") => Pools::Within(None),
            (0, _) => Pools::Elsewhere,
            (_, Pools::Within(None)) => Pools::Within(Some(indent)),
            (_, pools) => pools,
        };
    }

    /// The next word of this line.
    fn word(&self, from: usize, end: usize) -> Option<Word> {
        let rest = self.text.get(from..end)?;
        for (at, sign) in rest.bytes().enumerate().filter(|(_, byte)| matches!(byte, b':' | b'=')) {
            let before = rest[..at].trim_end_matches([' ', '\t', '"', '\'']);
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.') || !c.is_ascii();
            let word = before.len() - before.trim_end_matches(is_part).len();
            if word > 0 {
                let behind = &rest[at + 1..];
                let blanks = behind.len() - behind.trim_start_matches([' ', '\t']).len();
                let range = from + before.len() - word..from + before.len();
                return Some(Word { range, value: from + at + 1 + blanks, sign });
            }
        }
        None
    }

    /// Hides the value of a word if it is secret, and returns where scanning continues.
    fn value(&mut self, line: usize, word: &Word) -> usize {
        let (start, end) = (word.value, self.end_of_line(word.value));
        let key = &self.text[word.range.clone()];
        let value = self.text[start..end].trim_end();
        let before = self.text[line..word.range.start].trim_end_matches(['"', '\'']).trim_end();
        let in_flow = before.ends_with(['{', ',', '[']);
        let stop = match value.as_bytes().first() {
            Some(b'"' | b'\'') => closing_quote(self.text, start),
            Some(b'{' | b'[') => closing_bracket(self.text, start),
            _ if word.sign == b'=' => {
                value.find([' ', '&', ',', '"', '\'', '}', ']']).map_or(start + value.len(), |at| start + at)
            }
            _ if in_flow => end_in_flow(self.text, start, start + value.len()),
            _ => return self.block(line, word, start + value.len()),
        };
        let value = self.text[start..stop].trim_matches(['"', '\'', ' ']);
        if !is_no_secret(key, value) && !is_variable(value) {
            self.hide(start, stop);
        }
        stop
    }

    /// Hides a value up to the end of its line, and the more deeply indented lines that follow.
    fn block(&mut self, line: usize, word: &Word, end: usize) -> usize {
        let value = &self.text[word.value..end];
        let (is_file, is_variable) =
            (is_no_secret(&self.text[word.range.clone()], value), is_variable(value));
        if !is_file && !is_variable {
            self.hide(word.value, end);
        }
        let column = word.range.start - line;
        let in_comment = self.text[line..].trim_start().starts_with('#');
        let mut at = self.end_of_line(end) + 1;
        while at < self.text.len() && !in_comment {
            let end = self.end_of_line(at);
            let line = &self.text[at..end];
            let indent = line.len() - line.trim_start().len();
            let is_item = indent == column && line.trim_start().starts_with("- ");
            if !line.trim().is_empty() && indent <= column && !is_item {
                break;
            }
            self.hide(at + indent, at + line.trim_end().len());
            at = end + 1;
        }
        at
    }
}

/// The offset after the quote that closes the one at `start`; the end of the text if none does.
fn closing_quote(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            byte if byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&quote) => at += 1,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The offset after the bracket that closes the one at `start`; the end of the text if none does.
fn closing_bracket(text: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' | b'\'' if text[..at].ends_with([' ', ',', '[', '{', ':']) => {
                at = closing_quote(text, at);
                continue;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The end of a plain scalar between brackets: at a closing bracket, or at the comma before the next key.
fn end_in_flow(text: &str, start: usize, end: usize) -> usize {
    let value = &text[start..end];
    let ends = |at: usize| {
        let rest = &value[at..];
        match rest.as_bytes()[0] {
            b'}' | b']' => {
                rest[1..].trim_start().is_empty() || rest[1..].trim_start().starts_with([',', '}', ']'])
            }
            _ => {
                let next = rest[1..].trim_start();
                let word = next.trim_start_matches(|c: char| c.is_alphanumeric() || "_-.\"'".contains(c));
                word.len() < next.len() && word.trim_start().starts_with(':')
            }
        }
    };
    // The brace of `${NAME:-x}` closes nothing else.
    let skipped = if value.starts_with("${") { value.find('}').map_or(0, |at| at + 1) } else { 0 };
    let places =
        value.bytes().enumerate().skip(skipped).filter(|(_, byte)| matches!(byte, b',' | b'}' | b']'));
    places.map(|(at, _)| at).find(|at| ends(*at)).map_or(end, |at| start + at)
}

#[cfg(test)]
mod tests;
