//! Files of secret keys that several machines share: lines of 64 hex digits. The first key is used for what is new, all of
//! them for what is there, so that keys can be changed one after the other.

use crate::percent;

pub const KEY_BYTES: usize = 32;

pub const REMEDY: &str =
    "write lines of 64 hex digits, such as `openssl rand -hex 32` prints, the newest first";

pub type Key = [u8; KEY_BYTES];

/// The keys of a file; `None`: it has none, or a line that is none.
pub fn keys(content: &[u8]) -> Option<Vec<Key>> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let keys: Vec<Key> = lines.map(key).collect::<Option<_>>()?;
    (!keys.is_empty()).then_some(keys)
}

fn key(digits: &[u8]) -> Option<Key> {
    let bytes: Vec<u8> = digits.chunks(2).map(percent::byte).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_key() {
        let (one, two) = ("01".repeat(32), "fF".repeat(32));
        assert_eq!(keys(format!("{one}\r\n\n {two} ").as_bytes()), Some(vec![[1; 32], [255; 32]]));
        for wrong in ["", "\n", "01", &one[..63], &format!("{one}0"), &format!("{one}\nx"), &"0g".repeat(32)]
        {
            assert_eq!(keys(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
