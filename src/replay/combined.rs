//! A line in the combined format of Apache and nginx:
//! `client - user [time] "request" status bytes "referer" "user agent"`.

use std::borrow::Cow;

use jiff::Timestamp;

use super::line::Line;

/// `None`: the line has another form. What follows the user agent does not matter.
pub(super) fn read(text: &str) -> Option<Line<'_>> {
    let (client, rest) = text.split_once(' ')?;
    let (_, rest) = rest.split_once(" [")?;
    let (time, rest) = rest.split_once("] \"")?;
    let (request, rest) = quoted(rest)?;
    let mut rest = rest.trim_start().splitn(3, ' ');
    let status = rest.next()?.parse().ok()?;
    let _bytes = rest.next()?;
    let (referer, rest) = rest.next().and_then(|rest| quoted(rest.strip_prefix('"')?)).unwrap_or_default();
    let (user_agent, _) = rest.trim_start().strip_prefix('"').and_then(quoted).unwrap_or_default();
    let (method, target, protocol) = parts(request);
    Some(Line {
        client: client.into(),
        method: method.into(),
        target: unescaped(target),
        protocol: protocol.into(),
        status,
        referer: unescaped(present(referer)),
        user_agent: unescaped(present(user_agent)),
        at: Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", time).ok()?,
        ..Line::default()
    })
}

/// The text before the next quote that is not escaped, and what follows that.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// Empty for an absent value.
fn present(text: &str) -> &str {
    if text == "-" { "" } else { text }
}

/// Method, target and protocol; all empty where there was no request.
fn parts(request: &str) -> (&str, &str, &str) {
    let read = || {
        let (method, rest) = request.split_once(' ')?;
        let (target, protocol) = rest.rsplit_once(' ')?;
        Some((method, target, protocol))
    };
    read().unwrap_or_default()
}

/// Undoes `\xXX` and `\"`. A byte that is no text stays one that no target may have.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind.strip_prefix(b"x").and_then(|digits| str::from_utf8(digits.get(..2)?).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (rest, _) = match (first, byte, behind) {
            (b'\\', Some(byte), _) => (behind.get(3..).unwrap_or_default(), bytes.push(byte)),
            (b'\\', None, [escaped, behind @ ..]) => (behind, bytes.push(*escaped)),
            _ => (behind, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_evenkeel_nginx_and_apache() {
        for line in [
            r#"10.0.0.9 - - [24/Nov/2026:12:00:01 +0000] "GET /v1/x?a=\x22 HTTP/1.1" 200 1234 "-" "curl/8.5 \x22""#,
            r#"10.0.0.9 - ann [24/Nov/2026:13:00:01 +0100] "GET /v1/x?a=\" HTTP/1.1" 200 - "-" "curl/8.5 \"" "-" 0.001"#,
        ] {
            let line = read(line).expect("a line");
            assert_eq!((&*line.client, &*line.method, &*line.target), ("10.0.0.9", "GET", "/v1/x?a=\""));
            assert_eq!((&*line.protocol, line.status, &*line.user_agent), ("HTTP/1.1", 200, "curl/8.5 \""));
            assert_eq!(line.at.to_string(), "2026-11-24T12:00:01Z");
            assert!(line.referer.is_empty() && line.host.is_empty() && !line.tells_decision);
        }
        let none = read(r#"10.0.0.9 - - [24/Nov/2026:12:00:01 +0000] "-" 400 0 "-" "-""#).expect("a line");
        assert!(!none.has_request());
        for other in
            ["", "GET / HTTP/1.1", r#"a - - [noon] "GET / HTTP/1.1" 200 1 "-" "-""#, r#"a - - [] "\"#]
        {
            assert!(read(other).is_none(), "{other}");
        }
    }
}
