//! Compiles how a pool picks an endpoint.

use super::Compiler;
use crate::config::decode::{ShortOr, Spanned};
use crate::config::model::{Balance, HashKey};
use crate::config::raw::{BalanceForm, BalanceWord, HashForm, HashSection, HashWord, HeaderNameText};
use crate::config::scalar::Text;
use crate::config::source::Span;

/// A header field, a cookie or a query parameter.
pub(super) type HashParts<'a> =
    (Option<&'a Spanned<HeaderNameText>>, Option<&'a Spanned<Text>>, Option<&'a Spanned<Text>>);

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
            ShortOr::Short(word) => Some(hash_word(*word)),
            ShortOr::Long(HashSection { header, cookie, query, complete }) => {
                let parts = (header.as_ref(), cookie.as_ref(), query.as_ref());
                let remedy = "write one of `header`, `cookie` and `query`";
                self.hash_part(form.span, parts, *complete, ("`hash`", remedy))
            }
        }
    }

    /// `parts` is what is written of a section, of which one must be; `name` is that of the section, `remedy` what to
    /// write there.
    pub(super) fn hash_part(
        &mut self,
        span: Span,
        parts: HashParts<'_>,
        complete: bool,
        (name, remedy): (&str, &str),
    ) -> Option<HashKey> {
        match parts {
            (Some(header), None, None) => Some(HashKey::Header(header.0.clone())),
            (None, Some(cookie), None) => Some(HashKey::Cookie(self.part_name(cookie)?)),
            (None, None, Some(query)) => Some(HashKey::Query(self.part_name(query)?)),
            _ if !complete => None,
            _ => {
                self.diagnostics.error(span, format!("{name} has exactly one key"), remedy);
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

pub(super) fn hash_word(word: HashWord) -> HashKey {
    match word {
        HashWord::Client => HashKey::Client,
        HashWord::Path => HashKey::Path,
    }
}
