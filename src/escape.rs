//! Makes foreign text safe for logs and terminals: one list of hostile characters, and an escape for each format.
//!
//! A line break would forge a line, an escape sequence would control the reader's terminal, and invisible characters
//! would make two different texts look the same.

use std::borrow::Cow;

/// Appends a JSON string, quotes included. Bytes that are not UTF-8 become text: `\xfc`.
pub fn json(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.push(b'"');
    escape_bytes(out, text.as_ref(), json_text, b"\\\\x");
    out.push(b'"');
}

fn json_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |c| is_hostile(c) || c == '"' || c == '\\', json_char);
}

/// Appends text for people: hostile characters become `\n`, `\x1b` or `\u{202e}`, bytes that are not UTF-8 `\xfc`; a
/// backslash is doubled, so that no escape can be forged.
pub fn text(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    escape_bytes(out, text.as_ref(), plain_text, b"\\x");
}

fn plain_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |c| is_hostile(c) || c == '\\', text_char);
}

/// Escapes the text with `escape`, and writes bytes that are not UTF-8 as two hex digits behind `mark`.
fn escape_bytes(out: &mut Vec<u8>, text: &[u8], escape: fn(&mut Vec<u8>, &str), mark: &[u8]) {
    // Nearly all texts are plain ASCII. This test has no branches, so that the compiler vectorizes it.
    if !text.iter().fold(false, |found, byte| found | !plain(*byte)) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid());
        for byte in chunk.invalid() {
            out.extend_from_slice(mark);
            hex(out, u32::from(*byte), 2, LOWER);
        }
    }
}

/// As [`text`], into a `String`.
pub fn to_text(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    self::text(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

/// Escapes several lines for a terminal. Line breaks and backslashes stay as they are, because the text has its own
/// layout, such as an excerpt of a config with marks beneath.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hostile(c), text_char)
}

/// As [`lines`], but sequences that only change colours stay, such as `\x1b[31m`.
pub fn coloured_lines(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut out = lines(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let number = part.strip_prefix('[').and_then(|rest| Some(rest.split_once('m')?.0));
        let is_colour = |number: &str| number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        out.push_str(if number.is_some_and(is_colour) { "\x1b" } else { "\\x1b" });
        out.push_str(&lines(part));
    }
    out
}

/// Escapes the hostile characters in the strings of a JSON document, as `\u202e`; its meaning stays the same.
pub fn document(json: &str) -> Cow<'_, str> {
    escaped(
        json,
        |c| c != '\n' && is_hostile(c),
        |out, c| match c {
            // Whitespace between values: within strings, JSON allows neither unescaped.
            '\t' | '\r' => out.push(b' '),
            c => json_char(out, c),
        },
    )
}

fn escaped(text: &str, special: fn(char) -> bool, write: fn(&mut Vec<u8>, char)) -> Cow<'_, str> {
    if !text.chars().any(special) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    escape(&mut out, text, special, write);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Appends text escaped as nginx does by default: `"`, `\`, and every byte that is not printable ASCII as `\xXX`.
pub fn combined(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    for &byte in text.as_ref() {
        if plain(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, u32::from(byte), 2, b"0123456789ABCDEF");
        }
    }
}

/// Whether a character has an effect beside its glyph, or no glyph at all: control characters, bidirectional marks,
/// line separators, joiners, fillers, tags, variation selectors, noncharacters.
pub fn is_hostile(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let at = INVISIBLE.partition_point(|&(_, last)| last < c);
    INVISIBLE.get(at).is_some_and(|&(first, _)| first <= c) || u32::from(c) & 0xfffe == 0xfffe
}

/// The non-ASCII characters of the general categories Cc, Cf, Zl and Zp, and those with the property
/// Default_Ignorable_Code_Point or Noncharacter_Code_Point, sorted: from UnicodeData.txt, DerivedCoreProperties.txt and
/// PropList.txt of Unicode 16. The noncharacters at the end of each plane are tested by [`is_hostile`].
const INVISIBLE: [(char, char); 27] = [
    ('\u{0080}', '\u{009f}'),
    ('\u{00ad}', '\u{00ad}'),
    ('\u{034f}', '\u{034f}'),
    ('\u{0600}', '\u{0605}'),
    ('\u{061c}', '\u{061c}'),
    ('\u{06dd}', '\u{06dd}'),
    ('\u{070f}', '\u{070f}'),
    ('\u{0890}', '\u{0891}'),
    ('\u{08e2}', '\u{08e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Printable ASCII that no format needs to escape.
fn plain(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') <= b'~' - b' ') & (byte != b'"') & (byte != b'\\')
}

fn escape(out: &mut Vec<u8>, text: &str, special: fn(char) -> bool, write: fn(&mut Vec<u8>, char)) {
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
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                hex(out, u32::from(*unit), 4, LOWER);
            }
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
            hex(out, u32::from(c), if u32::from(c) > 0xffff { 6 } else { 4 }, LOWER);
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

    fn run<'a>(escape: fn(&mut Vec<u8>, &'a str), input: &'a str) -> String {
        let mut out = Vec::new();
        escape(&mut out, input);
        String::from_utf8(out).expect("UTF-8")
    }

    fn run_bytes<'a>(escape: fn(&mut Vec<u8>, &'a [u8]), input: &'a [u8]) -> String {
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
    fn of_a_terminals_sequences_only_colours_stay() {
        let input = "a\x1b[31mred\x1b[0m\n\x1b[2J\x1b]0;title\x07\x1b[1;31m\x1b";
        let shown = "a\x1b[31mred\x1b[0m\n\\x1b[2J\\x1b]0;title\\x07\\x1b[1;31m\\x1b";
        assert_eq!(coloured_lines(input), shown);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        let input = b"J\xfcrgen \xc3\xa9 \xe2\x80\"";
        assert_eq!(run_bytes(json, input), r#""J\\xfcrgen é \\xe2\\x80\"""#);
        assert_eq!(run_bytes(text, input), r#"J\xfcrgen é \xe2\x80""#);
        assert_eq!(run_bytes(combined, input), r"J\xFCrgen \xC3\xA9 \xE2\x80\x22");
    }

    #[test]
    fn the_table_is_unicodes() {
        let classes =
            r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}]$";
        let classes = regex::Regex::new(classes).expect("classes that the crate knows");
        let mut text = [0; 4];
        for c in '\0'..=char::MAX {
            assert_eq!(is_hostile(c), classes.is_match(c.encode_utf8(&mut text)), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let input = "a\u{feff}b\u{200b}\u{ad}\u{3164}\u{fe0f}\u{e0041}\u{1fffe}";
        assert_eq!(run(text, input), r"a\u{feff}b\u{200b}\u{00ad}\u{3164}\u{fe0f}\u{0e0041}\u{01fffe}");
        assert_eq!(run(json, input), r#""a\ufeffb\u200b\u00ad\u3164\ufe0f\udb40\udc41\ud83f\udffe""#);
    }

    #[test]
    fn many_lines_keep_their_form() {
        assert_eq!(lines("a\n  ^ \\d é\n"), "a\n  ^ \\d é\n");
        assert_eq!(lines("a\x1b]0;x\x07\r\n\u{202e}"), "a\\x1b]0;x\\x07\\r\n\\u{202e}");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(run(json, "/v1/x?a=b"), r#""/v1/x?a=b""#);
        assert_eq!(run(text, "/v1/x?a=b"), "/v1/x?a=b");
        assert_eq!(run(combined, "/v1/x?a=b"), "/v1/x?a=b");
    }

    /// Texts of any characters, with many hostile ones.
    fn hostile_text() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let invisible = (0..INVISIBLE.len()).prop_flat_map(|at| {
            let (first, last) = INVISIBLE[at];
            proptest::char::range(first, last)
        });
        let one = prop_oneof![any::<char>(), invisible, proptest::char::range('\0', '\x7f')];
        proptest::collection::vec(one, 0..60).prop_map(String::from_iter)
    }

    proptest::proptest! {
        #[test]
        fn json_parses_back(input in hostile_text()) {
            let escaped = run(json, &input);
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&escaped).expect("valid JSON"), input);
        }

        #[test]
        fn documents_say_the_same(input in hostile_text()) {
            let written = serde_json::to_string(&[&input]).expect("JSON");
            let escaped = document(&written);
            proptest::prop_assert!(!escaped.chars().any(is_hostile), "{escaped:?}");
            let [read] = serde_json::from_str::<[String; 1]>(&escaped).expect("valid JSON");
            proptest::prop_assert_eq!(read, input);
        }

        #[test]
        fn nothing_hostile_survives(input in hostile_text()) {
            proptest::prop_assert!(!run(text, &input).chars().any(is_hostile));
            proptest::prop_assert!(!run(json, &input).chars().any(is_hostile));
            proptest::prop_assert!(!lines(&input).chars().any(|c| c != '\n' && is_hostile(c)));
            proptest::prop_assert!(run(combined, &input).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
