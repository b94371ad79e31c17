//! What templates say of a request.

use super::Exchange;
use crate::routing::RequestHead;
use crate::snapshot::Route;
use crate::template::{Groups, Values};

/// The parts of a request that templates name, as its route has matched them.
pub(super) struct Matched {
    path: Box<str>,
    query: Option<Box<str>>,
    groups: Option<Groups>,
}

impl Matched {
    /// `None`: the route has no templates.
    pub(super) fn of(route: &Route, head: &impl RequestHead) -> Option<Box<Self>> {
        route.has_templates.then(|| {
            let path = head.path();
            let groups = route.path_groups.iter().find_map(|regex| regex.groups(path));
            Box::new(Self { path: path.into(), query: head.query().map(Into::into), groups })
        })
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
