//! Cookies that keep a client at its endpoint, or at one of a route's pools.

use super::Exchange;
use crate::config::{Action, SplitSticky};
use crate::pool::{StickyTag, Stuck};
use crate::routing::{RequestHead, cookie};

impl Exchange {
    /// Finds the client's cookie.
    pub(super) fn find_cookie<H: RequestHead>(&mut self, head: &H) {
        let sticky = self.pool().and_then(|pool| pool.config().sticky.as_ref());
        self.sticky = sticky.and_then(|sticky| StickyTag::parse(cookie(head, &sticky.cookie.name)?));
    }

    /// What the client's cookie came to, where the endpoint with that tag is picked.
    pub(super) fn stuck(&self, tag: StickyTag) -> &'static str {
        let stuck = match self.sticky {
            None => Stuck::New,
            Some(known) if known == tag => Stuck::Kept,
            Some(_) => Stuck::Moved,
        };
        stuck.as_str()
    }

    /// The cookie for the client, if it has none or has moved.
    pub(super) fn new_cookie(&self, status: u16) -> Option<String> {
        let tag = self.open.as_ref()?.tag.filter(|tag| self.sticky != Some(*tag))?;
        let sticky = self.pool_config()?.sticky.as_ref().filter(|_| may_set_cookies(status))?;
        Some(sticky.set_cookie(tag, self.sender.scheme == "https"))
    }

    /// The cookie that keeps the client at the pool it was drawn for, if it has none.
    pub(super) fn new_split_cookie(&self, status: u16) -> Option<String> {
        let place = self.new_place.filter(|_| may_set_cookies(status))?;
        let Action::Split(split) = &self.route()?.action else { return None };
        let Some(SplitSticky::Cookie(cookie)) = &split.sticky else { return None };
        Some(cookie.with_value(&format!("{place:016x}"), self.sender.scheme == "https"))
    }
}

fn may_set_cookies(status: u16) -> bool {
    status >= 200 || status == 101
}
