//! Compares header fields as endpoints may read them, which is laxer than the grammar.

use http::HeaderName;

/// Fields in which proxies tell endpoints of clients, and which endpoints believe: from strangers they are removed.
pub const CLAIMS: [&str; 13] = [
    "client-cert",
    "client-cert-chain",
    "x-client-cert-fingerprint",
    "x-client-cert-subject",
    "x-forwarded-by",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];

/// Those that this proxy writes afresh into each request.
pub const WRITTEN_AFRESH: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id"];

/// Whether an endpoint may take two field names for the same: without case, and with `_` and `.` equal to `-`, because
/// CGI variables (WSGI, PHP, Rack) use `_` for all of them.
#[inline]
pub fn same_name(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| fold(*one) == fold(*other))
}

/// Whether an endpoint may take a field's name for one of these.
pub fn is_one_of(name: &[u8], names: &[HeaderName]) -> bool {
    names.iter().any(|other| same_name(other.as_str().as_bytes(), name))
}

/// What each byte of a name is compared as. A table, because every name of every head is compared.
const FOLDED: [u8; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < table.len() {
        table[byte] = match byte as u8 {
            b'_' | b'.' => b'-',
            other => other.to_ascii_lowercase(),
        };
        byte += 1;
    }
    table
};

#[inline]
const fn fold(byte: u8) -> u8 {
    FOLDED[byte as usize]
}

/// Tells quickly of nearly all names that they are not in a set (a Bloom filter). Names that [`same_name`] takes for the
/// same are one to it.
#[derive(Debug, Default, Clone, Copy)]
pub struct NameFilter {
    /// A bit for each length, modulo 64: nearly all names are told by it alone.
    lengths: u64,
    /// A bit for each hash.
    hashes: [u64; 4],
}

impl NameFilter {
    pub const fn of(names: &[&str]) -> Self {
        let (mut filter, mut index) = (Self { lengths: 0, hashes: [0; 4] }, 0);
        while index < names.len() {
            filter.insert(names[index].as_bytes());
            index += 1;
        }
        filter
    }

    pub const fn insert(&mut self, name: &[u8]) {
        let hash = hash(name);
        self.lengths |= 1 << (name.len() & 63);
        self.hashes[(hash >> 6) as usize] |= 1 << (hash & 63);
    }

    /// Adds all names of another one.
    pub fn extend(&mut self, other: Self) {
        self.lengths |= other.lengths;
        self.hashes.iter_mut().zip(other.hashes).for_each(|(own, others)| *own |= others);
    }

    /// `false`: the set has no such name.
    pub const fn may_have(&self, name: &[u8]) -> bool {
        if self.lengths >> (name.len() & 63) & 1 == 0 {
            return false;
        }
        let hash = hash(name);
        self.hashes[(hash >> 6) as usize] >> (hash & 63) & 1 != 0
    }
}

/// Of the length, the first letter and the last two.
const fn hash(name: &[u8]) -> u8 {
    let letters = match name {
        [first, .., second_last, last] => {
            let (second_last, last) = (fold(*second_last), fold(*last));
            fold(*first).wrapping_mul(7) ^ second_last.wrapping_mul(31) ^ last.wrapping_mul(101)
        }
        _ => 0,
    };
    letters.wrapping_add((name.len() as u8).wrapping_mul(53))
}

/// Whether a field describes only the connection. `Upgrade` and the other hop-by-hop fields are removed by the edits.
#[inline]
pub fn is_connection_specific(name: &[u8]) -> bool {
    match name.len() {
        10 => same_name(name, b"connection") || same_name(name, b"keep-alive"),
        14 => same_name(name, b"http2-settings"),
        16 => same_name(name, b"proxy-connection"),
        _ => false,
    }
}

/// Whether a field frames a body, or has the letters of such a name: `Content_Length` and `Transfer--Encoding` are no
/// framing here, but an endpoint may take them for it.
#[inline]
pub fn is_framing(name: &[u8]) -> bool {
    name.len() > 12 && (reads_like(name, b"contentlength") || reads_like(name, b"transferencoding"))
}

#[inline]
fn reads_like(name: &[u8], letters: &[u8]) -> bool {
    name.len() >= letters.len()
        && name
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .eq(letters.iter().copied())
}

/// Whether a field's value may consist of these bytes: no control bytes but the tab. Branchless, so that the compiler
/// vectorizes it.
pub fn is_valid_value(bytes: &[u8]) -> bool {
    let bad = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
    !bytes.iter().fold(false, |found, byte| found | bad(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_field() {
        let documentation = include_str!("../docs/headers.md").to_lowercase();
        for name in CLAIMS.iter().chain(&WRITTEN_AFRESH) {
            assert!(documentation.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_filter_has_all_forms_of_its_names() {
        const NAMES: [&str; 3] = ["x-real-ip", "te", "x-forwarded-for"];
        let mut filter = NameFilter::of(&NAMES);
        filter.extend(NameFilter::of(&["close"]));
        for name in ["X_Real-Ip", "x-real-ip", "TE", "X_FORWARDED_FOR", "Close"] {
            assert!(filter.may_have(name.as_bytes()), "{name}");
        }
        let others =
            (0..1000).filter(|number| filter.may_have(format!("x-field-{number}").as_bytes())).count();
        assert!(others < 100, "{others} of 1000");
        assert!(!NameFilter::default().may_have(b"te"));
    }

    #[test]
    fn names_are_what_they_are_read_as() {
        assert!(same_name(b"X_Real.ip", b"x-real-ip") && !same_name(b"x-real-ip", b"xrealip"));
        for name in ["Keep_Alive", "HTTP2_Settings", "proxy-connection", "Connection"] {
            assert!(is_connection_specific(name.as_bytes()), "{name}");
        }
        for name in ["Content-Length", "content_length", "Transfer--Encoding", "TransferEncoding"] {
            assert!(is_framing(name.as_bytes()), "{name}");
        }
        for name in ["x-content-length", "content-lengths", "content-type", "upgrade"] {
            assert!(!is_framing(name.as_bytes()) && !is_connection_specific(name.as_bytes()), "{name}");
        }
    }
}
