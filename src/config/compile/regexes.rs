//! Compiles regular expressions, and reports those that are invalid or large.

use super::Compiler;
use crate::config::decode::{Fault, Spanned, shown};
use crate::config::raw::RegexText;
use crate::config::regexes::{ALL_BYTES_MAX, Refused, WARN_BYTES};
use crate::config::source::Span;
use crate::routing::{Regex, RegexError};

const SMALLER: &str = "write + or * in place of counts such as {1,64}, and leave out (?u)";

impl Compiler<'_> {
    /// `None` if it is refused, which has been reported.
    pub(super) fn regex(&mut self, written: &Spanned<RegexText>) -> Option<Regex> {
        let compiled = self.regexes.get(&written.0);
        self.judged_regex(&written.0, written.span, compiled)
    }

    /// Like [`Compiler::regex`], of one that says what its groups have found.
    pub(super) fn regex_with_groups(&mut self, text: &str, span: Span) -> Option<Regex> {
        let compiled = self.regexes.get_with_groups(text);
        self.judged_regex(text, span, compiled)
    }

    fn judged_regex(
        &mut self,
        text: &str,
        span: Span,
        compiled: Result<(Regex, bool), Refused>,
    ) -> Option<Regex> {
        let refused = match compiled {
            Ok((regex, is_new)) => {
                if is_new && regex.bytes() > WARN_BYTES {
                    let message = format!("`{}` takes {} of memory", shown(text), kib(regex.bytes()));
                    self.diagnostics.warn(span, message, SMALLER);
                }
                return Some(regex);
            }
            Err(refused) => refused,
        };
        match refused {
            // Reported once, since all that follow are beyond the limit, too.
            Refused::TooLargeTogether if !self.regexes.is_first_refusal() => {}
            refused => {
                let fault = self.fault_of(text, refused);
                self.diagnostics.fault(span, fault);
            }
        }
        None
    }

    fn fault_of(&self, text: &str, refused: Refused) -> Fault {
        let text = shown(text);
        match refused {
            Refused::Alone(RegexError::Syntax(why)) => {
                let has_look_around = ["(?=", "(?!", "(?<"].iter().any(|written| text.contains(written));
                let remedy = if has_look_around {
                    "look-around, such as (?=...), is not supported; write several routes instead"
                } else {
                    "see the syntax of the Rust crate `regex`; single quotes keep backslashes as they are"
                };
                Fault::new(format!("`{text}` is not a regular expression: {why}"), remedy)
            }
            Refused::Alone(RegexError::Unicode) => Fault::new(
                format!("`{text}` has classes of characters beyond ASCII"),
                "begin it with (?u), which makes it larger; paths have only ASCII when they are matched",
            ),
            Refused::Alone(RegexError::TooLarge) => {
                Fault::new(format!("`{text}` takes more than {} of memory", kib(Regex::BYTES_MAX)), SMALLER)
            }
            Refused::TooLargeTogether => {
                let message = format!(
                    "with this one, the regular expressions take more than {} of memory in all",
                    kib(ALL_BYTES_MAX)
                );
                let largest = self.regexes.largest().map_or_else(String::new, |largest| {
                    format!("; the largest is `{}`, with {}", shown(largest.as_str()), kib(largest.bytes()))
                });
                Fault::new(message, format!("{SMALLER}{largest}"))
            }
        }
    }
}

fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}
