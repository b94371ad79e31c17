use proptest::prelude::*;

use super::*;

const DEFAULT: PathRules = PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep };
const UNMERGED: PathRules = PathRules { merge_slashes: false, ..DEFAULT };
const REFUSING: PathRules = PathRules { escaped_slashes: EscapedSlashes::Refuse, ..DEFAULT };
const DECODING: PathRules = PathRules { escaped_slashes: EscapedSlashes::Decode, ..DEFAULT };
const ALL: [PathRules; 6] = [
    DEFAULT,
    UNMERGED,
    REFUSING,
    DECODING,
    PathRules { merge_slashes: false, ..REFUSING },
    PathRules { merge_slashes: false, ..DECODING },
];

#[track_caller]
fn all_become(rules: PathRules, cases: &[(&str, &str)]) {
    for (path, expected) in cases {
        assert_eq!(normalize(path, rules).as_deref(), Ok(*expected), "{path}");
    }
}

#[track_caller]
fn all_refused(rules: PathRules, fault: PathFault, paths: &[&str]) {
    for path in paths {
        assert_eq!(normalize(path, rules), Err(fault), "{path}");
    }
}

#[test]
fn what_is_normal_is_borrowed() {
    for path in [
        "/",
        "*",
        "",
        "/v1/x",
        "/a/",
        "/.well-known/x",
        "/a/..x/...",
        "/a.b",
        "/a;x=1/b",
        "/;jsessionid=1",
        "/a%20b",
        "/g%2Fp",
        "/g%2Fp/.git",
        "/%E2%82%AC",
        "/a%25b",
        "/DOMAIN%5Cuser",
        "/a,b:c@d!$&'()*+=",
        "/x;..",
        "/%2F",
    ] {
        assert!(matches!(normalize(path, DEFAULT), Ok(Cow::Borrowed(same)) if same == path), "{path}");
    }
}

#[test]
fn escapes_have_one_form() {
    all_become(
        DEFAULT,
        &[
            ("/%61dmin", "/admin"),
            ("/%7euser", "/~user"),
            ("/%41%2d%2E%5f%7E", "/A-._~"),
            ("/a%c3%a9b", "/a%C3%A9b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%3a%3F%23%25", "/a%3A%3F%23%25"),
            // Decoded once, and never again.
            ("/%2541", "/%2541"),
            ("/%252e%252e/x", "/%252e%252e/x"),
        ],
    );
    all_refused(DEFAULT, PathFault::BadEscape, &["/%", "/%4", "/%zz", "/%+1", "/a%%41", "/%é", "/%2%65"]);
    all_refused(
        DEFAULT,
        PathFault::Control,
        &["/%00", "/a%0d%0Ab", "/%1f", "/%7F", "/a%09", "/\u{1}", "/a\nb"],
    );
}

#[test]
fn dot_segments_are_resolved() {
    all_become(
        DEFAULT,
        &[
            ("/a/b/c/./../../g", "/a/g"),
            ("/./a", "/a"),
            ("/.", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/%2e/b", "/b"),
            ("/public/../admin/x", "/admin/x"),
            ("/a/..b/.c", "/a/..b/.c"),
        ],
    );
    all_refused(DEFAULT, PathFault::AboveRoot, &["/..", "/../", "/a/../..", "/%2e%2e/x", "//..", "/./../x"]);
}

#[test]
fn slashes_are_merged_unless_they_count() {
    all_become(DEFAULT, &[("//", "/"), ("//admin", "/admin"), ("/a///b//", "/a/b/"), ("/a//../b", "/b")]);
    all_become(
        UNMERGED,
        &[("//", "//"), ("//admin", "//admin"), ("/a//../b", "/a/b"), ("/a//.", "/a//"), ("/a/./b", "/a/b")],
    );
}

#[test]
fn escaped_slashes_are_kept_refused_or_decoded() {
    all_become(DEFAULT, &[("/g%2fp", "/g%2Fp"), ("/@scope%2Fname", "/@scope%2Fname"), ("/a%5cb", "/a%5Cb")]);
    all_refused(REFUSING, PathFault::EscapedSlash, &["/g%2Fp", "/%2f"]);
    all_refused(REFUSING, PathFault::Backslash, &["/a%5Cb"]);
    all_become(
        DECODING,
        &[("/g%2Fp", "/g/p"), ("/a%2f%2Fb", "/a/b"), ("/a%2F..%2Fb", "/b"), ("/%2561", "/%2561")],
    );
    all_refused(DECODING, PathFault::AboveRoot, &["/..%2F"]);
    all_refused(DECODING, PathFault::Backslash, &["/a%5cb"]);
    all_refused(DEFAULT, PathFault::Backslash, &["/a\\b", "/..\\x"]);
}

#[test]
fn dots_in_disguise_are_refused() {
    all_refused(
        DEFAULT,
        PathFault::DisguisedDots,
        &[
            "/..;/admin",
            "/a/..;x=1/b",
            "/.;/x",
            "/%2e%2e;/x",
            "/..%3B/x",
            "/..%3b;/x",
            "/a/..%2Fb",
            "/a/..%2f..%2fb",
            "/a%2F..",
            "/a%2f%2e%2e%2fb",
            "/..%5Cx",
            "/a%5c..%5Cb",
            "/a%2F.",
            "/a%2F..;x%2Fb",
            "/a/.%2e%5cb",
        ],
    );
}

/// Pieces of random paths, harmless and hostile.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "/", "/", "a", "b", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", ";", "%3B", "%61", "%25", "%20",
            "%c3%A9", "x=1", "%", "%0", "%00", "\\", "é", "%32%65",
        ])
        .prop_map(str::to_owned),
        1 => "[ -~]{1,3}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn rules() -> impl Strategy<Value = PathRules> {
    prop::sample::select(ALL.to_vec())
}

/// The meaning of a path, computed without the code under test: its decoded segments, where `%2F` is data.
fn meaning(path: &str, rules: PathRules) -> Option<Vec<Vec<u8>>> {
    let decode = rules.escaped_slashes == EscapedSlashes::Decode;
    let bytes = path.as_bytes();
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| u8::from_str_radix(&path[at + 1..at + 3], 16).unwrap());
        match (bytes[at], escaped) {
            (b'/', _) => segments.push(Vec::new()),
            (_, Some(b'/')) if decode => segments.push(Vec::new()),
            (_, Some(byte)) => segments.last_mut()?.push(byte),
            (byte, None) => segments.last_mut()?.push(byte),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    let last = segments.len() - 1;
    for (index, segment) in segments.into_iter().enumerate() {
        let dots = matches!(&*segment, b"." | b"..");
        match &*segment {
            b".." => drop(resolved.pop()?),
            b"." => {}
            b"" if rules.merge_slashes && index < last => {}
            _ => resolved.push(segment),
        }
        if dots && index == last {
            resolved.push(Vec::new());
        }
    }
    Some(resolved)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_is_done_once(path in path(), rules in rules()) {
        if let Ok(once) = normalize(&path, rules) {
            let again = normalize(&once, rules);
            prop_assert!(matches!(&again, Ok(Cow::Borrowed(same)) if *same == once), "{path}: {once}, then {again:?}");
        }
    }

    #[test]
    fn nothing_is_left_to_resolve(path in path(), rules in rules()) {
        if let Ok(normal) = normalize(&path, rules) {
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.split('/').any(|segment| matches!(segment, "." | "..")), "{path}: {normal}");
            prop_assert!(!(rules.merge_slashes && normal.contains("//")), "{path}: {normal}");
            prop_assert!(!normal.to_ascii_lowercase().contains("%2e") && !normal.contains('\\'), "{path}: {normal}");
            prop_assert!(!normal.contains(['[', ']', '{', '}', '^', '|']), "{path}: {normal}");
        }
    }

    #[test]
    fn it_means_what_was_sent(path in path(), rules in rules()) {
        if let Ok(normal) = normalize(&path, rules) {
            prop_assert_eq!(meaning(&normal, rules), meaning(&path, rules), "{}: {}", path, normal);
        }
    }

    #[test]
    fn equal_paths_have_one_form(path in "/[a-c./~]{0,12}", rules in rules()) {
        let lower: String = path.bytes().map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02x}") }).collect();
        prop_assert_eq!(normalize(&path, rules), normalize(&lower, rules));
    }

    #[test]
    fn no_text_breaks_it(path in any::<String>(), rules in rules()) {
        let _ = normalize(&path, rules);
        let _ = normalize(&format!("/{path}"), rules);
    }
}
