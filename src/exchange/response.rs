//! What the route changes of responses: security headers, fields, what pages of other origins may read.

mod body;
pub(super) mod cookies;
mod cors;
mod encoding;
pub(super) mod location;
pub(super) mod refresh;

use http::{HeaderName, HeaderValue, header};

use super::edits::Edits;
use super::{Exchange, LocalReply, header_edits};
use crate::config::{Encoding, ErrorPage, ResponsePolicy};
use crate::header_field::same_name;
use crate::routing::RequestHead;
use crate::snapshot::Route;
use crate::telemetry::record::Protocol;
pub use body::NewBody;
use cors::CorsRequest;

const SECURITY_FIELD_COUNT: usize = 5;

/// Set by `security_headers: on` where a response has no such field.
const SECURITY_FIELDS: [(HeaderName, &str); SECURITY_FIELD_COUNT] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// What a request says of the response that its client can read.
#[derive(Debug, Default)]
pub(super) struct ResponseWishes {
    cors: CorsRequest,
    /// The encoding that the client likes best of those that the route has; `None`: the client takes none of them.
    encoding: Option<Encoding>,
}

impl ResponseWishes {
    pub fn of(policy: &ResponsePolicy, head: &impl RequestHead, protocol: Protocol) -> Self {
        let chosen = |compress| encoding::chosen(compress, head.values(&header::ACCEPT_ENCODING));
        Self {
            cors: policy.cors.as_ref().map(|cors| CorsRequest::of(cors, head)).unwrap_or_default(),
            // HTTP/1.0 has no chunks: only the end of the connection would end a response.
            encoding: policy.compress.as_ref().filter(|_| protocol != Protocol::Http10).and_then(chosen),
        }
    }
}

impl Exchange {
    pub(super) fn response_policy(&self) -> Option<&ResponsePolicy> {
        self.route()?.response.as_deref()
    }

    /// Makes the edits that the route asks for; `fields` gives the names and values of the response's fields.
    pub(super) fn policy_edits<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
        &self,
        policy: &ResponsePolicy,
        fields: impl Fn() -> I,
        edits: &mut Edits,
    ) {
        if policy.security_headers {
            security_fields(edits, fields());
        }
        header_edits::apply(&policy.headers, &self.template_values(), edits);
        if let Some(cors) = &policy.cors {
            let unknown = CorsRequest::default();
            self.wishes.as_ref().map_or(&unknown, |wishes| &wishes.cors).edits(cors, edits);
        }
    }

    /// The page of a failure: the route's, before the listener's. gRPC has none.
    fn error_page(&self, status: u16) -> Option<&ErrorPage> {
        if status < 400 || self.grpc.is_some() {
            return None;
        }
        let of_route = self.response_policy().and_then(|policy| policy.errors.as_ref()?.of(status));
        of_route.or_else(|| self.listener().errors.as_ref()?.of(status))
    }

    /// Does with a local reply what the route and the listener ask for. An answer of the config stays as that says.
    pub fn prepare_reply(&self, mut reply: LocalReply) -> LocalReply {
        let page = self.error_page(reply.status.as_u16()).filter(|_| self.record.unusual().action.is_none());
        if let Some(page) = page {
            reply = reply.with_page(page.body.clone(), page.content_type);
        }
        let Some(policy) = self.response_policy() else { return reply };
        let LocalReply { headers, .. } = &reply;
        let fields = || headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let mut edits = Edits::default();
        self.policy_edits(policy, fields, &mut edits);
        apply(&edits, reply)
    }
}

/// Whether the route answers this request itself, because a browser asks with it what a page of another origin may send.
pub(super) fn is_preflight(route: &Route, head: &impl RequestHead) -> bool {
    let cors = route.response.as_deref().and_then(|policy| policy.cors.as_ref());
    cors.is_some_and(|cors| CorsRequest::of(cors, head).is_preflight())
}

fn security_fields<'a>(edits: &mut Edits, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    let mut there = [false; SECURITY_FIELD_COUNT];
    for (name, _) in fields {
        for ((known, _), there) in SECURITY_FIELDS.iter().zip(&mut there) {
            *there |= name.eq_ignore_ascii_case(known.as_str().as_bytes());
        }
    }
    for ((name, value), there) in SECURITY_FIELDS.iter().zip(there) {
        if !there {
            edits.set(name.clone(), value);
        }
    }
}

fn apply(edits: &Edits, mut reply: LocalReply) -> LocalReply {
    reply.headers.retain(|(name, _)| {
        let name = name.as_str().as_bytes();
        !edits.replaced(name).any(|other| same_name(other.as_bytes(), name))
    });
    let added = edits.added().filter_map(|(name, value)| {
        Some((name.clone(), HeaderValue::from_bytes(edits.lines().get(value)?).ok()?))
    });
    reply.headers.extend(added);
    reply
}
