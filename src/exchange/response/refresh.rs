//! `Refresh`: after so many seconds, the browser goes to a URL.

use std::ops::Range;

/// The value with another URL in it; `None`: it stays as it is.
pub fn with_url(value: &[u8], replacement: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let Range { start, end } = url(value)?;
    let new = replacement(value.get(start..end)?)?;
    Some([value.get(..start)?, &new, value.get(end..)?].concat())
}

/// Where browsers read the URL (HTML, "shared declarative refresh steps"): `5; url=/x`, `5, URL = '/x'`, `5;/x`, `5 /x`.
fn url(value: &[u8]) -> Option<Range<usize>> {
    let value = value.trim_ascii_end();
    let behind_blanks = |at: usize| {
        let rest = value.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    let at = behind_blanks(0);
    let is_time = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let time = at + value.get(at..)?.iter().take_while(|byte| is_time(byte)).count();
    let mut at = behind_blanks(time);
    if value.get(at).is_some_and(|byte| b";,".contains(byte)) {
        at = behind_blanks(at + 1);
    }
    if value.get(at..at + 3).is_some_and(|word| word.eq_ignore_ascii_case(b"url")) {
        let sign = behind_blanks(at + 3);
        if value.get(sign) == Some(&b'=') {
            at = behind_blanks(sign + 1);
        }
    }
    let quote = value.get(at).filter(|byte| b"'\"".contains(byte));
    let start = if quote.is_some() { at + 1 } else { at };
    let rest = value.get(start..)?;
    let length = quote.and_then(|quote| rest.iter().position(|byte| byte == quote)).unwrap_or(rest.len());
    (length > 0).then_some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_where_browsers_find_it() {
        for (value, expected) in [
            ("5; url=http://a/x", Some("http://a/x")),
            ("0;URL='http://a/x'", Some("http://a/x")),
            ("5 , Url = \"http://a/x\"; more", Some("http://a/x")),
            ("1.5; url=/x;y?z=1,2", Some("/x;y?z=1,2")),
            ("5;http://a/x ", Some("http://a/x")),
            ("5 http://a/x", Some("http://a/x")),
            ("; url=/x", Some("/x")),
            ("5; urls", Some("urls")),
            ("5; url='/open", Some("/open")),
            ("5", None),
            ("5;", None),
            ("5; url=", None),
            ("5; url=''", None),
            ("", None),
        ] {
            let found = url(value.as_bytes()).and_then(|range| value.get(range));
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn all_but_the_url_stays() {
        let replaced = |value: &str| {
            let new = with_url(value.as_bytes(), |url| (url != b"/").then(|| b"NEW".to_vec()));
            new.map(|bytes| String::from_utf8(bytes).expect("a text"))
        };
        assert_eq!(replaced("5; url='/a' ").as_deref(), Some("5; url='NEW' "));
        assert_eq!(replaced("5; url=/").as_deref(), None);
    }
}
