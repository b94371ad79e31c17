//! "Did you mean": the known word nearest to an unknown one, else all that are known.

/// Characters of a word that are compared.
const WORD_CHARS_MAX: usize = 64;

/// Words that are listed.
const LISTED_MAX: usize = 30;

/// What to write instead of an unknown word: `did you mean X?`, else `others` and the list of what is known.
pub(crate) fn remedy<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    others: &str,
) -> String {
    match nearest(word, known.clone()) {
        Some(nearest) => did_you_mean(nearest),
        None => format!("{others} {}", listed(known)),
    }
}

pub(crate) fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// `a, b, c`, or `a, b, and 7 more`.
fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut words = words.into_iter();
    let mut list = words.by_ref().take(LISTED_MAX).collect::<Vec<_>>().join(", ");
    match words.count() {
        0 => {}
        more => list.push_str(&format!(", and {more} more")),
    }
    list
}

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

/// The candidates, the nearest to `word` first.
pub(crate) fn by_nearness<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut sorted: Vec<&str> = candidates.into_iter().collect();
    sorted.sort_by_cached_key(|candidate| distance(word, candidate));
    sorted
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
    fn where_nothing_is_near_all_are_listed_but_not_too_many() {
        assert_eq!(remedy("pool", ["pools", "routes"], "its keys are"), "did you mean `pools`?");
        assert_eq!(remedy("x", ["pools", "routes"], "its keys are"), "its keys are pools, routes");
        let many: Vec<String> = (0..1000).map(|number| format!("pool-{number}")).collect();
        let text = remedy("x", many.iter().map(String::as_str), "the pools are");
        assert!(
            text.starts_with("the pools are pool-0, pool-1, ") && text.ends_with(", and 970 more"),
            "{text}"
        );
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (from, to, expected) in [("", "", 0), ("ab", "", 2), ("ab", "ba", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
