//! Decodes typed values from the tree, and describes them for the JSON Schema: one trait for both.
//!
//! Decoding does not stop at an error: an invalid value is reported and left out, so that `compile` sees the rest.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use super::mask;
use super::report::{Diagnostic, Diagnostics, Severity};
use super::source::{Source, Span};
use super::tree::{Key, Kind, Node};
use super::write::quoted;
use crate::escape;

/// Collects the diagnostics of all stages.
#[derive(Debug, Default)]
pub(crate) struct DiagnosticSink {
    diagnostics: Diagnostics,
    /// By the start of a value: a variable in it that is written without braces. An error about the value says so.
    unbraced: BTreeMap<usize, (Span, String)>,
    /// Values that were left out without a diagnostic, because an earlier stage had reported them.
    skipped: usize,
}

impl DiagnosticSink {
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), remedy.into());
    }

    /// An error whose remedy takes time to find: it is found only if it will be shown.
    pub(crate) fn error_with(&mut self, span: Span, message: String, remedy: impl FnOnce() -> String) {
        let remedy = if self.diagnostics.keeps(Severity::Error) { remedy() } else { String::new() };
        self.error(span, message, remedy);
    }

    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), remedy.into());
    }

    /// Notes that a value has a variable that is written without braces.
    pub(crate) fn note_unbraced(&mut self, span: Span, name: &str) {
        self.unbraced.insert(span.start, (span, name.to_owned()));
    }

    pub(crate) fn is_unbraced(&self, span: Span) -> bool {
        self.unbraced.get(&span.start).is_some_and(|(of, _)| *of == span)
    }

    /// Warns of variables without braces in values that are valid all the same.
    pub(crate) fn warn_of_unbraced(&mut self) {
        for (span, name) in std::mem::take(&mut self.unbraced).into_values() {
            self.warn(span, format!("`${name}` is no variable, and stays as it is"), braced(&name));
        }
    }

    fn add(&mut self, severity: Severity, span: Span, message: String, mut remedy: String) {
        if self.is_unbraced(span)
            && let Some((_, name)) = self.unbraced.remove(&span.start)
        {
            remedy = braced(&name);
        }
        self.diagnostics.add(Diagnostic { severity, span, message, remedy });
    }

    /// Adds `, or WORD` to the remedy of the newest diagnostic, if that is about this place.
    fn add_choice(&mut self, span: Span, word: &str) {
        if let Some(diagnostic) = self.diagnostics.newest_mut().filter(|diagnostic| diagnostic.span == span) {
            diagnostic.remedy = format!("{}, or {word}", diagnostic.remedy);
        }
    }

    pub(crate) fn fault(&mut self, span: Span, fault: Fault) {
        self.error(span, fault.message, fault.remedy);
    }

    /// The number of diagnostics, and of values left out without one. It grows while an incomplete section is decoded.
    pub(super) fn problem_count(&self) -> usize {
        self.diagnostics.total() + self.skipped
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.count(Severity::Error) > 0
    }

    /// Removes secrets from the diagnostics, and returns where they are in the file.
    pub(crate) fn conceal_values(&mut self, root: &Node, source: &Source) -> Vec<Span> {
        match self.diagnostics.total() {
            0 => Vec::new(),
            _ => mask::conceal_values(root, source, self.diagnostics.kept_mut()),
        }
    }

    pub(crate) fn into_diagnostics(self) -> Diagnostics {
        self.diagnostics
    }
}

/// In quotes, because the braces would be YAML's between other braces.
fn braced(name: &str) -> String {
    format!("write variables in braces: \"${{{name}}}\"")
}

/// Why a text is not a valid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { message: message.into(), remedy: remedy.into() }
    }
}

/// A type of values in the file.
pub(crate) trait Value: Sized {
    /// `None` if the node is invalid, which has been reported.
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<Self>;
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A type of values that are written as one scalar.
pub(crate) trait Scalar: Sized {
    /// The type's name in errors, such as "a duration".
    const WHAT: &'static str;
    /// What to write instead of an invalid value, such as "write a duration such as 250ms, 5s or 2m".
    const REMEDY: &'static str;

    fn parse(text: &str) -> Result<Self, Fault>;
    fn scalar_schema() -> Json;

    /// The fault that only says what was expected.
    fn fault(text: &str) -> Fault {
        let text = if text.is_empty() { "an empty text".to_owned() } else { format!("`{}`", shown(text)) };
        Fault::new(format!("{text} is not {}", Self::WHAT), Self::REMEDY)
    }
}

/// A text as errors quote it: only the beginning of its first line, with invisible characters escaped.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let line = text.lines().next().unwrap_or("");
    let short: String = line.chars().take(CHARS_MAX).collect();
    let rest = if short.len() < text.trim_end().len() { "..." } else { "" };
    format!("{}{rest}", escape::lines(&short))
}

impl<T: Scalar> Value for T {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<T> {
        match &node.kind {
            Kind::Scalar { text, .. } => match T::parse(text) {
                Ok(value) => Some(value),
                Err(fault) => {
                    diagnostics.fault(node.span, fault);
                    None
                }
            },
            _ => {
                diagnostics.error(
                    node.span,
                    format!("expected {}, found {}", T::WHAT, node.what()),
                    T::REMEDY,
                );
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schema_from(T::scalar_schema())
    }
}

/// A JSON object as a schema.
pub(crate) fn schema_from(json: Json) -> Schema {
    match json {
        Json::Object(object) => Schema::from(object),
        _ => Schema::default(),
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) span: Span,
    /// Written in the file, not a default.
    pub(crate) written: bool,
    pub(crate) value: T,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

pub(super) fn spanned<T: Value>(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<Spanned<T>> {
    if node.kind == Kind::Broken {
        diagnostics.skipped += 1;
        return None;
    }
    T::decode(node, diagnostics).map(|value| Spanned { span: node.span, written: true, value })
}

/// A list; invalid items are missing from `items`.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<Spanned<T>>,
    /// The number of items in the file, invalid ones included.
    pub(crate) length: usize,
}

impl<T> List<T> {
    pub(crate) fn is_complete(&self) -> bool {
        self.items.len() == self.length
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Spanned<T>> {
        self.items.iter()
    }
}

impl<T: Value> Value for List<T> {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<List<T>> {
        match &node.kind {
            Kind::List(nodes) => {
                let items = nodes.iter().filter_map(|node| spanned(node, diagnostics)).collect();
                Some(List { items, length: nodes.len() })
            }
            Kind::Scalar { text, .. } => {
                let message = format!("expected a list, found `{}`", shown(text));
                diagnostics.error(node.span, message, format!("write [{}]", items(text)));
                None
            }
            _ => {
                let message = format!("expected a list, found {}", node.what());
                diagnostics.error(node.span, message, "start each item with `- `, or write [ITEM, ITEM]");
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct OneOrList<T>(pub(crate) List<T>);

impl<T: Value> Value for OneOrList<T> {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<OneOrList<T>> {
        let list = match node.kind {
            Kind::List(_) => List::decode(node, diagnostics)?,
            _ => List { items: vec![spanned(node, diagnostics)?], length: 1 },
        };
        Some(OneOrList(list))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::schema(generator), List::<T>::schema(generator)] })
    }
}

/// The items that somebody has written as one text, such as `GET, POST`, each as YAML takes it.
fn items(text: &str) -> String {
    let items: Vec<_> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    items.iter().map(|item| quoted(&shown(item))).collect::<Vec<_>>().join(", ")
}

/// Values under names of the user's choice, in file order; `None` where the value is invalid.
#[derive(Debug, Clone)]
pub(crate) struct Named<T> {
    pub(crate) entries: Vec<(Key, Option<Spanned<T>>)>,
}

impl<T: Value> Value for Named<T> {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<Named<T>> {
        let Kind::Map(entries) = &node.kind else {
            let message = format!("expected names with their values, found {}", node.what());
            diagnostics.error(node.span, message, "write `NAME: VALUE`, one a line");
            return None;
        };
        let mut read = |key: &Key, value: &Node| {
            if value.is_null() {
                let message = format!("`{}` has no value", shown(&key.text));
                diagnostics.error(key.span, message, "write one, or remove the name");
                return None;
            }
            spanned(value, diagnostics)
        };
        let entries = entries.iter().map(|(key, value)| (key.clone(), read(key, value))).collect();
        Some(Named { entries })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": T::schema(generator) })
    }
}

/// A value, or `off`.
#[derive(Debug, Clone)]
pub(crate) enum OrOff<T> {
    On(T),
    Off,
}

impl<T> OrOff<T> {
    /// `None`: it is off.
    pub(crate) fn as_option(&self) -> Option<&T> {
        match self {
            Self::On(value) => Some(value),
            Self::Off => None,
        }
    }
}

impl<T: Value> Value for OrOff<T> {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<OrOff<T>> {
        match &node.kind {
            Kind::Scalar { text, .. } if is_off(text) => Some(OrOff::Off),
            _ => {
                let value = T::decode(node, diagnostics).map(OrOff::On);
                if value.is_none() {
                    diagnostics.add_choice(node.span, "off");
                }
                value
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::schema(generator), { "enum": ["off", false] }] })
    }
}

/// A value, or `auto`.
#[derive(Debug, Clone)]
pub(crate) enum AutoOr<T> {
    Auto,
    Value(T),
}

impl<T: Value> Value for AutoOr<T> {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<AutoOr<T>> {
        match &node.kind {
            Kind::Scalar { text, .. } if text == "auto" => Some(AutoOr::Auto),
            _ => {
                let value = T::decode(node, diagnostics).map(AutoOr::Value);
                if value.is_none() {
                    diagnostics.add_choice(node.span, "auto");
                }
                value
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::schema(generator), { "enum": ["auto"] }] })
    }
}

/// Whether a scalar is `off`, or the boolean that YAML 1.1 takes it for.
pub(crate) fn is_off(text: &str) -> bool {
    matches!(text, "off" | "Off" | "OFF" | "false" | "False" | "FALSE")
}

/// The short form of a value (one text, or one list), or its section.
#[derive(Debug, Clone)]
pub(crate) enum ShortOr<S, L> {
    Short(S),
    Long(L),
}

impl<S: Value, L: Value> Value for ShortOr<S, L> {
    fn decode(node: &Node, diagnostics: &mut DiagnosticSink) -> Option<ShortOr<S, L>> {
        match node.kind {
            Kind::Map(_) => L::decode(node, diagnostics).map(ShortOr::Long),
            _ => S::decode(node, diagnostics).map(ShortOr::Short),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [S::schema(generator), L::schema(generator)] })
    }
}
