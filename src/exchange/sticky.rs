//! The cookie that keeps a client at its endpoint.

use super::Exchange;
use crate::pool::{StickyTag, Stuck};
use crate::routing::{RequestHead, cookie};

impl Exchange {
    /// Finds the client's cookie.
    pub(super) fn find_cookie<H: RequestHead>(&mut self, head: &H) {
        let sticky = self.pool().and_then(|pool| pool.config().sticky.as_ref());
        self.sticky = sticky.and_then(|sticky| StickyTag::parse(cookie(head, &sticky.cookie)?));
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
        let is_interim = status < 200 && status != 101;
        let sticky = self.pool_config()?.sticky.as_ref().filter(|_| !is_interim)?;
        Some(sticky.set_cookie(tag, self.sender.scheme == "https"))
    }
}
