//! Decompresses header blocks (HPACK, RFC 7541).
//!
//! Any bytes may be a name or a value here: what HTTP allows is another question, and an answer of no must not disturb the
//! table, which all streams of the connection share.

mod huffman;
mod table;

use crate::part::Part;
use table::{Table, TableField};

/// The most bytes of an integer.
const INTEGER_MAX: usize = 5;

/// Bytes that are no header block: the connection cannot go on (RFC 9113, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionError;

/// The fields of a block, in order, in one piece of memory.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
}

/// The verdict on a field.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// It belongs to the list.
    pub is_kept: bool,
    /// It is valid, whatever its place: it is not looked at again where the table has it.
    pub is_valid: bool,
}

#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
}

impl Decoder {
    /// Appends the fields of a whole block to `fields`, as `judge(name, value, is_valid)` says; `is_valid`: that was its
    /// verdict before.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        fields: &mut Fields,
        mut judge: impl FnMut(&[u8], &[u8], bool) -> Judged,
    ) -> Result<(), CompressionError> {
        let mut may_resize = true;
        while let Some(first) = block.first().copied() {
            if first & 0xe0 == 0x20 {
                let size = integer(&mut block, 5)?;
                if !may_resize || !self.table.resize(size) {
                    return Err(CompressionError);
                }
                continue;
            }
            may_resize = false;
            let field = fields.begin();
            let is_kept = if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                let TableField { name, value, is_valid } = self.table.get(index).ok_or(CompressionError)?;
                fields.bytes.extend_from_slice(name);
                fields.end_name(field);
                fields.bytes.extend_from_slice(value);
                judge(name, value, is_valid).is_kept
            } else {
                let indexed = first & 0x40 != 0;
                match integer(&mut block, if indexed { 6 } else { 4 })? {
                    0 => string(&mut block, &mut fields.bytes)?,
                    index => {
                        let named = self.table.get(index).ok_or(CompressionError)?;
                        fields.bytes.extend_from_slice(named.name);
                    }
                }
                fields.end_name(field);
                string(&mut block, &mut fields.bytes)?;
                let (name, value) = fields.at(field);
                let Judged { is_kept, is_valid } = judge(name, value, false);
                if indexed {
                    self.table.insert(TableField { name, value, is_valid });
                }
                is_kept
            };
            match is_kept {
                true => fields.end(field),
                false => fields.bytes.truncate(field),
            }
        }
        Ok(())
    }
}

/// Before each field: the length of its name, and of its name and value.
const LENGTHS: usize = 8;

impl Fields {
    /// None yet, in memory that was used before.
    pub fn within(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self { bytes: memory }
    }

    pub fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    /// Name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &*self.bytes;
        std::iter::from_fn(move || {
            let lengths = rest.get(..LENGTHS)?;
            let (name, all) = read_lengths(lengths);
            let field = rest.get(LENGTHS..LENGTHS + all)?;
            rest = rest.part(LENGTHS + all..);
            field.split_at_checked(name)
        })
    }

    fn begin(&mut self) -> usize {
        let field = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTHS]);
        field
    }

    fn end_name(&mut self, field: usize) {
        let name = self.bytes.len() - field - LENGTHS;
        self.set_length(field, name);
    }

    fn end(&mut self, field: usize) {
        let all = self.bytes.len() - field - LENGTHS;
        self.set_length(field + LENGTHS / 2, all);
    }

    fn set_length(&mut self, at: usize, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes();
        if let Some(place) = self.bytes.get_mut(at..at + length.len()) {
            place.copy_from_slice(&length);
        }
    }

    /// The last field, which begins there.
    fn at(&self, field: usize) -> (&[u8], &[u8]) {
        let (name, _) = read_lengths(self.bytes.part(field..field + LENGTHS));
        self.bytes.part(field + LENGTHS..).split_at_checked(name).unwrap_or_default()
    }
}

fn read_lengths(bytes: &[u8]) -> (usize, usize) {
    let (name, all) = bytes.split_at_checked(LENGTHS / 2).unwrap_or_default();
    let read = |length: &[u8]| length.try_into().map_or(0, u32::from_ne_bytes) as usize;
    (read(name), read(all))
}

/// An integer whose first byte has a prefix of so many bits (section 5.1).
fn integer(block: &mut &[u8], prefix: u8) -> Result<usize, CompressionError> {
    let mask = (1_usize << prefix) - 1;
    let (first, mut rest) = block.split_first().ok_or(CompressionError)?;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or(CompressionError)?;
            value += usize::from(byte & 0x7f) << shift;
            (rest, shift) = (after, shift + 7);
            if byte & 0x80 == 0 {
                break;
            }
            if shift / 7 == INTEGER_MAX - 1 {
                return Err(CompressionError);
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// Appends a string (section 5.2) to `out`.
fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let is_compressed = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (string, rest) = block.split_at_checked(length).ok_or(CompressionError)?;
    *block = rest;
    match is_compressed {
        true => huffman::decode(string, out).ok_or(CompressionError),
        false => {
            out.extend_from_slice(string);
            Ok(())
        }
    }
}

/// Appends a field as a literal that changes no table (section 6.2.2), with nothing compressed.
pub fn put_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    put_string(out, name);
    put_string(out, value);
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    const PREFIX: usize = 0x7f;
    match string.len() {
        length @ 0..PREFIX => out.push(length as u8),
        length => {
            out.push(PREFIX as u8);
            let mut rest = length - PREFIX;
            while rest >= 0x80 {
                out.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Judged = Judged { is_kept: true, is_valid: true };

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, CompressionError> {
        let mut fields = Fields::default();
        decoder.decode(block, &mut fields, |_, _, _| KEPT)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect())
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(|byte| *byte != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// Sections C.3 and C.4: three requests on one connection, without and with Huffman's code.
    #[test]
    fn the_examples_of_the_standard() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let compressed = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        let expected = [
            vec![":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
            vec![
                ":method: GET",
                ":scheme: http",
                ":path: /",
                ":authority: www.example.com",
                "cache-control: no-cache",
            ],
            vec![
                ":method: GET",
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value",
            ],
        ];
        for blocks in [plain, compressed] {
            let mut decoder = Decoder::default();
            for (block, expected) in blocks.iter().zip(&expected) {
                assert_eq!(
                    decoded(&mut decoder, &hex(block)).as_ref(),
                    Ok(&expected.iter().map(|text| (*text).to_owned()).collect())
                );
            }
        }
    }

    #[test]
    fn the_oldest_entries_go() {
        let mut decoder = Decoder::default();
        let put = |name: &str, length: usize| {
            let mut literal = Vec::new();
            put_literal(&mut literal, name.as_bytes(), &vec![b'v'; length]);
            literal[0] = 0x40;
            literal
        };
        let newest = |decoder: &mut Decoder, index: u8| decoded(decoder, &[0x80 | index]);
        for n in 0..100 {
            decoded(&mut decoder, &put(&format!("name-{n}"), 965)).unwrap();
            assert!(newest(&mut decoder, 62).unwrap()[0].starts_with(&format!("name-{n}: vv")));
        }
        // Four of a thousand bytes have room.
        assert!(newest(&mut decoder, 65).unwrap()[0].starts_with("name-96: "));
        assert_eq!(newest(&mut decoder, 66), Err(CompressionError));
        // A new size, smaller and then large again, empties it; one that is too large for it does, too.
        assert_eq!(decoded(&mut decoder, &hex("20 3fe11f")), Ok(vec![]));
        assert_eq!(newest(&mut decoder, 62), Err(CompressionError));
        decoded(&mut decoder, &put("a", 1)).unwrap();
        decoded(&mut decoder, &put("b", 5000)).unwrap();
        assert_eq!(newest(&mut decoder, 62), Err(CompressionError));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for block in [
            "80",
            "ff20",
            "ffffffffff7f",
            "3fe21f",
            "8220",
            "0003 782d",
            "0001 78 84 ffffffff",
            "40",
            "0082 7878",
        ] {
            assert_eq!(decoded(&mut Decoder::default(), &hex(block)), Err(CompressionError), "{block}");
        }
    }

    #[test]
    fn literals_come_back() {
        for length in [0, 1, 126, 127, 128, 254, 255, 300, 20_000] {
            let (mut block, value) = (Vec::new(), vec![b'v'; length]);
            put_literal(&mut block, b"name", &value);
            let mut fields = Fields::default();
            Decoder::default().decode(&block, &mut fields, |_, _, _| KEPT).unwrap();
            assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"name"[..], &value[..])]);
        }
    }
}
