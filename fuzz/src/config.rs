//! Config files: no text breaks the reader, and what is refused is refused with words.

pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Err(report) = evenkeel::config::parse(text, "fuzz.yaml") {
        assert!(!report.to_string().trim().is_empty());
    }
}
