//! The errors of invalid files: each file in `tests/data/config` has a config and, below `=====`, the expected output.
//!
//! `EVENKEEL_WRITE_EXPECTED=1` rewrites the expected output; review it before it is committed.

use std::path::Path;

use super::*;

#[test]
fn every_wrong_file_is_refused_word_by_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case = std::fs::read_to_string(&path).unwrap();
        let (text, expected) = case.split_once("=====\n").unwrap_or((&case, ""));
        let report = loaded(text).map_or_else(|report| report, |loaded| loaded.warnings);
        let actual = format!("{report}\n");
        if std::env::var_os("EVENKEEL_WRITE_EXPECTED").is_some() {
            std::fs::write(&path, format!("{text}=====\n{actual}")).unwrap();
        } else {
            assert_eq!(actual, expected, "{}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 30, "only {seen} files");
}

#[test]
fn of_many_problems_a_hundred_are_shown_and_the_rest_is_counted() {
    let text = |unused: usize, unknown: usize| {
        let keys: String = (0..unknown).map(|number| format!("unknown-{number}: 1\n")).collect();
        let pools: String = (0..unused).map(|number| format!("  p{number}: [10.0.0.1:80]\n")).collect();
        format!("{keys}listeners: [{{ address: :80 }}]\nroutes: [{{ pool: p0 }}]\npools:\n{pools}")
    };
    for (unused, unknown, shown, last) in [
        (1, 100, 100, "100 errors in evenkeel.yaml"),
        (1, 101, 100, "101 errors in evenkeel.yaml; 1 error is not shown"),
        (1, 250, 100, "250 errors in evenkeel.yaml; 150 errors are not shown"),
    ] {
        let report = loaded(&text(unused, unknown)).unwrap_err();
        assert_eq!(report.problems().count(), shown);
        assert_eq!((report.count(Severity::Error), report.to_string().lines().last()), (unknown, Some(last)));
    }
    let loaded = loaded(&text(204, 0)).unwrap();
    assert_eq!(loaded.warnings.problems().count(), 100);
    let last = "203 warnings in evenkeel.yaml; 103 warnings are not shown";
    assert_eq!(loaded.warnings.to_string().lines().last(), Some(last));
}

#[test]
fn a_problem_knows_its_place() {
    let report = loaded("listen: :8080\nendpoints: [http://10.0.0.1:3000]\n").unwrap_err();
    let problems: Vec<Problem> = report.problems().collect();
    assert_eq!(
        problems,
        [Problem {
            severity: Severity::Error,
            line: 2,
            column: 13,
            message: "`http://10.0.0.1:3000` is a URL, not an endpoint's address".into(),
            text: "http://10.0.0.1:3000".into(),
            remedy: "write 10.0.0.1:3000".into(),
        }]
    );
}

#[test]
fn columns_are_characters_and_nothing_moves_the_cursor() {
    let report = loaded("listen: :8080 # ü\nendpoints: [\"üü\", x]\n").unwrap_err();
    let places: Vec<(usize, usize)> = report.problems().map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(2, 13), (2, 19)]);
    for text in [
        "listen: \"\u{1b}[2J\"\n",
        "listen: \u{9b}2J\n",
        "\u{7}: x\n",
        "listen: \"\\e[2J\"\n",
        "x\u{feff}: 1\nx\u{feff}: 2\n",
        "listen: 1\u{202e}\n",
        "listen: \"\\u202e\"\n",
    ] {
        let report = parse_with(text, "f\u{200b}.yaml", &|_| None).unwrap_err().to_string();
        assert!(report.chars().all(|c| c == '\n' || !crate::escape::is_hostile(c)), "{report:?}");
    }
    let report = loaded("listen\u{200b}: :8080\n").unwrap_err().to_string();
    assert!(report.contains("no key `listen\\u{200b}`"), "{report}");
}
