//! Parses YAML to a tree that keeps positions and the text of plain scalars.
//!
//! Scalars are not typed here: the type of a key decides what `off`, `8080`, `010` and `1e3` mean. Anchors and aliases
//! are followed; tags, merge keys and a second document are refused. The YAML parser stops at the first syntax error,
//! so only a syntax error hides later errors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as YamlSpan, StrInput};

use super::decode::{DiagnosticSink, shown};
use super::source::{Source, Span};

/// Nodes that aliases may add to a file: nested aliases multiply ("billion laughs").
const ALIASED_NODES_MAX: usize = 100_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    /// Its variables could not be replaced, which has been reported.
    Broken,
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) span: Span,
    pub(crate) text: String,
}

impl Node {
    /// Names the node in errors such as "expected a list, found ...".
    pub(crate) fn what(&self) -> String {
        match &self.kind {
            Kind::Null | Kind::Broken => "nothing".to_owned(),
            Kind::Scalar { text, .. } => format!("`{}`", shown(text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a section of keys".to_owned(),
        }
    }

    /// Removes all keys of a map but one, and some keys of that one's value.
    pub(crate) fn keep_only(&mut self, wanted: &str, without: &[&str]) {
        let Kind::Map(entries) = &mut self.kind else { return };
        entries.retain(|(key, _)| key.text == wanted);
        for (_, value) in entries {
            if let Kind::Map(entries) = &mut value.kind {
                entries.retain(|(key, _)| !without.contains(&key.text.as_str()));
            }
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// The kind of a scalar: null if it is one of YAML's plain words for that.
    pub(crate) fn scalar(text: String, plain: bool) -> Kind {
        if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
            Kind::Null
        } else {
            Kind::Scalar { text, plain }
        }
    }

    /// A node for a value that is not in the file, such as a default.
    pub(crate) fn from_json(value: &serde_json::Value, span: Span) -> Node {
        use serde_json::Value;
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Scalar { text: value.to_string(), plain: true },
            Value::Number(value) => Kind::Scalar { text: value.to_string(), plain: true },
            Value::String(text) => Kind::Scalar { text: text.clone(), plain: false },
            Value::Array(items) => Kind::List(items.iter().map(|item| Node::from_json(item, span)).collect()),
            Value::Object(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Key { span, text: key.clone() }, Node::from_json(value, span)))
                    .collect(),
            ),
        };
        Node { span, kind }
    }

    fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Null | Kind::Broken | Kind::Scalar { .. } => 0,
            Kind::List(items) => items.iter().map(Node::size).sum(),
            Kind::Map(entries) => entries.iter().map(|(_, value)| 1 + value.size()).sum(),
        }
    }
}

/// The document's root; `None` if the text is refused as a whole, which has been reported.
pub(crate) fn parse(source: &Source, diagnostics: &mut DiagnosticSink) -> Option<Node> {
    let text = source.text();
    let parser = Parser::new_from_str(text);
    let mut builder = Builder { source, text, parser, anchors: HashMap::new(), aliased: 0, diagnostics };
    match builder.document() {
        Ok(root) => Some(root),
        Err(Stop::Syntax(error)) => {
            report_syntax(text, &error, diagnostics);
            None
        }
        Err(Stop::Reported) => None,
    }
}

/// Why building ended early.
enum Stop {
    Syntax(ScanError),
    Reported,
}

struct Builder<'a, 'c> {
    source: &'a Source,
    /// Of `source`.
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    diagnostics: &'c mut DiagnosticSink,
}

impl<'a> Builder<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let span = self.span(span);
                Ok((event, span))
            }
            Some(Err(error)) => Err(Stop::Syntax(error)),
            None => Ok((Event::StreamEnd, Span { start: self.text.len(), end: self.text.len() })),
        }
    }

    fn span(&self, span: YamlSpan) -> Span {
        let length = self.text.len();
        let range = span.byte_range().unwrap_or(length..length);
        let start = range.start.min(length);
        Span { start, end: range.end.clamp(start, length) }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    let message = "a config is one document";
                    self.diagnostics.error(
                        span,
                        message,
                        "remove this line and what follows, or write a file of its own",
                    );
                    return Err(Stop::Reported);
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span)?),
            }
        }
        Ok(root.unwrap_or(Node { span: Span::default(), kind: Kind::Null }))
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Stop> {
        let has_tag = event.tag().is_some();
        let anchor = event.anchor_id();
        let node = match event {
            Event::Scalar(text, style, ..) => {
                let kind = Node::scalar(text.into_owned(), style == ScalarStyle::Plain);
                Node { span: self.trimmed(span), kind }
            }
            Event::SequenceStart(..) => self.list(span)?,
            Event::MappingStart(..) => self.map(span)?,
            Event::Alias(id) => self.alias(id, span)?,
            _ => Node { span, kind: Kind::Null },
        };
        if has_tag {
            self.diagnostics.error(
                node.span,
                "YAML tags (`!name`) mean nothing here",
                "write the value without its tag",
            );
        }
        if let Some(id) = anchor {
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    /// The span without trailing blanks; some of the parser's spans reach to the next token.
    fn trimmed(&self, span: Span) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or("");
        Span { start: span.start, end: span.start + text.trim_end().len() }
    }

    fn list(&mut self, start: Span) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let end = span.end.max(start.end);
                let span = self.trimmed(Span { start: start.start, end });
                return Ok(Node { span, kind: Kind::List(items) });
            }
            items.push(self.node(event, span)?);
        }
    }

    fn map(&mut self, start: Span) -> Result<Node, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                // A diagnostic marks one line only, so the span of a block map is that of its first key.
                let first = entries.first().map(|(key, _)| key.span);
                let braces = Span { start: start.start, end: span.end.max(start.end) };
                let is_flow = self.text[start.start..].starts_with('{');
                let span = if is_flow { self.trimmed(braces) } else { first.unwrap_or(start) };
                return Ok(Node { span, kind: Kind::Map(entries) });
            }
            let key = self.node(event, span)?;
            self.refuse_bracketed(&key)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if let Some(key) = self.key(key, &mut seen) {
                entries.push((key, value));
            }
        }
    }

    /// `[[::1]:80]` is a list with a map to YAML, whose key is a list.
    fn refuse_bracketed(&mut self, key: &Node) -> Result<(), Stop> {
        let rest = self.text[key.span.start..].lines().next().unwrap_or_default();
        match bracketed_address(rest).filter(|_| matches!(key.kind, Kind::List(_))) {
            None => Ok(()),
            Some(address) => {
                self.diagnostics.error(key.span, TAKEN_FOR_A_LIST, in_quotes(address));
                Err(Stop::Reported)
            }
        }
    }

    fn key(&mut self, node: Node, seen: &mut HashMap<String, Span>) -> Option<Key> {
        let text = match node.kind {
            Kind::Scalar { text, plain } if !(plain && text == "<<") => text,
            Kind::Scalar { .. } => {
                self.diagnostics.error(
                    node.span,
                    "merge keys (`<<`) are not read",
                    "write the keys out here",
                );
                return None;
            }
            _ => {
                self.diagnostics.error(node.span, "a key must be a text", "write `key: value`");
                return None;
            }
        };
        if let Some(first) = seen.get(&text) {
            let line = self.source.line(first.start);
            let message = format!("`{}` is written twice", shown(&text));
            self.diagnostics.error(
                node.span,
                message,
                format!("line {line} has it already; keep one of them"),
            );
            return None;
        }
        seen.insert(text.clone(), node.span);
        Some(Key { span: node.span, text })
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&id) else {
            let remedy = "an anchor (`&name`) must be complete before its alias (`*name`)";
            self.diagnostics.error(span, "this alias contains itself", remedy);
            return Err(Stop::Reported);
        };
        self.aliased = self.aliased.saturating_add(node.size());
        if self.aliased > ALIASED_NODES_MAX {
            self.diagnostics.error(span, "the aliases of this file repeat too much", "write the values out");
            return Err(Stop::Reported);
        }
        Ok(node.clone())
    }
}

fn report_syntax(text: &str, error: &ScanError, diagnostics: &mut DiagnosticSink) {
    let start = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let start = (0..=start).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let end = text[start..].chars().next().map_or(start, |first| start + first.len_utf8());
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let (message, remedy) = syntax_words(error.kind(), line);
    let message = message.map_or_else(|| format!("this is not YAML: {}", error.info()), str::to_owned);
    diagnostics.error(Span { start, end }, message, remedy);
}

const TAKEN_FOR_A_LIST: &str = "the brackets of an IPv6 address are taken for a list";

fn in_quotes(text: &str) -> String {
    format!("put it in quotes: \"{text}\"")
}

/// An IPv6 address with a port that is not in quotes, such as `[::1]:80`.
fn bracketed_address(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (inside, after) = line[at + 1..].split_once("]:")?;
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let is_address = inside.parse::<Ipv6Addr>().is_ok() && digits > 0;
        let is_quoted = line[..at].ends_with(['"', '\'']);
        (is_address && !is_quoted).then(|| &line[at..at + inside.len() + 3 + digits])
    })
}

/// The message for a syntax error, `None` if the parser's is plain enough; and the remedy.
fn syntax_words(kind: &ErrorKind, line: &str) -> (Option<&'static str>, Cow<'static, str>) {
    if let Some(address) = bracketed_address(line) {
        return (Some(TAKEN_FOR_A_LIST), in_quotes(address).into());
    }
    if let (ErrorKind::UnknownAnchor, Some(port)) = (kind, port_of_all_addresses(line)) {
        let message = "a `*` starts an alias, and there is no anchor of this name";
        return (Some(message), format!("write :{port} for all addresses").into());
    }
    let (message, remedy) = fixed_syntax_words(kind, line);
    (message, remedy.into())
}

/// The port in `*:80`.
fn port_of_all_addresses(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("*:")?;
    let port = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    (!port.is_empty()).then_some(port)
}

fn fixed_syntax_words(kind: &ErrorKind, line: &str) -> (Option<&'static str>, &'static str) {
    if line.contains("${") && line.contains(['[', '{']) {
        let remedy = "between [ ] or { }, write a variable in quotes: \"${NAME}\"";
        return (Some("a brace of a variable is taken for one of YAML's"), remedy);
    }
    match kind {
        ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
            (Some("a tab is used for indentation"), "indent with spaces")
        }
        ErrorKind::UnknownAnchor => (
            Some("a `*` starts an alias, and there is no anchor of this name"),
            "put a text that starts with `*` in quotes: \"*.example.com\"",
        ),
        ErrorKind::MappingValueNotAllowed => (
            Some("there is a second `: ` on this line"),
            "put the value in quotes, or the second key on a line of its own",
        ),
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::InvalidColonPlacement
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator => (
            Some("a bracket before this place is not closed, or a comma is missing"),
            "close every [ with ] and every { with }",
        ),
        ErrorKind::UnclosedQuotedScalar => (Some("the quotes are not closed"), "close them"),
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => (
            Some("this line does not start where its section does"),
            "start the keys of one section in the same column",
        ),
        ErrorKind::SimpleKeyExpected => {
            (Some("this line is no `key: value`"), "write a colon and a space between key and value")
        }
        _ => (None, "look at the indentation, the quotes and the brackets here"),
    }
}
