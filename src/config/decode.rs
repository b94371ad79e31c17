//! Reading typed values from the tree, and describing them for the JSON Schema: one trait for both, and the
//! `section!` macro, from which the known keys, their types, their defaults and their documentation all come.
//!
//! Nothing stops at an error: what cannot be read is reported and left out, so compile sees the rest.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json, json};

use super::report::{Finding, Severity};
use super::source::Span;
use super::suggest;
use super::tree::{Key, Kind, Node};

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Context {
    findings: Vec<Finding>,
}

impl Context {
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), remedy.into());
    }

    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, span: Span, message: String, remedy: String) {
        self.findings.push(Finding { severity, span, message, remedy });
    }

    pub(crate) fn fault(&mut self, span: Span, fault: Fault) {
        self.error(span, fault.message, fault.remedy);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// Why a text is not a value.
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

/// Whatever can stand behind a key.
pub(crate) trait Value: Sized {
    /// `None`: it cannot be read, and that has been reported.
    fn decode(node: &Node, context: &mut Context) -> Option<Self>;
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A value that is written as one text.
pub(crate) trait Scalar: Sized {
    /// "a duration"
    const WHAT: &'static str;
    /// "write a duration such as 250ms, 5s or 2m"
    const REMEDY: &'static str;

    fn parse(text: &str) -> Result<Self, Fault>;
    fn scalar_schema() -> Json;

    /// The fault that only says what was expected.
    fn fault(text: &str) -> Fault {
        Fault::new(format!("`{}` is not {}", shown(text), Self::WHAT), Self::REMEDY)
    }
}

/// A text as an error quotes it: never many lines, never endless.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let line = text.lines().next().unwrap_or("");
    let short: String = line.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect();
    if short.len() < text.trim_end().len() { format!("{short}...") } else { short }
}

impl<T: Scalar> Value for T {
    fn decode(node: &Node, context: &mut Context) -> Option<T> {
        match &node.kind {
            Kind::Scalar { text, .. } => match T::parse(text) {
                Ok(value) => Some(value),
                Err(fault) => {
                    context.fault(node.span, fault);
                    None
                }
            },
            _ => {
                context.error(node.span, format!("expected {}, found {}", T::WHAT, node.what()), T::REMEDY);
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

fn spanned<T: Value>(node: &Node, context: &mut Context) -> Option<Spanned<T>> {
    T::decode(node, context).map(|value| Spanned { span: node.span, written: true, value })
}

/// A list; items that cannot be read are missing from `items`.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<Spanned<T>>,
    /// How many are written.
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
    fn decode(node: &Node, context: &mut Context) -> Option<List<T>> {
        match &node.kind {
            Kind::List(nodes) => {
                let items = nodes.iter().filter_map(|node| spanned(node, context)).collect();
                Some(List { items, length: nodes.len() })
            }
            Kind::Scalar { text, .. } => {
                let message = format!("expected a list, found `{}`", shown(text));
                context.error(node.span, message, format!("write [{}]", shown(text)));
                None
            }
            _ => {
                let message = format!("expected a list, found {}", node.what());
                context.error(node.span, message, "start each item with `- `, or write [ITEM, ITEM]");
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }
}

/// Values under names of the user's choice, in file order; `None` where the value cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Named<T> {
    pub(crate) entries: Vec<(Key, Option<Spanned<T>>)>,
}

impl<T: Value> Value for Named<T> {
    fn decode(node: &Node, context: &mut Context) -> Option<Named<T>> {
        let Kind::Map(entries) = &node.kind else {
            let message = format!("expected names with their values, found {}", node.what());
            context.error(node.span, message, "write `NAME: VALUE`, one a line");
            return None;
        };
        let mut read = |key: &Key, value: &Node| {
            if value.is_null() {
                let message = format!("`{}` has no value", shown(&key.text));
                context.error(key.span, message, "write one, or remove the name");
                return None;
            }
            spanned(value, context)
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

impl<T: Value> Value for OrOff<T> {
    fn decode(node: &Node, context: &mut Context) -> Option<OrOff<T>> {
        match &node.kind {
            Kind::Scalar { text, .. } if is_off(text) => Some(OrOff::Off),
            _ => T::decode(node, context).map(OrOff::On),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::schema(generator), { "enum": ["off", false] }] })
    }
}

/// `off`, also as the YAML boolean that older parsers make of it.
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
    fn decode(node: &Node, context: &mut Context) -> Option<ShortOr<S, L>> {
        match node.kind {
            Kind::Map(_) => L::decode(node, context).map(ShortOr::Long),
            _ => S::decode(node, context).map(ShortOr::Short),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [S::schema(generator), L::schema(generator)] })
    }
}

/// A section's keys while it is read.
pub(crate) struct Fields<'n, 'c> {
    what: &'static str,
    span: Span,
    entries: &'n [(Key, Node)],
    context: &'c mut Context,
    /// Keys that the unknown ones were probably meant to be: these are not missed once more.
    misspelt: Vec<String>,
    /// Findings before this section.
    before: usize,
}

impl<'n, 'c> Fields<'n, 'c> {
    /// Reports unknown keys; `None` if it is no section at all.
    pub(crate) fn new(
        node: &'n Node,
        what: &'static str,
        known: &[&str],
        context: &'c mut Context,
    ) -> Option<Fields<'n, 'c>> {
        let entries: &[(Key, Node)] = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Null => &[],
            _ => {
                let message = format!("expected {what}, found {}", node.what());
                context.error(node.span, message, format!("write its keys: {}", known.join(", ")));
                return None;
            }
        };
        let before = context.findings.len();
        let mut misspelt = Vec::new();
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let remedy = match suggest::nearest(&key.text, known.iter().copied()) {
                Some(nearest) => {
                    misspelt.push(nearest.to_owned());
                    format!("did you mean `{nearest}`?")
                }
                None => format!("its keys are {}", known.join(", ")),
            };
            context.error(key.span, format!("{what} has no key `{}`", shown(&key.text)), remedy);
        }
        Some(Fields { what, span: node.span, entries, context, misspelt, before })
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.context.findings.len() == self.before
    }

    fn take<T: Value>(&mut self, key: &str) -> Option<Spanned<T>> {
        let (_, node) = self.entries.iter().find(|(entry, node)| entry.text == key && !node.is_null())?;
        spanned(node, self.context)
    }

    pub(crate) fn optional<T: Value>(&mut self, key: &str) -> Option<Spanned<T>> {
        self.take(key)
    }

    /// `example` is what the error says to write.
    pub(crate) fn required<T: Value>(&mut self, key: &str, example: &str) -> Option<Spanned<T>> {
        match self.entries.iter().find(|(entry, _)| entry.text == key) {
            Some((_, node)) if !node.is_null() => {}
            Some((entry, _)) => {
                let message = format!("`{key}` has no value");
                self.context.error(entry.span, message, format!("write `{key}: {example}`"));
            }
            None if self.misspelt.iter().any(|misspelt| misspelt == key) => {}
            None => {
                let message = format!("{} needs `{key}`", self.what);
                self.context.error(self.span, message, format!("add `{key}: {example}`"));
            }
        }
        self.take(key)
    }

    pub(crate) fn defaulted<T: Value>(&mut self, key: &str, default: &Json) -> Spanned<T> {
        self.take(key).unwrap_or_else(|| {
            let node = Node::from_json(default, self.span);
            let value = T::decode(&node, &mut Context::default())
                .expect("a test reads every section from nothing, so every default is a value");
            Spanned { span: self.span, written: false, value }
        })
    }
}

/// A section as a schema: what `section!` knows of its keys, in order.
pub(crate) struct SectionSchema {
    object: Map<String, Json>,
    required: Vec<Json>,
}

impl SectionSchema {
    pub(crate) fn new() -> SectionSchema {
        SectionSchema { object: Map::new(), required: Vec::new() }
    }

    pub(crate) fn field(&mut self, key: &str, doc: &str, schema: Schema) -> &mut Map<String, Json> {
        let mut property = match schema.to_value() {
            Json::Object(object) => object,
            _ => Map::new(),
        };
        property.insert("description".into(), doc.into());
        let entry = self.object.entry(key).or_insert(Json::Null);
        *entry = Json::Object(property);
        entry.as_object_mut().expect("it was just made one")
    }

    pub(crate) fn require(&mut self, key: &str) {
        self.required.push(key.into());
    }

    pub(crate) fn finish(self, doc: &str) -> Schema {
        let mut object = json!({
            "type": "object",
            "description": doc,
            "properties": self.object,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            object["required"] = Json::Array(self.required);
        }
        schema_from(object)
    }
}

/// The lines of a doc comment as one text.
pub(crate) fn doc_text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// `match` and `type` are written `r#match` and `r#type` as fields.
pub(crate) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// A schema that other schemas refer to by name.
pub(crate) fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A section of the file: its keys, with type, documentation and one of
/// `= default` (a JSON value), `, optional` or `, required "example"`.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $name:ident $what:literal {
            $(
                $(#[doc = $doc:literal])*
                $field:ident : $ty:ty $(= $default:tt)? $(, $kind:ident $($example:literal)?)? ;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $(
                $(#[doc = $doc])*
                pub(crate) $field: section!(@type $ty $(= $default)? $(, $kind)?),
            )*
            /// Nothing in it had to be left out.
            #[allow(dead_code, reason = "only sections that count their keys ask")]
            pub(crate) complete: bool,
        }

        impl $crate::config::decode::Value for $name {
            fn decode(
                node: &$crate::config::tree::Node,
                context: &mut $crate::config::decode::Context,
            ) -> Option<Self> {
                const KEYS: &[&str] = &[$($crate::config::decode::key_name(stringify!($field))),*];
                let mut fields = $crate::config::decode::Fields::new(node, $what, KEYS, context)?;
                Some(Self {
                    $($field: section!(@take fields $field $(= $default)? $(, $kind $($example)?)?),)*
                    complete: fields.is_complete(),
                })
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::config::decode::reference::<Self>(generator)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut section = $crate::config::decode::SectionSchema::new();
                $({
                    let key = $crate::config::decode::key_name(stringify!($field));
                    let doc = $crate::config::decode::doc_text(&[$($doc),*]);
                    let schema = <$ty as $crate::config::decode::Value>::schema(generator);
                    let property = section.field(key, &doc, schema);
                    section!(@describe section property key $(= $default)? $(, $kind)?);
                })*
                section.finish(&$crate::config::decode::doc_text(&[$($section_doc),*]))
            }
        }
    };

    (@type $ty:ty = $default:tt) => { $crate::config::decode::Spanned<$ty> };
    (@type $ty:ty, $kind:ident) => { Option<$crate::config::decode::Spanned<$ty>> };

    (@take $fields:ident $field:ident = $default:tt) => {
        $fields.defaulted($crate::config::decode::key_name(stringify!($field)), &serde_json::json!($default))
    };
    (@take $fields:ident $field:ident, optional) => {
        $fields.optional($crate::config::decode::key_name(stringify!($field)))
    };
    (@take $fields:ident $field:ident, required $example:literal) => {
        $fields.required($crate::config::decode::key_name(stringify!($field)), $example)
    };

    (@describe $section:ident $property:ident $key:ident = $default:tt) => {
        $property.insert("default".into(), serde_json::json!($default))
    };
    (@describe $section:ident $property:ident $key:ident, optional) => { let _ = ($property, $key); };
    (@describe $section:ident $property:ident $key:ident, required) => {
        let _ = $property;
        $section.require($key);
    };
}

pub(crate) use section;
