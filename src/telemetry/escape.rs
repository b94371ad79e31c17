//! Foreign text made safe for a log line. What clients send ends up here, so no control byte may reach the output:
//! a line break would forge a line, and an escape sequence would speak to the terminal of whoever reads it.

/// As a JSON string, quotes included.
pub(super) fn json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text, |c| hostile(c) || c == '"' || c == '\\', json_char);
    out.push(b'"');
}

/// For people: what is hostile becomes `\n`, `\x1b` or `\u{202e}`; a backslash is doubled so that none can be faked.
pub fn text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |c| hostile(c) || c == '\\', text_char);
}

/// [`text`], into a `String`.
pub(super) fn to_text(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    self::text(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

/// As nginx's default escaping does: `"`, `\`, and every byte that is not printable ASCII as `\xXX`.
pub(super) fn combined(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        if plain(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, u32::from(byte), 2, b"0123456789ABCDEF");
        }
    }
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and the marks that turn the reading direction.
fn hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Printable ASCII that no format needs to escape.
fn plain(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') <= b'~' - b' ') & (byte != b'"') & (byte != b'\\')
}

fn escape(out: &mut Vec<u8>, text: &str, special: fn(char) -> bool, write: fn(&mut Vec<u8>, char)) {
    // Nearly everything is plain ASCII, and this test is fast: without branches, so that the compiler makes it wide.
    if !text.bytes().fold(false, |found, byte| found | !plain(byte)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut from = 0;
    for (at, c) in text.char_indices().filter(|&(_, c)| special(c)) {
        out.extend_from_slice(&text.as_bytes()[from..at]);
        write(out, c);
        from = at + c.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
}

fn json_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // All that is hostile lies within the first plane, so one unit is enough.
        c => {
            out.extend_from_slice(b"\\u");
            hex(out, u32::from(c), 4, LOWER);
        }
    }
}

fn text_char(out: &mut Vec<u8>, c: char) {
    match c {
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if c.is_ascii() => {
            out.extend_from_slice(b"\\x");
            hex(out, u32::from(c), 2, LOWER);
        }
        c => {
            out.extend_from_slice(b"\\u{");
            hex(out, u32::from(c), 4, LOWER);
            out.push(b'}');
        }
    }
}

const LOWER: &[u8; 16] = b"0123456789abcdef";

fn hex(out: &mut Vec<u8>, value: u32, digits: u32, alphabet: &[u8; 16]) {
    for place in (0..digits).rev() {
        out.push(alphabet[(value >> (4 * place)) as usize & 0xf]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(escape: fn(&mut Vec<u8>, &str), input: &str) -> String {
        let mut out = Vec::new();
        escape(&mut out, input);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn each_format_disarms_what_is_hostile() {
        let input = "a\nb\x1b[31m\u{9b}\u{202e}\"\\é\x7f";
        assert_eq!(run(json, input), r#""a\nb\u001b[31m\u009b\u202e\"\\é\u007f""#);
        assert_eq!(run(text, input), r#"a\nb\x1b[31m\u{009b}\u{202e}"\\é\x7f"#);
        assert_eq!(run(combined, input), r"a\x0Ab\x1B[31m\xC2\x9B\xE2\x80\xAE\x22\x5C\xC3\xA9\x7F");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(run(json, "/v1/x?a=b"), r#""/v1/x?a=b""#);
        assert_eq!(run(text, "/v1/x?a=b"), "/v1/x?a=b");
        assert_eq!(run(combined, "/v1/x?a=b"), "/v1/x?a=b");
    }

    proptest::proptest! {
        #[test]
        fn json_parses_back(input in "\\PC*|.*|(?s).{0,40}") {
            let escaped = run(json, &input);
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&escaped).expect("valid JSON"), input);
            proptest::prop_assert!(!escaped.chars().any(char::is_control));
        }

        #[test]
        fn nothing_hostile_survives(input in "(?s).{0,60}") {
            proptest::prop_assert!(!run(text, &input).chars().any(hostile));
            proptest::prop_assert!(run(combined, &input).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
