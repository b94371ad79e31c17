//! Asks the authentication of a route who the client is, and holds the request to the answer.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::edits::Edits;
use super::passage::{Passage, Served};
use super::{Admitted, Exchange, Failure, LocalReply, local_reply};
use crate::auth::{Answer, Check, Circumstances, Gate, Passed, ServiceReply, Verdict};
use crate::routing::RequestHead;
use crate::telemetry::record::AuthRecord;

/// What the authentication of a request's route has said of it.
pub(super) struct Authentication {
    gate: Arc<Gate>,
    said: Said,
}

enum Said {
    Passed(Passed),
    /// With the value of `WWW-Authenticate`.
    Refused(HeaderValue),
    Nothing,
}

impl Exchange {
    /// The question whether the request may pass; `None`: its route has none, or the same one has let it pass already.
    pub(super) fn ask_who<H: RequestHead>(&mut self, head: &H) -> Option<Box<Check>> {
        let has_asked = self.authentication.is_some() || self.record.unusual().auth.is_some();
        if !has_asked && self.route().is_none_or(|route| route.auth.is_none()) {
            return None;
        }
        let gate = self.route().and_then(|route| route.auth.clone());
        let before = self.authentication.take();
        if let Some(unusual) = self.record.unusual.as_mut().filter(|_| gate.is_none()) {
            unusual.auth = None;
        }
        let gate = gate?;
        let is_same = |before: &Authentication| Arc::ptr_eq(&before.gate, &gate);
        if let Some(before) =
            before.filter(|before| is_same(before) && matches!(before.said, Said::Passed(_)))
        {
            self.authentication = Some(before);
            return None;
        }
        let circumstances = Circumstances {
            scheme: self.sender.scheme,
            host: self.sender.host(head.authority()),
            client: self.sender.client().ip_text(),
        };
        Some(Box::new(gate.check(head, circumstances)))
    }

    /// Holds the request to the answer to its [`Check`], and says what follows.
    pub fn authenticated(&mut self, answer: Answer) -> Result<Admitted, Failure> {
        self.authenticated_by(&mut Served, answer)
    }

    /// The same for whoever takes the request through its policies.
    pub(super) fn authenticated_by(
        &mut self,
        passage: &mut impl Passage,
        answer: Answer,
    ) -> Result<Admitted, Failure> {
        let Some(gate) = self.route().and_then(|route| route.auth.clone()) else {
            return Err(Failure::Internal);
        };
        let (verdict, user) = match &answer {
            Answer::Passed(passed) => (Verdict::Passed, passed.user.clone()),
            Answer::Refused { verdict, user, .. } => (*verdict, user.clone()),
            Answer::Answered(_) => (Verdict::Refused, None),
            Answer::Unavailable(_) => (Verdict::Unavailable, None),
        };
        let kind = gate.config().kind();
        self.record.unusual_mut().auth = Some(AuthRecord { kind, verdict, user });
        let said = |said| Some(Box::new(Authentication { gate, said }));
        match answer {
            Answer::Passed(passed) => {
                self.authentication = said(Said::Passed(passed));
                self.act(passage)
            }
            Answer::Refused { challenge, .. } => {
                self.authentication = said(Said::Refused(challenge));
                Err(Failure::Unauthorized)
            }
            Answer::Answered(reply) => {
                self.authentication = said(Said::Nothing);
                self.record.unusual_mut().action = Some("auth");
                Ok(Admitted::Reply(self.service_reply(reply)))
            }
            Answer::Unavailable(why) => {
                self.record.unusual_mut().detail = Some(why.into());
                Err(Failure::AuthUnavailable)
            }
        }
    }

    fn service_reply(&self, reply: ServiceReply) -> LocalReply {
        let ServiceReply { status, fields: mut headers, body } = reply;
        headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
        headers.push((header::SERVER, HeaderValue::from_static(local_reply::SERVER_NAME)));
        if let Some(policy) = self.strict_transport().and_then(|policy| HeaderValue::from_str(policy).ok()) {
            headers.retain(|(name, _)| *name != header::STRICT_TRANSPORT_SECURITY);
            headers.push((header::STRICT_TRANSPORT_SECURITY, policy));
        }
        LocalReply { status, headers, body }
    }

    /// Puts the fields that authentication sets in the place of those of the client. Comes after all that a client could
    /// remove by `Connection`.
    pub(super) fn set_identity_fields(&self, edits: &mut Edits) {
        let Some(authentication) = &self.authentication else { return };
        for name in authentication.gate.managed() {
            edits.remove(name.clone());
        }
        if !authentication.gate.passes_authorization() {
            edits.remove(header::AUTHORIZATION);
        }
        if let Said::Passed(passed) = &authentication.said {
            for (name, value) in &passed.fields {
                edits.append(name.clone(), value.as_bytes());
            }
        }
    }

    /// Adds the cookies that the auth service has set while it let the request pass.
    pub(super) fn set_service_cookies(&self, edits: &mut Edits) {
        if let Some(Said::Passed(passed)) = self.authentication.as_ref().map(|known| &known.said) {
            passed.cookies.iter().for_each(|cookie| edits.append(header::SET_COOKIE, cookie.as_bytes()));
        }
    }

    /// What a client that is refused must send.
    pub(super) fn challenge(&self) -> Option<HeaderValue> {
        match &self.authentication.as_ref()?.said {
            Said::Refused(challenge) => Some(challenge.clone()),
            _ => None,
        }
    }
}
