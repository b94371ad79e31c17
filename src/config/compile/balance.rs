//! Compiles how a pool picks an endpoint.

use super::Compiler;
use crate::config::decode::{ShortOr, Spanned};
use crate::config::model::{Balance, HashKey};
use crate::config::raw::{BalanceForm, BalanceWord, HashForm, HashSection, HashWord};
use crate::config::scalar::Text;

impl Compiler<'_> {
    pub(super) fn balance(&mut self, form: &Spanned<BalanceForm>) -> Balance {
        match &form.value {
            ShortOr::Short(BalanceWord::RoundRobin) => Balance::RoundRobin,
            ShortOr::Short(BalanceWord::LeastRequests) => Balance::LeastRequests,
            ShortOr::Short(BalanceWord::LeastTime) => Balance::LeastTime,
            ShortOr::Short(BalanceWord::Random) => Balance::Random,
            ShortOr::Short(BalanceWord::Hash) => {
                let message = "`hash` does not say by what";
                self.diagnostics.error(
                    form.span,
                    message,
                    "write `balance: { hash: client }`, or path, { header: X }, { cookie: X } or { query: x }",
                );
                Balance::RoundRobin
            }
            // Without a valid key, which has been reported, nothing runs.
            ShortOr::Long(section) => {
                let key = section.hash.as_ref().and_then(|hash| self.hash_key(hash));
                key.map_or(Balance::RoundRobin, Balance::Hash)
            }
        }
    }

    pub(super) fn hash_key(&mut self, form: &Spanned<HashForm>) -> Option<HashKey> {
        match &form.value {
            ShortOr::Short(HashWord::Client) => Some(HashKey::Client),
            ShortOr::Short(HashWord::Path) => Some(HashKey::Path),
            ShortOr::Long(section) => self.hash_part(form, section),
        }
    }

    fn hash_part(&mut self, form: &Spanned<HashForm>, section: &HashSection) -> Option<HashKey> {
        match (&section.header, &section.cookie, &section.query) {
            (Some(header), None, None) => Some(HashKey::Header(header.0.clone())),
            (None, Some(cookie), None) => Some(HashKey::Cookie(self.part_name(cookie)?)),
            (None, None, Some(query)) => Some(HashKey::Query(self.part_name(query)?)),
            _ if !section.complete => None,
            _ => {
                let remedy = "write one of `header`, `cookie` and `query`";
                self.diagnostics.error(form.span, "`hash` has exactly one key", remedy);
                None
            }
        }
    }

    pub(super) fn part_name(&mut self, name: &Spanned<Text>) -> Option<String> {
        if name.0.is_empty() {
            self.diagnostics.error(name.span, "the name is empty", "write one, such as session");
            return None;
        }
        Some(name.0.clone())
    }
}
