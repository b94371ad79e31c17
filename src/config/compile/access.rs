//! Compiles `allow` and `deny`.

use std::sync::Arc;

use ipnet::IpNet;

use super::Compiler;
use crate::config::decode::{List, Spanned};
use crate::config::model::Access;
use crate::networks::Networks;

impl Compiler<'_> {
    /// Refuses empty lists, and what is allowed and denied at once.
    pub(super) fn access(
        &mut self,
        allow: Option<&Spanned<List<IpNet>>>,
        deny: Option<&Spanned<List<IpNet>>>,
    ) -> Access {
        if let Some(allow) = allow.filter(|allow| allow.length == 0) {
            let message = "an empty `allow` lets nobody in";
            self.diagnostics.error(allow.span, message, "write networks such as 10.0.0.0/8, or remove it");
        }
        if let Some(deny) = deny.filter(|deny| deny.length == 0) {
            let message = "an empty `deny` refuses nobody";
            self.diagnostics.error(deny.span, message, "write networks such as 192.0.2.0/24, or remove it");
        }
        let networks = |list: Option<&Spanned<List<IpNet>>>| {
            list.map(|list| Arc::new(list.iter().map(|network| network.value).collect::<Networks>()))
        };
        let access = Access { allow: networks(allow), deny: networks(deny) };
        if let (Some(allow), Some(denied)) = (allow, &access.deny) {
            for network in allow.iter() {
                let Some(around) = denied.find_around(&network.value) else { continue };
                let message = format!("nobody is allowed by this: `deny` has {around}, and wins");
                let remedy = "remove it in one of the two; who is not in `allow` is refused anyway";
                self.diagnostics.error(network.span, message, remedy);
            }
        }
        access
    }
}
