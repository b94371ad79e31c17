//! "Did you mean": the known word nearest to an unknown one.

/// The candidate that `word` was probably meant to be; `None` if nothing is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of the letters may be wrong: less finds no real slip of the finger, more finds other words.
    let allowed = (word.chars().count().max(3)) / 3;
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || is_other_form(&word, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `keepalive`, `keep-alive` and `keepAlive` are `keep_alive`.
fn is_other_form(word: &str, candidate: &str) -> bool {
    let letters = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
    letters(word) == letters(candidate)
}

/// Whether `word` is `meant` but for a letter or two.
pub(crate) fn is_slip(word: &str, meant: &str) -> bool {
    let allowed = meant.len() / 4;
    word.len().abs_diff(meant.len()) <= 4 * allowed && distance(word, meant) <= allowed
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let replaced = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
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
