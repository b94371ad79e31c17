//! Percent escapes (RFC 3986, section 2.1).

/// The byte that two hex digits, those after a `%`, stand for; `None` if these are not two hex digits.
pub fn byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hex_digits_are_a_byte_and_nothing_else_is() {
        for (digits, expected) in [("41", 0x41), ("fF", 0xff), ("00", 0)] {
            assert_eq!(byte(digits.as_bytes()), Some(expected), "{digits}");
        }
        for digits in ["", "4", "411", "4g", "+1", " 1", "é"] {
            assert_eq!(byte(digits.as_bytes()), None, "{digits}");
        }
    }
}
