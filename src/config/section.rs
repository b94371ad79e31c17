//! The `section!` macro, which declares a section of the file: its keys with their types, defaults and documentation.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::decode::{DiagnosticSink, Spanned, Value, schema_from, shown, spanned};
use super::source::Span;
use super::tree::{Key, Kind, Node};
use super::{foreign, suggest};

/// The keys of a section while it is decoded.
pub(crate) struct Fields<'n, 'c> {
    what: &'static str,
    span: Span,
    entries: &'n [(Key, Node)],
    diagnostics: &'c mut DiagnosticSink,
    /// Keys that the unknown ones were probably meant to be; they are not reported as missing, too.
    misspelt: Vec<String>,
    /// [`DiagnosticSink::problem_count`] before this section.
    problems_before: usize,
}

impl<'n, 'c> Fields<'n, 'c> {
    /// Reports unknown keys; `None` if the node is not a section, which is reported, too.
    pub(crate) fn new(
        node: &'n Node,
        what: &'static str,
        known: &[&str],
        diagnostics: &'c mut DiagnosticSink,
    ) -> Option<Fields<'n, 'c>> {
        let entries: &[(Key, Node)] = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Null => &[],
            _ => {
                let message = format!("expected {what}, found {}", node.what());
                let keys = || format!("write its keys: {}", known.join(", "));
                let remedy = foreign::other_section(what).map_or_else(keys, str::to_owned);
                diagnostics.error(node.span, message, remedy);
                return None;
            }
        };
        let problems_before = diagnostics.problem_count();
        let mut misspelt = Vec::new();
        for (key, _) in entries.iter().filter(|(key, _)| !known.iter().any(|known| names(key, known))) {
            if let Some(known) = known.iter().find(|known| key.text.starts_with(&format!("{known}:"))) {
                let message = format!("`{}` is one word to YAML", shown(&key.text));
                diagnostics.error(
                    key.span,
                    message,
                    format!("write a space after the colon: `{known}: ...`"),
                );
                misspelt.push((*known).to_owned());
                continue;
            }
            let remedy = match foreign::remedy(what, &key.text) {
                Some(remedy) => {
                    let means = |known: &&&str| remedy.contains(&format!("`{known}:"));
                    misspelt.extend(known.iter().filter(means).map(|known| (*known).to_owned()));
                    remedy.to_owned()
                }
                None => {
                    misspelt.extend(suggest::nearest(&key.text, known.iter().copied()).map(str::to_owned));
                    suggest::remedy(&key.text, known.iter().copied(), "its keys are")
                }
            };
            diagnostics.error(key.span, format!("{what} has no key `{}`", shown(&key.text)), remedy);
        }
        refuse_two_forms(entries, known, diagnostics);
        Some(Fields { what, span: node.span, entries, diagnostics, misspelt, problems_before })
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.diagnostics.problem_count() == self.problems_before
    }

    fn take<T: Value>(&mut self, key: &str) -> Option<Spanned<T>> {
        let (_, node) = self.entries.iter().find(|(entry, node)| names(entry, key) && !node.is_null())?;
        spanned(node, self.diagnostics)
    }

    pub(crate) fn optional<T: Value>(&mut self, key: &str) -> Option<Spanned<T>> {
        self.take(key)
    }

    /// If the key is missing, the error says to write `example`.
    pub(crate) fn required<T: Value>(&mut self, key: &str, example: &str) -> Option<Spanned<T>> {
        match self.entries.iter().find(|(entry, _)| names(entry, key)) {
            Some((_, node)) if !node.is_null() => {}
            Some((entry, _)) => {
                let message = format!("`{key}` has no value");
                self.diagnostics.error(entry.span, message, format!("write `{key}: {example}`"));
            }
            None if self.misspelt.iter().any(|misspelt| misspelt == key) => {}
            None => {
                let message = format!("{} needs `{key}`", self.what);
                self.diagnostics.error(self.span, message, format!("add `{key}: {example}`"));
            }
        }
        self.take(key)
    }

    pub(crate) fn defaulted<T: Value>(&mut self, key: &str, default: &Json) -> Spanned<T> {
        self.take(key).unwrap_or_else(|| {
            let node = Node::from_json(default, self.span);
            let value = T::decode(&node, &mut DiagnosticSink::default())
                .expect("a test reads every section from nothing, so every default is a value");
            Spanned { span: self.span, written: false, value }
        })
    }
}

/// Whether an entry of the file is this key, or what writers of YAML 1.1 make of it: to them `on` is the boolean `true`.
fn names(entry: &Key, key: &str) -> bool {
    entry.text == key || aliases(key).contains(&entry.text.as_str())
}

/// The other forms of a key.
fn aliases(key: &str) -> &'static [&'static str] {
    if key == "on" { &["true", "True", "TRUE"] } else { &[] }
}

fn refuse_two_forms(entries: &[(Key, Node)], known: &[&str], diagnostics: &mut DiagnosticSink) {
    for known in known.iter().filter(|known| !aliases(known).is_empty()) {
        let mut forms = entries.iter().map(|(key, _)| key).filter(|key| names(key, known));
        if let (Some(_), Some(second)) = (forms.next(), forms.next()) {
            let message = format!("`{known}` is written twice: `{}` is another form of it", second.text);
            diagnostics.error(second.span, message, "keep one of them");
        }
    }
}

/// The JSON Schema of a section, while `section!` adds key after key.
pub(crate) struct SectionSchema {
    object: Map<String, Json>,
    /// Other forms of keys, as patterns: no editor offers them.
    patterns: Map<String, Json>,
    required: Vec<Json>,
}

impl SectionSchema {
    pub(crate) fn new() -> SectionSchema {
        SectionSchema { object: Map::new(), patterns: Map::new(), required: Vec::new() }
    }

    pub(crate) fn field(&mut self, key: &str, doc: &str, schema: Schema) -> &mut Map<String, Json> {
        let mut property = match schema.to_value() {
            Json::Object(object) => object,
            _ => Map::new(),
        };
        if let aliases @ [_, ..] = aliases(key) {
            let pattern = format!("^({})$", aliases.join("|"));
            self.patterns.insert(pattern, Json::Object(property.clone()));
        }
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
        if !self.patterns.is_empty() {
            object["patternProperties"] = Json::Object(self.patterns);
        }
        if !self.required.is_empty() {
            object["required"] = Json::Array(self.required);
        }
        schema_from(object)
    }
}

/// Lets the value of an optional key be null, too.
pub(crate) fn or_null(property: &mut Map<String, Json>) {
    let description = property.remove("description");
    let written = Json::Object(std::mem::take(property));
    property.insert("anyOf".into(), json!([written, { "type": "null" }]));
    property.extend(description.map(|text| ("description".to_owned(), text)));
}

/// The lines of a doc comment as one text.
pub(crate) fn doc_text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// The key of a field: `match` for the field `r#match`.
pub(crate) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// A reference (`$ref`) to the schema of `T`.
pub(crate) fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Declares a section of the file: its keys, each with documentation, a type, and one of `= default` (a JSON value),
/// `, optional` or `, required "example"`.
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
            /// No error was found in it.
            #[allow(dead_code, reason = "only sections that count their keys ask")]
            pub(crate) complete: bool,
        }

        impl $crate::config::decode::Value for $name {
            fn decode(
                node: &$crate::config::tree::Node,
                diagnostics: &mut $crate::config::decode::DiagnosticSink,
            ) -> Option<Self> {
                const KEYS: &[&str] = &[$($crate::config::section::key_name(stringify!($field))),*];
                let mut fields = $crate::config::section::Fields::new(node, $what, KEYS, diagnostics)?;
                Some(Self {
                    $($field: section!(@take fields $field $(= $default)? $(, $kind $($example)?)?),)*
                    complete: fields.is_complete(),
                })
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::config::section::reference::<Self>(generator)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut section = $crate::config::section::SectionSchema::new();
                $({
                    let key = $crate::config::section::key_name(stringify!($field));
                    let doc = $crate::config::section::doc_text(&[$($doc),*]);
                    let schema = <$ty as $crate::config::decode::Value>::schema(generator);
                    let property = section.field(key, &doc, schema);
                    section!(@describe section property key $(= $default)? $(, $kind)?);
                })*
                section.finish(&$crate::config::section::doc_text(&[$($section_doc),*]))
            }
        }
    };

    (@type $ty:ty = $default:tt) => { $crate::config::decode::Spanned<$ty> };
    (@type $ty:ty, $kind:ident) => { Option<$crate::config::decode::Spanned<$ty>> };

    (@take $fields:ident $field:ident = $default:tt) => {
        $fields.defaulted($crate::config::section::key_name(stringify!($field)), &serde_json::json!($default))
    };
    (@take $fields:ident $field:ident, optional) => {
        $fields.optional($crate::config::section::key_name(stringify!($field)))
    };
    (@take $fields:ident $field:ident, required $example:literal) => {
        $fields.required($crate::config::section::key_name(stringify!($field)), $example)
    };

    (@describe $section:ident $property:ident $key:ident = $default:tt) => {
        $property.insert("default".into(), serde_json::json!($default))
    };
    (@describe $section:ident $property:ident $key:ident, optional) => {{
        let _ = $key;
        $crate::config::section::or_null($property);
    }};
    (@describe $section:ident $property:ident $key:ident, required) => {
        let _ = $property;
        $section.require($key);
    };
}

pub(crate) use section;
