//! One line of an access log, in the JSON of evenkeel or in the combined format.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::combined;

/// What a line tells. An empty text is an absent one, as in the log.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow, default)]
    pub listener: Cow<'a, str>,
    #[serde(borrow)]
    pub client: Cow<'a, str>,
    #[serde(borrow, default)]
    pub peer: Cow<'a, str>,
    #[serde(borrow, default)]
    pub method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub host: Cow<'a, str>,
    #[serde(borrow, default)]
    pub target: Cow<'a, str>,
    #[serde(borrow, default)]
    pub rewritten: Cow<'a, str>,
    #[serde(borrow, default)]
    pub protocol: Cow<'a, str>,
    #[serde(borrow, default)]
    pub tls: Cow<'a, str>,
    pub status: u16,
    #[serde(default)]
    pub bytes_in: u64,
    #[serde(borrow, default)]
    pub request_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub user_agent: Cow<'a, str>,
    #[serde(borrow, default)]
    pub referer: Cow<'a, str>,
    #[serde(borrow, default)]
    pub route: Cow<'a, str>,
    #[serde(borrow, default)]
    pub pool: Cow<'a, str>,
    #[serde(borrow, default)]
    pub action: Cow<'a, str>,
    #[serde(borrow, default)]
    pub refused_by: Cow<'a, str>,
    #[serde(borrow, default)]
    pub limited: Cow<'a, str>,
    #[serde(borrow, default)]
    pub auth: Cow<'a, str>,
    #[serde(borrow, default)]
    pub auth_verdict: Cow<'a, str>,
    #[serde(borrow, default)]
    pub cause: Cow<'a, str>,
    /// It says which route its request took, and why it was refused.
    #[serde(skip)]
    pub tells_decision: bool,
    #[serde(skip)]
    pub at: Timestamp,
}

// === impl Line ===

impl<'a> Line<'a> {
    /// The error says what is wrong with the line.
    pub fn read(text: &'a [u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        if !text.starts_with('{') {
            return combined::read(text)
                .ok_or_else(|| "it is neither JSON nor in the combined format".to_owned());
        }
        let mut line: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        line.at = line.time.parse().map_err(|_| format!("`{}` is no time", line.time))?;
        line.tells_decision = true;
        line.target = with_bytes(line.target);
        Ok(line)
    }

    /// Whether its request was read at all.
    pub fn has_request(&self) -> bool {
        !self.method.is_empty() && !self.target.is_empty()
    }
}

/// A target in which bytes that are no text are text, as `\xfc`: no target may have them, whatever they are.
fn with_bytes(target: Cow<'_, str>) -> Cow<'_, str> {
    let is_byte = |(at, _): (usize, &str)| {
        let digits = target.get(at + 2..at + 4).unwrap_or_default();
        u8::from_str_radix(digits, 16).is_ok_and(|byte| !byte.is_ascii())
    };
    if target.match_indices("\\x").any(is_byte) { target.replace("\\x", "\u{fffd}").into() } else { target }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_cannot_be_read_say_why() {
        for (line, why) in [
            (&b"\xff"[..], "it is not UTF-8"),
            (b"12:00:01.123 200 GET example.com/", "it is neither JSON nor in the combined format"),
            (b"{\"time\":\"2026-11-24T12:00:01Z\",\"client\":\"::1\"}", "missing field `status`"),
            (b"{\"time\":\"noon\",\"client\":\"::1\",\"status\":200}", "`noon` is no time"),
            (b"{\"time\":\"2026-11-24T12:0", "EOF while parsing a string"),
        ] {
            let error = Line::read(line).expect_err("it cannot be read");
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_make_no_target() {
        assert_eq!(with_bytes(r"/x?\xfc".into()), "/x?\u{fffd}fc");
        assert_eq!(with_bytes(r"/x?\x22\x".into()), r"/x?\x22\x");
    }
}
