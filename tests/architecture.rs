//! Calls go down only: no room of `src` names a room that stands above it in the list of layers in `ARCHITECTURE.md`.
//!
//! A room is a module of `src/lib.rs`. What counts are paths in code, not those in comments and not those of tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rooms of the map, the uppermost first.
fn rooms(map: &str) -> Vec<&str> {
    let layers = map.split("\n## Layers\n").nth(1).expect("the map has layers");
    let list = layers.split("```").nth(1).expect("the layers are a list");
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.map(|name| name.trim_end_matches('/').trim_end_matches(".rs")).collect()
}

/// `src/pool/health.rs` is in the room `pool`.
fn room_of(file: &Path) -> &str {
    let first = file.components().nth(1).expect("a file in src").as_os_str().to_str().expect("a name");
    first.trim_end_matches(".rs")
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// The text with comments and items of tests as empty lines.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed == "#[cfg(test)]" {
            let indent = &line[..line.len() - trimmed.len()];
            // To the end of the item, which is on a line as far to the right as its beginning.
            for line in lines.by_ref() {
                out.push('\n');
                let ends = line.ends_with(';') || line.starts_with(&format!("{indent}}}"));
                if ends && line.strip_prefix(indent).is_some_and(|rest| !rest.starts_with(' ')) {
                    break;
                }
            }
        } else if !trimmed.starts_with("//") {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// The rooms that a file names, each with its line: `crate::room`, `crate::{room, ...}`, and as many `super` as lead to
/// the crate.
fn named(file: &Path, text: &str) -> Vec<(usize, String)> {
    let supers = "super::".repeat(file.components().count() - 1);
    let code = code(text);
    let mut found = Vec::new();
    for root in ["crate::", &supers] {
        for (at, _) in code.match_indices(root) {
            let goes_on = |before: char| before.is_alphanumeric() || matches!(before, '_' | ':');
            if code[..at].ends_with(goes_on) {
                continue;
            }
            let (line, rest) = (code[..at].matches('\n').count() + 1, &code[at + root.len()..]);
            let paths = rest.strip_prefix('{').map_or_else(|| vec![rest], items);
            found.extend(paths.into_iter().filter_map(first_name).map(|name| (line, name.to_owned())));
        }
    }
    found
}

/// The module with which a path begins.
fn first_name(path: &str) -> Option<&str> {
    let path = path.trim_start();
    let end = path.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(path.len());
    let name = &path[..end];
    (name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name != "super").then_some(name)
}

/// The items of a list in braces, from behind its opening brace.
fn items(text: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut items) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(&text[begin..at]);
                begin = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

/// What is wrong with the arrows of these files, a line each.
fn faults(map: &str, files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let rooms = rooms(map);
    let place = |room: &str| rooms.iter().position(|other| *other == room);
    let mut faults = Vec::new();
    for (file, text) in files {
        let room = room_of(file);
        let Some(own) = place(room) else {
            faults.push(format!("{}: ARCHITECTURE.md does not name the room `{room}`", file.display()));
            continue;
        };
        for (line, other) in named(file, text) {
            let at = format!("{}:{line}", file.display());
            match place(&other) {
                None => faults.push(format!("{at}: ARCHITECTURE.md does not name the room `{other}`")),
                Some(place) if place < own => faults.push(format!(
                    "{at}: `{room}` names `{other}`, which stands above it in ARCHITECTURE.md"
                )),
                Some(_) => {}
            }
        }
    }
    faults
}

/// All of `src` but tests and `lib.rs`, which names the rooms.
fn sources(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let file = path.strip_prefix(root).expect("it is below").to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && file != Path::new("src/lib.rs") {
                let text = std::fs::read_to_string(&path).expect("a text");
                if !is_test(&file) {
                    files.insert(file, text);
                }
            }
        }
    }
    files
}

#[test]
fn calls_go_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    let files = sources(root);
    let arrows = files.iter().flat_map(|(file, text)| {
        let of = move |(_, other): &(usize, String)| other != room_of(file);
        named(file, text).into_iter().filter(of)
    });
    let arrows = arrows.count();
    assert!(files.len() > 150 && arrows > 300, "only {arrows} arrows of {} files were seen", files.len());
    let faults = faults(&map, &files);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_of_the_map_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    for room in rooms(&map) {
        let is_there =
            [room.to_owned(), format!("{room}.rs")].iter().any(|name| root.join("src").join(name).exists());
        assert!(is_there, "ARCHITECTURE.md names `{room}`, and src has no such room");
    }
}

/// The paths of modules and items, `room::part::Item`, that a text names between backticks.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(move |path| path.contains("::") && path.split("::").all(is_name))
}

/// Whether the sources have the modules of a path, and its last part where that is an item of its module.
fn is_there(root: &Path, path: &str) -> bool {
    let mut module = root.join("src");
    let mut parts = path.split("::").peekable();
    while let Some(part) = parts.next() {
        let inner = module.join(part);
        if inner.is_dir() || inner.with_extension("rs").exists() {
            module = inner;
            continue;
        }
        let text = std::fs::read_to_string(module.with_extension("rs")).unwrap_or_default();
        let has = code(&text).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == part);
        // An item may have items of its own, such as methods.
        return has && parts.count() <= 1;
    }
    true
}

#[test]
fn what_the_map_and_the_decisions_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    let decisions = std::fs::read_dir(root.join("docs/decisions")).expect("a folder");
    let mut texts: Vec<_> = decisions.map(|entry| entry.expect("an entry").path()).collect();
    texts.push(root.join("ARCHITECTURE.md"));
    let (rooms, mut seen, mut gone) = (rooms(&map), 0, Vec::new());
    for file in texts {
        let text = std::fs::read_to_string(&file).expect("a text");
        let ours = paths(&text).filter(|path| rooms.iter().any(|room| path.split("::").next() == Some(room)));
        for path in ours {
            seen += 1;
            if !is_there(root, path) {
                gone.push(format!("{}: `{path}` is not there", file.display()));
            }
        }
    }
    assert!(seen > 150, "only {seen} paths were seen");
    assert!(gone.is_empty(), "{}", gone.join("\n"));
}

#[test]
fn a_path_that_is_gone_is_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(paths("a `pool::lease` and `x`, `pool::Pool::lease`").count(), 2);
    assert!(
        ["pool", "pool::lease", "pool::lease::Leased", "pool::Pool::lease"]
            .iter()
            .all(|path| is_there(root, path))
    );
    assert!(["pool::lane", "pool::lease::gone", "gone"].iter().all(|path| !is_there(root, path)));
}

const MAP: &str = "# Map\n\n## Layers\n\nText.\n\n```\nupper/   above\n  middle  between\nlower    below\n```\n\n## More\n\n```\nother\n```\n";

fn faults_of(file: &str, text: &str) -> Vec<String> {
    faults(MAP, &BTreeMap::from([(PathBuf::from(file), text.to_owned())]))
}

#[test]
fn an_upward_arrow_is_found_however_it_is_written() {
    for (file, text, line) in [
        ("src/lower.rs", "use std::fmt;\nuse crate::upper::Thing;\n", 2),
        ("src/lower/deep.rs", "\nfn f() {\n    crate::upper::f()\n}\n", 3),
        ("src/lower/deep.rs", "use crate::{lower, upper::{a, b}};\n", 1),
        ("src/lower/deep.rs", "use crate::{\n    lower::{c, middle},\n    upper,\n};\n", 1),
        ("src/lower/deep.rs", "pub use super::super::upper::Thing;\n", 1),
        ("src/lower.rs", "use super::upper;\n", 1),
        ("src/lower.rs", "macro_rules! m { () => { $crate::upper::f() } }\n", 1),
        ("src/lower.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n\nuse crate::upper;\n", 6),
        ("src/lower.rs", "#[cfg(test)]\nmod tests;\nuse crate::upper;\n", 3),
    ] {
        let expected =
            format!("{file}:{line}: `lower` names `upper`, which stands above it in ARCHITECTURE.md");
        assert_eq!(faults_of(file, text), [expected], "{text}");
    }
}

#[test]
fn arrows_that_go_down_and_those_of_tests_are_none() {
    for (file, text) in [
        ("src/upper.rs", "use crate::{lower, middle::a};\nuse crate::upper::b;\n"),
        ("src/lower.rs", "/// See [`crate::upper`].\n// crate::upper\n"),
        ("src/lower.rs", "#[cfg(test)]\nmod tests {\n    use crate::upper;\n    fn f() {\n    }\n}\n"),
        ("src/lower/deep.rs", "use super::upper;\n"),
    ] {
        assert_eq!(faults_of(file, text), [] as [&str; 0], "{text}");
    }
}

#[test]
fn a_room_that_the_map_does_not_name_is_found() {
    let unknown = "ARCHITECTURE.md does not name the room `other`";
    assert_eq!(faults_of("src/other/x.rs", ""), [format!("src/other/x.rs: {unknown}")]);
    assert_eq!(faults_of("src/lower.rs", "use crate::other;\n"), [format!("src/lower.rs:1: {unknown}")]);
}
