//! Random texts: none makes the parser panic.

use proptest::prelude::*;

use super::*;

/// Pieces of random configs, valid and invalid.
const PIECES: [&str; 40] = [
    "listen",
    "endpoints",
    "listeners",
    "routes",
    "pools",
    "tests",
    "match",
    "paths",
    "hosts",
    "name",
    "address",
    "weight",
    "off",
    ": ",
    ":",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "!t ",
    "|\n",
    "---\n",
    "${PORT}",
    "${",
    "10.0.0.1:3000",
    "0",
    "\t",
    "ü",
    "\u{feff}",
    "request: GET http://a/b",
];

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = loaded(&text).map_err(|report| report.to_string());
    }

    #[test]
    fn shuffled_pieces_never_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        let text: String = pieces.concat();
        match loaded(&text) {
            Ok(loaded) => prop_assert!(!loaded.warnings.has_errors()),
            Err(report) => {
                prop_assert!(report.has_errors());
                prop_assert!(report.to_string().contains("evenkeel.yaml"));
            }
        }
    }

    #[test]
    fn a_damaged_config_never_panics(at in 0usize..8000, length in 0usize..40, piece in prop::sample::select(&PIECES[..])) {
        let text = include_str!("../../../conf/reference.yaml");
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (start, end) = (boundary(at), boundary(at + length));
        let damaged = format!("{}{piece}{}", &text[..start], &text[end..]);
        if let Err(report) = loaded(&damaged) {
            prop_assert!(report.has_errors());
            prop_assert!(report.problems().all(|problem| problem.line >= 1 && problem.column >= 1));
            prop_assert!(!report.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_is_one_argument(text in any::<String>()) {
        // Whatever the command line gets, the YAML written for it holds it as one value.
        let yaml = long_form_of(":8080", &["10.0.0.1:3000", &text]);
        let problems: Vec<usize> = loaded(&yaml).err().iter().flat_map(Report::problems).map(|p| p.line).collect();
        prop_assert!(problems.iter().all(|line| *line == 12), "{yaml}{problems:?}");
    }
}

#[test]
fn depth_and_aliases_have_limits() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        assert!(loaded(&text).is_err());
    }
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
    }
    let report = loaded(&bomb).unwrap_err().to_string();
    assert!(report.contains("the aliases of this file repeat too much"), "{report}");
}
