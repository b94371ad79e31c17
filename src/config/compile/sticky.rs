//! Compiles cookies that keep clients at their endpoints.

use std::sync::Arc;

use super::Compiler;
use crate::config::decode::{OrOff, Spanned};
use crate::config::model::{Balance, SetCookie, Sticky};
use crate::config::raw::StickySection;
use crate::{file, key_file};

/// More than any number of keys takes.
const KEY_FILE_MAX: u64 = 64 << 10;

impl Compiler<'_> {
    pub(super) fn sticky(
        &mut self,
        form: &Spanned<OrOff<StickySection>>,
        balance: &Balance,
    ) -> Option<Arc<Sticky>> {
        let section = form.as_option()?;
        if let Balance::Hash(_) = balance {
            let message = "`balance: hash` and `sticky` both say where a client's requests go";
            self.diagnostics.error(form.span, message, "remove one of them");
        }
        if section.cookie.0.starts_with("__Host-") && section.path.0 != "/" {
            let message = "browsers refuse a cookie with `__Host-` and a path";
            self.diagnostics.error(section.path.span, message, "write `path: /`, or another name");
        }
        Some(Arc::new(Sticky {
            cookie: SetCookie {
                name: section.cookie.0.clone(),
                ttl: section.ttl.as_option().map(|ttl| ttl.0),
                path: section.path.0.clone(),
                same_site: section.same_site.value,
            },
            keys: self.sticky_keys(section)?,
        }))
    }

    fn sticky_keys(&mut self, section: &StickySection) -> Option<Vec<key_file::Key>> {
        let written = section.key.as_ref()?;
        let content = match file::read(&written.0, KEY_FILE_MAX) {
            Ok(content) => content,
            Err(error) => {
                let message = format!("cannot read {}: {error}", written.0.display());
                let remedy = "make it by `openssl rand -hex 32 > FILE`, readable by this process";
                self.diagnostics.error(written.span, message, remedy);
                return None;
            }
        };
        self.warn_if_readable(&written.0, written.span);
        let keys = key_file::keys(&content);
        if keys.is_none() {
            let message = format!("{} holds no keys", written.0.display());
            self.diagnostics.error(written.span, message, key_file::REMEDY);
        }
        keys
    }
}
