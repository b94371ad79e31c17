//! What readers copy from the documents: each config in them is right, and each request of `docs/recipes.md` is answered
//! as it says there.

mod blocks;
mod requests;
mod tables;

use std::path::Path;
use std::process::Command;

use crate::harness::Authority;
use blocks::Section;

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// The documents, and how many configs each has at least.
const DOCUMENTS: [(&str, &str, usize); 5] = [
    ("recipes.md", RECIPES, 30),
    ("from-nginx.md", include_str!("../../docs/from-nginx.md"), 1),
    ("from-haproxy.md", include_str!("../../docs/from-haproxy.md"), 1),
    ("from-traefik.md", include_str!("../../docs/from-traefik.md"), 1),
    ("from-caddy.md", include_str!("../../docs/from-caddy.md"), 1),
];

/// A file of users, where a document does not show one.
const USERS: &str = "alice:$2y$05$1v5vRwZs6JAujyeuM/v.8.WdtstQgKHtN0NtnDNRhz1xhl/ynQjHS\n";

/// What `evenkeel check` says of a config; empty if there is nothing to say.
fn checked(folder: &Path, text: &str) -> String {
    let file = folder.join("checked.yaml");
    std::fs::write(&file, text).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let output = command.args(["check", "-q", "-c"]).arg(&file).output().expect("the binary was built");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), !said.contains("error"), "{said}");
    said
}

/// Writes the files that a config names, and names them where they are.
fn with_files(folder: &Path, section: &Section, text: &str) -> String {
    let paths = regex::Regex::new(r"/(?:etc|srv|var/log)/[A-Za-z0-9._/-]+").expect("an expression");
    let moved = paths.replace_all(text, |found: &regex::Captures<'_>| {
        let path = folder.join(found[0].trim_start_matches('/'));
        if !path.exists() {
            write_file(section, &found[0], &path);
        }
        path.display().to_string()
    });
    moved.into_owned()
}

/// What a section shows by `cat`; else by the ending of the name: a certificate with its key, users, or a key for cookies.
fn write_file(section: &Section, name: &str, path: &Path) {
    let folder = path.parent().expect("a folder");
    std::fs::create_dir_all(folder).expect("the folder is ours");
    let shown = section.files.iter().find(|(file, _)| file == name);
    match (shown, path.extension().and_then(|ending| ending.to_str())) {
        (Some((_, text)), _) => std::fs::write(path, text).expect("the folder is ours"),
        (None, Some("pem")) => {
            let issued = Authority::new().issue(folder, "issued", &["example.com", "*.example.com"]);
            // Certbot calls the key privkey.pem; others have NAME.key beside NAME.pem.
            let key = match path.ends_with("fullchain.pem") {
                true => folder.join("privkey.pem"),
                false => path.with_extension("key"),
            };
            std::fs::rename(issued.cert, path).expect("the folder is ours");
            std::fs::rename(issued.key, key).expect("the folder is ours");
        }
        (None, Some("log")) => {}
        (None, None) => std::fs::write(path, USERS).expect("the folder is ours"),
        (None, _) => std::fs::write(path, "0a".repeat(32)).expect("the folder is ours"),
    }
}

#[test]
fn every_config_in_the_documents_is_right_and_passes_its_tests() {
    for (name, document, least) in DOCUMENTS {
        let (mut seen, mut wrong) = (0, String::new());
        for section in blocks::sections(document) {
            for config in &section.configs {
                let folder = tempfile::tempdir().expect("a folder");
                let said = checked(folder.path(), &with_files(folder.path(), &section, config));
                if !said.is_empty() {
                    wrong += &format!("docs/{name}, {}:\n{said}", section.title);
                }
                seen += 1;
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(seen >= least, "docs/{name} has {seen} configs");
    }
}
