//! What readers copy from the documents: each config in them is right, and each request of `docs/recipes.md` is answered
//! as it says there.

mod blocks;
mod requests;
mod tables;

use crate::written::{checked, with_files};

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// The documents, and how many configs each has at least.
const DOCUMENTS: [(&str, &str, usize); 5] = [
    ("recipes.md", RECIPES, 30),
    ("from-nginx.md", include_str!("../../docs/from-nginx.md"), 1),
    ("from-haproxy.md", include_str!("../../docs/from-haproxy.md"), 1),
    ("from-traefik.md", include_str!("../../docs/from-traefik.md"), 1),
    ("from-caddy.md", include_str!("../../docs/from-caddy.md"), 1),
];

#[test]
fn every_config_in_the_documents_is_right_and_passes_its_tests() {
    for (name, document, least) in DOCUMENTS {
        let (mut seen, mut wrong) = (0, String::new());
        for section in blocks::sections(document) {
            for config in &section.configs {
                let folder = tempfile::tempdir().expect("a folder");
                let said = checked(folder.path(), &with_files(folder.path(), &section.files, config));
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
