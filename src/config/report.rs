//! The problems of a file, in file order, and how they are displayed.

use std::fmt;

use serde::Serialize;

use super::mask;
use super::source::{Source, Span};
use crate::escape;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config works, but probably not as meant.
    Warning,
}

/// A problem as it is found: its place is a span, not yet line and column.
#[derive(Debug, Clone)]
pub(crate) struct Diagnostic {
    pub(crate) severity: Severity,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// How many diagnostics of each severity are kept.
const KEPT_MAX: usize = 100;

/// The first diagnostics of each severity, in the order in which they were found; the others are only counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagnostics {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// The newest one is among those that are kept.
    newest_is_kept: bool,
}

impl Diagnostics {
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        let count = self.count_mut(diagnostic.severity);
        *count += 1;
        self.newest_is_kept = *count <= KEPT_MAX;
        if self.newest_is_kept {
            self.kept.push(diagnostic);
        }
    }

    /// Whether another one of this severity would be kept.
    pub(crate) fn keeps(&self, severity: Severity) -> bool {
        self.count(severity) < KEPT_MAX
    }

    pub(crate) fn newest_mut(&mut self) -> Option<&mut Diagnostic> {
        self.kept.last_mut().filter(|_| self.newest_is_kept)
    }

    pub(crate) fn kept_mut(&mut self) -> &mut [Diagnostic] {
        &mut self.kept
    }

    pub(crate) fn count(&self, severity: Severity) -> usize {
        match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        }
    }

    /// All of them, kept or not.
    pub(crate) fn total(&self) -> usize {
        self.errors + self.warnings
    }

    fn count_mut(&mut self, severity: Severity) -> &mut usize {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        }
    }
}

/// One thing that is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    pub message: String,
    /// The text of the file at that place.
    pub text: String,
    /// What to write instead.
    pub remedy: String,
}

/// All problems of one file. Neither messages nor excerpts show a secret.
#[derive(Debug, Clone)]
pub struct Report {
    /// In a box because a report is the error of many functions.
    source: Box<Source>,
    diagnostics: Diagnostics,
    /// Spans of known secrets; `None` once `source` is masked.
    secrets: Option<Vec<Span>>,
}

impl Report {
    /// `secrets`: spans of secrets in addition to those that [`mask::regions`] finds.
    pub(crate) fn new(source: Source, mut diagnostics: Diagnostics, secrets: Vec<Span>) -> Report {
        // Stable: problems at the same place stay in the order in which they were found.
        diagnostics.kept.sort_by_key(|diagnostic| diagnostic.span.start);
        let mut report =
            Report { source: Box::new(source), diagnostics: Diagnostics::default(), secrets: Some(secrets) };
        // Without problems no excerpt is shown, so the text need not be masked.
        if diagnostics.total() > 0 {
            let regions = report.mask();
            for diagnostic in &mut diagnostics.kept {
                conceal(diagnostic, &regions);
            }
            report.diagnostics = diagnostics;
        }
        report
    }

    /// Masks the text and returns what was masked, unless the text is masked already.
    fn mask(&mut self) -> Vec<(Span, String)> {
        let Some(mut regions) = self.secrets.take() else { return Vec::new() };
        regions.extend(mask::regions(self.source.text()));
        let regions = mask::joined(regions);
        let secrets = regions.iter().map(|region| (*region, self.source.slice(*region).to_owned())).collect();
        let masked = mask::masked(self.source.text(), &regions);
        *self.source = std::mem::take(&mut *self.source).with_text(masked);
        secrets
    }

    pub fn file(&self) -> &str {
        self.source.name()
    }

    pub fn is_empty(&self) -> bool {
        self.diagnostics.total() == 0
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.count(severity)
    }

    /// In file order; of many, the first hundred errors and the first hundred warnings that were found.
    pub fn problems(&self) -> impl Iterator<Item = Problem> + '_ {
        self.diagnostics.kept.iter().map(|diagnostic| {
            let (line, column) = self.source.position(diagnostic.span.start);
            Problem {
                severity: diagnostic.severity,
                line,
                column,
                message: diagnostic.message.clone(),
                text: self.source.slice(diagnostic.span).to_owned(),
                remedy: diagnostic.remedy.clone(),
            }
        })
    }

    /// Adds an error that was found after compilation, such as a failed test.
    pub fn add_error(&mut self, line: usize, column: usize, message: String, remedy: String) {
        self.mask();
        let start = self.source.offset(line, column);
        let rest = self.source.text()[start..].lines().next().unwrap_or("");
        let span = Span { start, end: start + rest.trim_end().len() };
        self.diagnostics.add(Diagnostic { severity: Severity::Error, span, message, remedy });
        self.diagnostics.kept.sort_by_key(|diagnostic| diagnostic.span.start);
    }

    fn summary(&self) -> String {
        let [errors, warnings] = [Severity::Error, Severity::Warning].map(|severity| self.count(severity));
        let mut text = format!("{} in {}", counted(errors, warnings), escape::lines(self.source.name()));
        let [errors, warnings] = [errors, warnings].map(|count| count.saturating_sub(KEPT_MAX));
        if errors + warnings > 0 {
            let are = if errors + warnings == 1 { "is" } else { "are" };
            text.push_str(&format!("; {} {are} not shown", counted(errors, warnings)));
        }
        text
    }
}

/// `2 errors and 1 warning`
fn counted(errors: usize, warnings: usize) -> String {
    let count = |count: usize, one: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {one}s")),
    };
    let parts = [count(errors, "error"), count(warnings, "warning")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// Removes from a diagnostic what it quotes of the secrets at its place.
fn conceal(diagnostic: &mut Diagnostic, regions: &[(Span, String)]) {
    let Span { start, end } = diagnostic.span;
    let first = regions.partition_point(|(region, _)| region.end <= start);
    for (_, secret) in regions[first..].iter().take_while(|(region, _)| region.start < end.max(start + 1)) {
        let secret = secret.trim_matches(['"', '\'']);
        diagnostic.message = mask::conceal(&diagnostic.message, secret, mask::HIDDEN);
        diagnostic.remedy = mask::conceal(&diagnostic.remedy, secret, mask::HIDDEN);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics.kept {
            writeln!(f, "{}", Snippet::new(&self.source, diagnostic))?;
        }
        write!(f, "{}", self.summary())
    }
}

/// Characters of a source line that are shown at most.
const LINE_CHARS_MAX: usize = 160;

/// The display of one problem, with an excerpt of its line.
struct Snippet<'a> {
    diagnostic: &'a Diagnostic,
    file: &'a str,
    line: usize,
    column: usize,
    text: String,
    /// Characters before the marks, and how many marks.
    indent: usize,
    marks: usize,
}

impl<'a> Snippet<'a> {
    fn new(source: &'a Source, diagnostic: &'a Diagnostic) -> Snippet<'a> {
        let (line, column) = source.position(diagnostic.span.start);
        let skipped = if column > LINE_CHARS_MAX { column - LINE_CHARS_MAX / 2 } else { 0 };
        let text = beginning(&source.text()[source.offset(line, skipped + 1)..]);
        let text: String = text.chars().map(visible).collect();
        let text = text.trim_end().to_owned();
        let indent = column - 1 - skipped;
        let room = text.chars().count().saturating_sub(indent);
        let marks = beginning(source.slice(diagnostic.span)).chars().count().clamp(1, room.max(1));
        Snippet { diagnostic, file: source.name(), line, column, text, indent, marks }
    }
}

/// What is shown of the first line of a text at most, without blanks at its end. Does not look at the rest, which may
/// be the whole file.
fn beginning(text: &str) -> &str {
    let mut ends = text.char_indices().enumerate();
    let end = ends.find(|(count, (_, letter))| *count == LINE_CHARS_MAX || *letter == '\n');
    let end = end.map_or(text.len(), |(_, (at, _))| at);
    text[..end].trim_end()
}

/// Replaces a character that a terminal must not get, by exactly one other, so that columns stay.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        other if escape::is_hostile(other) => '\u{fffd}',
        other => other,
    }
}

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{kind}: {}", escape::lines(&self.diagnostic.message))?;
        writeln!(f, "{gutter}--> {}:{}:{}", escape::lines(self.file), self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{}", format!("{number} | {}", self.text).trim_end())?;
        let marks = format!("{}{}", " ".repeat(self.indent), "^".repeat(self.marks));
        writeln!(f, "{}", format!("{gutter} | {marks} {}", escape::lines(&self.diagnostic.remedy)).trim_end())
    }
}
