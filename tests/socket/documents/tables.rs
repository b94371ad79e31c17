//! The tables of the documents for those who come from elsewhere: each fragment of YAML in them is right at its place.

use super::DOCUMENTS;
use crate::written::{checked, with_files};

/// A row: what it says there, what to write here, and where.
struct Row<'a> {
    number: usize,
    here: &'a str,
    place: &'a str,
}

/// The rows of the tables whose last column is called `in`.
fn rows(document: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut is_table = false;
    for (index, line) in document.lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            _ if !line.starts_with('|') => is_table = false,
            [_, _, "in"] => is_table = true,
            [_, here, place] if is_table && !place.starts_with("--") => {
                rows.push(Row { number: index + 1, here, place });
            }
            _ => assert!(!is_table || line.contains("---"), "line {} has no three cells", index + 1),
        }
    }
    rows
}

/// The spans of code in a cell that are YAML: those with a key.
fn fragments(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2).filter(|code| code.contains(": "))
}

/// A whole config with this fragment at its place. Each pool has a route, so that none is left over.
fn whole(fragment: &str, place: &str) -> String {
    let (mut top, mut listener, mut route, mut pool) = ("", "", "", "");
    *match place {
        "file" => &mut top,
        "listener" => &mut listener,
        "route" => &mut route,
        "pool" => &mut pool,
        _ => panic!("`{place}` is no place"),
    } = fragment;
    let acts = ["split: ", "redirect: ", "respond: "].iter().any(|key| route.contains(key));
    let action = if acts || route.starts_with("pool: ") { "" } else { "pool: app, " };
    let address = if listener.contains("address: ") { "" } else { "address: \":8080\", " };
    let endpoints = if pool.contains("endpoints: ") { "" } else { "endpoints: [10.0.0.1:80, 10.0.0.2:80], " };
    format!(
        "listeners: [{{ {address}{listener} }}]
routes:
  - {{ name: a, {action}{route} }}
  - {{ name: b, pool: app, match: {{ hosts: [b.example] }} }}
  - {{ name: c, pool: new, match: {{ hosts: [c.example] }} }}
pools: {{ app: {{ {endpoints}{pool} }}, new: [10.0.0.9:80] }}
{top}
"
    )
}

#[test]
fn every_fragment_in_the_tables_is_right_at_its_place() {
    for (name, document, _) in DOCUMENTS.into_iter().skip(1) {
        let (mut seen, mut wrong) = (0, String::new());
        for row in rows(document) {
            for fragment in fragments(row.here) {
                let folder = tempfile::tempdir().expect("a folder");
                let text = with_files(folder.path(), &[], &whole(fragment, row.place));
                let said = checked(folder.path(), &text);
                if said.contains("error") {
                    wrong += &format!("docs/{name}:{}: {fragment}\n{said}", row.number);
                }
                seen += 1;
            }
            let needs_none = row.place.is_empty() && fragments(row.here).next().is_none();
            assert!(needs_none || !row.place.is_empty(), "docs/{name}:{} says not where", row.number);
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(seen >= 15, "docs/{name} has {seen} fragments");
    }
}

/// Keys that are only named, such as `tls.min_version`, are keys of the reference.
#[test]
fn every_key_that_the_tables_name_is_there() {
    let reference = include_str!("../../../conf/reference.yaml");
    let dotted = regex::Regex::new(r"^[a-z_]+(?:\.[a-z_]+)+$").expect("an expression");
    let mut seen = 0;
    for (name, document, _) in DOCUMENTS.into_iter().skip(1) {
        for row in rows(document) {
            for key in row.here.split('`').skip(1).step_by(2).filter(|code| dotted.is_match(code)) {
                for word in key.split('.') {
                    let is_there = reference.contains(&format!(" {word}:"));
                    assert!(is_there, "docs/{name}:{}: {key}", row.number);
                }
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "only {seen} keys");
}
