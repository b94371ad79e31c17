//! Compiles the access log.

use std::sync::Arc;

use http::HeaderName;

use super::Compiler;
use crate::config::decode::{List, Spanned};
use crate::config::model::{AccessFormat, AccessLog, AccessLogOptions, FieldNames, LogNames, LogSample};
use crate::config::raw::{AccessLogSection, HeaderNameText, SampleSection};
use crate::config::source::Span;

/// Names in one list: each of them is looked for in each request.
const NAMES_MAX: usize = 32;

/// Those whose values let others in.
const SECRET: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "cookie2", "set-cookie", "set-cookie2"];

impl Compiler<'_> {
    pub(super) fn access_log(&mut self, section: &AccessLogSection) -> AccessLog {
        self.check_format(section);
        let options = AccessLogOptions {
            headers: FieldNames {
                request: self.logged_headers(&section.request_headers),
                response: self.logged_headers(&section.response_headers),
                cookies: section.cookies.iter().map(|name| name.0.as_str().into()).collect(),
            },
            chosen: section.fields.as_ref().map(|fields| fields.iter().map(|field| field.0).collect()),
            names: section.names.value,
            sample: section.sample.as_option().and_then(sample),
        };
        self.check_number(section.cookies.span, section.cookies.length);
        AccessLog {
            output: section.output.value.clone(),
            format: section.format.value,
            queue: section.queue.0 as usize,
            options: (options != AccessLogOptions::default()).then(|| Arc::new(options)),
        }
    }

    fn logged_headers(&mut self, names: &Spanned<List<HeaderNameText>>) -> Box<[HeaderName]> {
        self.check_number(names.span, names.length);
        for name in names.iter().filter(|name| SECRET.contains(&name.0.as_str())) {
            let message = format!("`{}` is never logged: who reads it could use it", name.0);
            self.diagnostics.error(name.span, message, "remove it; `cookies: [NAME]` logs single cookies");
        }
        names.iter().map(|name| name.0.clone()).collect()
    }

    fn check_number(&mut self, span: Span, length: usize) {
        if length > NAMES_MAX {
            let message = format!("{length} names are looked for in each request");
            self.diagnostics.error(span, message, format!("write at most {NAMES_MAX}"));
        }
    }

    /// Refuses what the format cannot show.
    fn check_format(&mut self, section: &AccessLogSection) {
        let format = section.format.value;
        if let AccessFormat::Text | AccessFormat::Combined = format {
            let names = (section.names.value != LogNames::Evenkeel).then_some((section.names.span, "names"));
            let fields = section.fields.as_ref().map(|fields| (fields.span, "fields"));
            for (span, key) in names.into_iter().chain(fields) {
                let message = format!("`{key}` is of lines in JSON, and the format is another");
                self.diagnostics.error(span, message, "write `format: json`, or remove one of the two");
            }
        }
        if format == AccessFormat::Combined {
            let headers = [
                (section.request_headers.span, section.request_headers.length),
                (section.response_headers.span, section.response_headers.length),
                (section.cookies.span, section.cookies.length),
            ];
            for (span, _) in headers.into_iter().filter(|(_, length)| *length > 0) {
                let message = "lines in the combined format have no room for it";
                self.diagnostics.error(span, message, "write `format: json` or `format: text`");
            }
        }
    }
}

/// `None`: all requests have a line.
fn sample(section: &SampleSection) -> Option<LogSample> {
    let slow = section.slow.as_option().map(|slow| slow.0);
    let sample = LogSample { errors: section.errors.0, slow, rest: section.rest.0 };
    (sample.errors < 1.0 || sample.rest < 1.0).then_some(sample)
}
