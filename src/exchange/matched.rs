//! What a route has matched: what templates say of a request, and where a request goes that is routed anew.

use http::HeaderName;

use super::Exchange;
use crate::routing::RequestHead;
use crate::snapshot::Route;
use crate::template::{Groups, Values};

/// The parts of a request that templates and rewrites need, as its route has matched them.
pub(super) struct Matched {
    path: Box<str>,
    query: Option<Box<str>>,
    groups: Option<Groups>,
    /// The path that the engine has to put in the place of the matched one.
    pub new_path: Option<String>,
    /// The prefix that was stripped of the path.
    pub stripped: Option<Box<str>>,
}

impl Matched {
    /// `None`: the route has neither templates nor a rewrite.
    pub(super) fn of(route: &Route, head: &impl RequestHead) -> Option<Box<Self>> {
        route.has_templates.then(|| {
            let path = head.path();
            let groups = route.path_groups.iter().find_map(|regex| regex.groups(path));
            let query = head.query().map(Into::into);
            Box::new(Self { path: path.into(), query, groups, new_path: None, stripped: None })
        })
    }

    /// Of a request that is routed anew: if the path in its head was rewritten before, the engine has to put the right
    /// one there.
    pub(super) fn after(before: Option<Box<Self>>, now: Option<Box<Self>>) -> Option<Box<Self>> {
        let before = before?;
        let mut matched = now.unwrap_or_else(|| Box::new(Self { groups: None, stripped: None, ..*before }));
        matched.new_path = matched.new_path.or_else(|| Some(matched.path.to_string()));
        Some(matched)
    }

    /// The head with the path that was matched.
    pub(super) fn head<'a, H>(&'a self, head: &'a H) -> MatchedHead<'a, H> {
        MatchedHead { head, path: &self.path }
    }
}

/// A head whose path is the one that was matched, whatever an engine has put there since.
pub(super) struct MatchedHead<'a, H> {
    head: &'a H,
    path: &'a str,
}

impl<H: RequestHead> RequestHead for MatchedHead<'_, H> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.head.values(name)
    }
}

impl Exchange {
    /// What the placeholders of its route's templates stand for.
    pub fn template_values(&self) -> Values<'_> {
        let matched = self.matched.as_deref();
        let certificate = self.tls_info.as_ref().and_then(|info| info.client.as_ref());
        Values {
            client: self.sender.client().ip_text(),
            authority: self.record.text.host(),
            scheme: self.sender.scheme,
            method: self.record.text.method(),
            path: matched.map_or("", |matched| &matched.path),
            query: matched.and_then(|matched| matched.query.as_deref()),
            request_id: self.record.text.request_id(),
            cert_subject: certificate.map_or("", |client| &client.subject),
            groups: matched.and_then(|matched| matched.groups.as_ref()),
        }
    }
}
