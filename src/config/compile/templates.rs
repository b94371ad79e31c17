//! Compiles texts with placeholders, and reports those that name what is not there.

use super::Compiler;
use crate::config::decode::{Fault, shown};
use crate::config::source::Span;
use crate::config::suggest;
use crate::routing::{PathPattern, Regex};
use crate::template::{NAMES, Placeholder, Template, TemplateError, TemplateFault};

/// The groups that the templates of a route may name: those of the regular expressions of its paths.
pub(super) struct PathGroups<'a> {
    paths: &'a [PathPattern],
    span: Span,
    /// The expressions, compiled for their groups once a template names one.
    regexes: Option<Vec<Regex>>,
    is_used: bool,
}

impl<'a> PathGroups<'a> {
    /// Of a route with these paths; `span` is where they are written.
    pub(super) fn new(paths: &'a [PathPattern], span: Span) -> Self {
        Self { paths, span, regexes: None, is_used: false }
    }

    /// The expressions whose groups templates name; empty if none does.
    pub(super) fn into_used(self) -> Vec<Regex> {
        self.regexes.filter(|_| self.is_used).unwrap_or_default()
    }

    /// The number of a group, where all expressions have it under the same number.
    fn number(&mut self, name: &str) -> Option<usize> {
        let mut numbers = self.regexes.iter().flatten().map(|regex| regex.group_number(name));
        let first = numbers.next()??;
        let number = numbers.all(|number| number == Some(first)).then_some(first)?;
        self.is_used = true;
        Some(number)
    }

    fn names(&self) -> Vec<String> {
        let first = self.regexes.iter().flatten().next();
        first.map(|regex| regex.group_names().collect()).unwrap_or_default()
    }
}

impl Compiler<'_> {
    /// Compiles a text with placeholders. `None`: it is invalid, which has been reported.
    pub(super) fn template(
        &mut self,
        text: &str,
        span: Span,
        groups: &mut PathGroups<'_>,
    ) -> Option<Template> {
        let names_group = |template: &Template| {
            template.placeholders().any(|placeholder| matches!(placeholder, Placeholder::Group(_)))
        };
        if groups.regexes.is_none() && Template::parse(text, |_| Some(0)).is_ok_and(|one| names_group(&one)) {
            groups.regexes = Some(self.path_regexes(groups));
        }
        match Template::parse(text, |name| groups.number(name)) {
            Ok(template) => Some(template),
            Err(error) => {
                self.template_error(text, span, error, &groups.names());
                None
            }
        }
    }

    /// Like [`Compiler::template`], of a text that names groups of `regex`.
    pub(super) fn template_of(&mut self, text: &str, span: Span, regex: &Regex) -> Option<Template> {
        match Template::parse(text, |name| regex.group_number(name)) {
            Ok(template) => Some(template),
            Err(error) => {
                self.template_error(text, span, error, &regex.group_names().collect::<Vec<_>>());
                None
            }
        }
    }

    /// None, unless all paths are regular expressions: what a path without groups matches would leave them empty.
    fn path_regexes(&mut self, groups: &PathGroups<'_>) -> Vec<Regex> {
        let texts = groups.paths.iter().map(|path| match path {
            PathPattern::Regex(regex) => Some(regex.as_str()),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => None,
        });
        let Some(texts) = texts.collect::<Option<Vec<_>>>() else { return Vec::new() };
        texts.into_iter().filter_map(|text| self.regex_with_groups(text, groups.span)).collect()
    }

    fn template_error(&mut self, text: &str, span: Span, error: TemplateError, groups: &[String]) {
        let TemplateError { place, kind } = error;
        let span = self.place_in(span, text.get(place).unwrap_or_default());
        self.diagnostics.fault(span, fault(kind, groups));
    }

    /// The place of a part of a value, where the file has it as it is.
    fn place_in(&self, span: Span, part: &str) -> Span {
        match self.source.slice(span).find(part) {
            Some(at) if !part.is_empty() => {
                Span { start: span.start + at, end: span.start + at + part.len() }
            }
            _ => span,
        }
    }
}

fn fault(kind: TemplateFault, groups: &[String]) -> Fault {
    match kind {
        TemplateFault::Unclosed => {
            Fault::new("this brace is not closed", "close it, as in {host}, or write {{ for a brace")
        }
        TemplateFault::NoGroup(number) => {
            let remedy = match groups {
                [] => {
                    "groups are those of a regular expression: { paths: [{ regex: ^/x/(.*)$ }] }, in each of \
                       its paths"
                        .to_owned()
                }
                groups => format!("its groups are {}, in each of its paths", groups.join(", ")),
            };
            Fault::new(format!("there is no group `{{{}}}`", shown(&number)), remedy)
        }
        TemplateFault::Unknown(name) => {
            let known = || NAMES.into_iter().chain(groups.iter().map(String::as_str));
            let remedy = match &*name {
                "" => "write {{ for a brace".to_owned(),
                name => suggest::remedy(name, known().collect::<Vec<_>>(), "there are"),
            };
            let remedy =
                if remedy.starts_with("did") { remedy } else { format!("{remedy}; {{{{ is a brace") };
            Fault::new(format!("there is no placeholder `{{{}}}`", shown(&name)), remedy)
        }
    }
}
