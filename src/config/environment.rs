//! Environment variables inside values: `${NAME}` and `${NAME:-default}`.
//!
//! The default also replaces an empty variable, as in a shell. `$${` is a literal `${`; any other dollar sign is
//! literal, so regular expressions need no escapes. Keys are not changed, and the value of a variable is only text: it
//! cannot add keys, items or further variables.

use super::decode::DiagnosticSink;
use super::source::Span;
use super::tree::{Kind, Node};

pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables in every value of a tree.
pub(crate) fn interpolate(node: &mut Node, lookup: Lookup<'_>, diagnostics: &mut DiagnosticSink) {
    match &mut node.kind {
        Kind::Null | Kind::Broken => {}
        Kind::List(items) => items.iter_mut().for_each(|item| interpolate(item, lookup, diagnostics)),
        Kind::Map(entries) => {
            entries.iter_mut().for_each(|(_, value)| interpolate(value, lookup, diagnostics))
        }
        Kind::Scalar { text, plain } if text.contains("${") => {
            node.kind = match expand(text, lookup) {
                Ok(expanded) => Node::scalar(expanded, *plain),
                Err(fault) => {
                    report(node.span, &fault, diagnostics);
                    Kind::Broken
                }
            }
        }
        Kind::Scalar { text, .. } => {
            if let Some(name) = unbraced(text) {
                diagnostics.note_unbraced(node.span, name);
            }
        }
    }
}

/// The name of a variable that is written as in a shell, `$NAME`, which is not replaced: capital letters anywhere, any
/// letters if there is nothing else. Other dollar signs are those of regular expressions and paths.
fn unbraced(text: &str) -> Option<&str> {
    let name_of =
        |rest: &str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let name = &rest[..name_of(rest)];
        let is_whole = name.len() + 1 == text.len();
        let is_name = name.len() > 1 && !name.starts_with(|c: char| c.is_ascii_digit());
        let is_capital = !name.contains(|c: char| c.is_ascii_lowercase());
        let is_escaped = text[..at].ends_with('$');
        (is_name && !is_escaped && (is_whole || is_capital)).then_some(name)
    })
}

fn report(span: Span, fault: &Fault, diagnostics: &mut DiagnosticSink) {
    match fault {
        Fault::Missing(name) => diagnostics.error(
            span,
            format!("the environment variable {name} is not set"),
            format!("set it, or give a default: ${{{name}:-default}}"),
        ),
        Fault::Syntax => diagnostics.error(
            span,
            "this is not a variable",
            "write ${NAME} or ${NAME:-default}, or $${ for a literal ${",
        ),
    }
}

#[derive(Debug, PartialEq)]
enum Fault {
    Missing(String),
    Syntax,
}

fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, Fault> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &from[2..];
            continue;
        }
        expanded.push_str(before);
        let (inside, after) = from[2..].split_once('}').ok_or(Fault::Syntax)?;
        expanded.push_str(&value(inside, lookup)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn value(inside: &str, lookup: Lookup<'_>) -> Result<String, Fault> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Fault::Syntax);
    }
    match (lookup(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault::Missing(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${PORT}".into()),
            _ => None,
        }
    }

    #[test]
    fn variables_and_defaults_become_text() {
        for (text, expected) in [
            (":${PORT}", ":8080"),
            ("${PORT:-1}${PORT}", "80808080"),
            ("${NONE:-a b}", "a b"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("$${PORT}", "${PORT}"),
            ("$$${PORT}", "$${PORT}"),
            ("^/x$ $5 ${TRICK}", "^/x$ $5 ${PORT}"),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn variables_of_a_shell_are_noticed() {
        for (text, name) in [
            ("$TOKEN", "TOKEN"),
            ("$token", "token"),
            ("http://$HOST:80/", "HOST"),
            ("$DB_HOST2:1", "DB_HOST2"),
        ] {
            assert_eq!(unbraced(text), Some(name), "{text}");
        }
        for text in
            ["/odata/$metadata", "/x?$filter=a", "^/x$", "(a|$)", "$1", "$$NAME", "$", "a$", "$2y$10$ab"]
        {
            assert_eq!(unbraced(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(expand("${NONE}", &lookup), Err(Fault::Missing("NONE".into())));
        for text in ["${", "${}", "${A B}", "${1}", "${PORT", "${PORT-x}"] {
            assert_eq!(expand(text, &lookup), Err(Fault::Syntax), "{text}");
        }
    }
}
