//! "Did you mean": the known word nearest to an unknown one.

/// Characters of a word that are compared.
const WORD_CHARS_MAX: usize = 64;

/// The candidate that `word` was probably meant to be; `None` if nothing is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of the letters may be wrong: a lower limit misses real typos, a higher one finds other words.
    let allowed = (word.chars().count().max(3)) / 3;
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || is_other_form(&word, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether only separators differ: `keepalive` and `keep-alive` are `keep_alive`. `word` is in lower case.
fn is_other_form(word: &str, candidate: &str) -> bool {
    let letters = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
    letters(word) == letters(candidate)
}

/// Whether `word` is `meant` with at most a quarter of its letters mistyped.
pub(crate) fn is_slip(word: &str, meant: &str) -> bool {
    let allowed = meant.len() / 4;
    word.len().abs_diff(meant.len()) <= 4 * allowed && distance(word, meant) <= allowed
}

/// The edit distance, in which a swap of neighbours counts as one edit. Long words are cut, since the time grows with
/// the product of both lengths.
fn distance(from: &str, to: &str) -> usize {
    let cut = |word: &str| word.chars().take(WORD_CHARS_MAX).collect::<String>();
    strsim::osa_distance(&cut(from), &cut(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_found_and_other_words_are_not() {
        let keys = ["pools", "routes", "listeners", "keep_alive", "unhealthy_after"];
        for (word, expected) in [
            ("pool", Some("pools")),
            ("rotues", Some("routes")),
            ("Listener", Some("listeners")),
            ("keepalive", Some("keep_alive")),
            ("keep-alive", Some("keep_alive")),
            ("unhealty_after", Some("unhealthy_after")),
            ("upstreams", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (from, to, expected) in [("", "", 0), ("ab", "", 2), ("ab", "ba", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
