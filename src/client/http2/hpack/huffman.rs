//! The Huffman code of HPACK (RFC 7541, appendix B). It is canonical: the codes of one length are consecutive, in the order
//! of their symbols, so that the lengths say all.

/// The length of the code of each byte, and of the end of string, in bits.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const SYMBOLS: usize = 257;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    length: u32,
    /// The first one.
    first: u32,
    /// The first 32 bits that begin with none of these, nor with a shorter one.
    limit: u64,
    /// Where the symbol of the first one is in [`ORDER`].
    at: usize,
}

/// The symbols in the order of their codes.
static ORDER: [u16; SYMBOLS] = order();

/// The codes of all lengths, the shortest first.
static CODES: [Codes; LONGEST + 1 - SHORTEST] = codes();

#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, which would refuse an index out of range"
)]
const fn order() -> [u16; SYMBOLS] {
    let mut order = [0; SYMBOLS];
    let (mut length, mut at) = (SHORTEST, 0);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                order[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    order
}

#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, which would refuse an index out of range"
)]
const fn codes() -> [Codes; LONGEST + 1 - SHORTEST] {
    let mut codes = [Codes { length: 0, first: 0, limit: 0, at: 0 }; LONGEST + 1 - SHORTEST];
    let (mut length, mut first, mut at) = (SHORTEST, 0, 0);
    while length <= LONGEST {
        let (mut count, mut symbol) = (0, 0);
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                count += 1;
            }
            symbol += 1;
        }
        let limit = (first as u64 + count as u64) << (32 - length);
        codes[length - SHORTEST] = Codes { length: length as u32, first, limit, at };
        at += count;
        first = (first + count as u32) << 1;
        length += 1;
    }
    codes
}

/// Appends what `bytes` stand for to `out`; `None`: that is nothing.
pub fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut have, mut rest) = (0_u64, 0_u32, bytes.iter());
    loop {
        while have <= 32
            && let Some(byte) = rest.next()
        {
            bits = bits << 8 | u64::from(*byte);
            have += 8;
        }
        if have == 0 {
            return Some(());
        }
        // What is missing at the end is padding, of ones.
        let window = (bits << (64 - have) | u64::MAX >> have) >> 32;
        let codes = CODES.iter().find(|codes| window < codes.limit)?;
        if codes.length > have {
            let padding = (1 << have) - 1;
            return (have < 8 && bits & padding == padding).then_some(());
        }
        let index = (window >> (32 - codes.length)) as u32 - codes.first;
        // The end of string is no byte, and must not occur.
        out.push(u8::try_from(*ORDER.get(codes.at + index as usize)?).ok()?);
        have -= codes.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    /// Sections C.4 and C.6 of the RFC.
    #[test]
    fn the_examples_of_the_standard() {
        let examples: [(&[u8], &str); 6] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[0x9b, 0xd9, 0xab], "gzip"),
        ];
        for (bytes, text) in examples {
            assert_eq!(decoded(bytes).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    /// Every byte has its code, and padding follows in every length.
    #[test]
    fn all_bytes_come_back() {
        for byte in 0..=255_u8 {
            let (codes, at) = CODES
                .iter()
                .find_map(|codes| {
                    let at = ORDER.iter().position(|symbol| *symbol == u16::from(byte))?;
                    (codes.length == u32::from(LENGTHS[usize::from(byte)])).then_some((codes, at))
                })
                .expect("a code");
            let code = u64::from(codes.first) + (at - codes.at) as u64;
            let padded = 8 * u64::from(codes.length.div_ceil(8));
            let shift = padded - u64::from(codes.length);
            let bits = code << shift | ((1 << shift) - 1);
            let bytes = bits.to_be_bytes();
            assert_eq!(decoded(&bytes[8 - padded as usize / 8..]), Some(vec![byte]), "{byte}");
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        // A byte of padding, padding of zeros, and the end of string.
        for bytes in [&[0xff][..], &[0xff, 0xff], &[0x18], &[0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(decoded(bytes), None, "{bytes:x?}");
        }
    }
}
