//! The encoding of a response that its client likes best (RFC 9110, section 12.5.3).

use crate::config::{Compress, Encoding};

/// Of the route's encodings, the one with the highest quality, the first of equals; `None`: the client takes none of them.
pub(super) fn chosen<'a>(compress: &Compress, accepted: impl Iterator<Item = &'a [u8]>) -> Option<Encoding> {
    let (mut qualities, mut of_others) = ([None; Encoding::ALL.len()], None);
    let items = accepted.filter_map(|value| str::from_utf8(value).ok()).flat_map(|value| value.split(','));
    for item in items {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let quality = quality.map_or(1000, thousandths);
        if name == "*" {
            of_others.get_or_insert(quality);
        }
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        for (encoding, known) in Encoding::ALL.iter().zip(&mut qualities) {
            if encoding.as_str().eq_ignore_ascii_case(name) {
                known.get_or_insert(quality);
            }
        }
    }
    let quality = |encoding: Encoding| {
        let known = Encoding::ALL.iter().zip(qualities).find(|(other, _)| **other == encoding);
        known.and_then(|(_, quality)| quality).or(of_others).unwrap_or(0)
    };
    let mut best = None;
    for encoding in compress.encodings.iter().copied() {
        let quality = quality(encoding);
        if quality > best.map_or(0, |(_, best)| best) {
            best = Some((encoding, quality));
        }
    }
    best.map(|(encoding, _)| encoding)
}

/// A quality from 0 to 1 with at most three digits behind the point; what is none is 0.
fn thousandths(text: &str) -> u16 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let part = format!("{part:0<3}").parse().unwrap_or(0);
    match whole {
        "1" if part == 0 => 1000,
        "0" => part,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Br, Gzip, Zstd};

    fn of(encodings: &[Encoding], accepted: &[&str]) -> Option<Encoding> {
        let compress = Compress { encodings: encodings.to_vec(), types: Vec::new(), min_size: 0, level: 1 };
        chosen(&compress, accepted.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn the_client_chooses_and_then_the_order_of_the_config() {
        let all = [Zstd, Br, Gzip];
        for (accepted, expected) in [
            (&["gzip, deflate, br, zstd"][..], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Br)),
            (&["gzip"], Some(Gzip)),
            (&["GZip"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["deflate", "br;q=0.5, gzip;q=0.8"], Some(Gzip)),
            (&["br;q=0, zstd;q=0.000, gzip;q=0.001"], Some(Gzip)),
            (&["gzip;q=1.0, br;q=1"], Some(Br)),
            (&["*"], Some(Zstd)),
            (&["*;q=0.1, gzip"], Some(Gzip)),
            (&["*, zstd;q=0"], Some(Br)),
            (&["gzip;q=0, *;q=0"], None),
            (&["identity"], None),
            (&[""], None),
            (&[], None),
            (&["deflate"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=0.0001"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;q="], None),
            (&["gzip ; q=0.5"], Some(Gzip)),
            (&["gzip-2"], None),
        ] {
            assert_eq!(of(&all, accepted), expected, "{accepted:?}");
        }
        assert_eq!(of(&[Gzip, Br], &["br, gzip, zstd"]), Some(Gzip));
        assert_eq!(of(&[], &["br, gzip, zstd"]), None);
    }
}
