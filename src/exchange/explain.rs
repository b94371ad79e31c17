//! What would become of a request, and why: an [`Exchange`] that takes nothing, for `evenkeel explain`.
//!
//! The request goes through the same functions as one that is served, with another `Passage`. What is only there for
//! people is asked of the same predicates again.

mod conditions;
mod policies;
mod report;
mod routes;
mod target;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::edits::Edits;
use super::passage::Passage;
use super::{Admitted, Arrival, Exchange, Failure, LocalReply, RequestScope};
use crate::auth::{Answer, Check, Passed};
use crate::config::{Auth, JwtAuth, JwtKeys, Listener};
use crate::pool::Endpoint;
use crate::pool::explain::PoolExplanation;
use crate::rate_limit::{Key, TooMany};
use crate::routing::RequestHead;
use crate::snapshot::{RouteRateLimit, Snapshot};

pub use super::passage::Stage;
pub use conditions::shown_value;
pub use report::{
    AnswerExplanation, Explanation, Field, HeadersExplanation, ListenerExplanation, PathExplanation,
    RequestExplanation, RouteExplanation, RouteVerdict, Step, TimesExplanation, Verdict,
};
pub use target::Outlook;

/// A request that is asked about.
pub struct Asked {
    exchange: Exchange,
    snapshot: Arc<Snapshot>,
    asking: Asking,
    /// The service that says whether the request may pass, and is not asked.
    would_ask: Option<String>,
    time: SystemTime,
    now: Instant,
}

/// The passage of a request that is only asked about: it takes nothing.
struct Asking {
    stage: Stage,
    limits: Vec<AskedLimit>,
}

/// What a rate limit says of the request.
struct AskedLimit {
    label: Arc<str>,
    result: Result<(), TooMany>,
    /// How many requests of its key might come at once now.
    left: u32,
}

/// How the way of a request through its policies ends.
pub enum End {
    Refused(Failure),
    Answered(LocalReply),
    /// It goes to its pool.
    Forwarded(Box<Forwarded>),
}

/// What becomes of a request that goes to a pool.
pub struct Forwarded {
    pub outlook: Outlook,
    pub pool: PoolExplanation,
    /// `None`: none can be picked now.
    pub endpoint: Option<Arc<Endpoint>>,
}

impl Passage for Asking {
    fn reached(&mut self, stage: Stage) {
        self.stage = stage;
    }

    fn take(&mut self, limit: &RouteRateLimit, key: Key, now: Instant) -> Result<(), TooMany> {
        let (result, left) = limit.limiter.peek(&limit.config.quota, key, now);
        self.limits.push(AskedLimit { label: limit.label.clone(), result, left });
        result
    }

    fn refused(&mut self, _limit: &RouteRateLimit) {}

    fn give_back(&mut self, _limit: &RouteRateLimit, _key: Key, _now: Instant) {}
}

// === impl Asked ===

impl Asked {
    pub fn begin<H: RequestHead>(
        snapshot: &Arc<Snapshot>,
        listener: &Arc<Listener>,
        arrival: Arrival<'_, H>,
    ) -> Self {
        let (now, time) = (arrival.now, arrival.time);
        Self {
            exchange: Exchange::begin(RequestScope::unobserved(snapshot, listener), arrival),
            snapshot: snapshot.clone(),
            asking: Asking { stage: Stage::Path, limits: Vec::new() },
            would_ask: None,
            time,
            now,
        }
    }

    /// Its head is refused before anything else is asked.
    pub fn refuse(&mut self, failure: Failure, reason: &str) {
        self.exchange.failed(failure, Some(reason.to_owned()));
    }

    /// As [`Exchange::normalize_path`].
    pub fn normalize_path<H: RequestHead>(&mut self, head: &H) -> Result<Option<String>, Failure> {
        self.exchange.normalize_path(head)
    }

    /// Takes the request through its policies, up to its pool. A service that says who may pass is not asked: the
    /// request goes on as if it passed.
    pub fn admit<H: RequestHead>(
        &mut self,
        head: &H,
        fields: impl Iterator<Item = usize>,
    ) -> Result<Admitted, Failure> {
        match self.exchange.admit_by(&mut self.asking, head, fields)? {
            Admitted::Authenticate(check) => self.authenticate(*check),
            admitted => Ok(admitted),
        }
    }

    fn authenticate(&mut self, check: Check) -> Result<Admitted, Failure> {
        let service = service(check.gate().config());
        let answer = check.peek().unwrap_or_else(|| {
            self.would_ask = service;
            Answer::Passed(Passed::default())
        });
        self.exchange.authenticated_by(&mut self.asking, answer)
    }

    /// As [`Exchange::take_new_path`].
    pub fn take_new_path(&mut self) -> Option<String> {
        self.exchange.take_new_path()
    }

    /// As [`Exchange::is_upgrade`].
    pub fn is_upgrade(&self) -> bool {
        self.exchange.is_upgrade()
    }

    /// Makes the edits that turn the client's head into the one that the endpoint would be sent.
    pub fn request_edits<'a, H: RequestHead>(
        &self,
        endpoint: Option<&Endpoint>,
        head: &H,
        connection: impl Iterator<Item = &'a str>,
    ) -> Edits {
        let mut edits = Edits::default();
        self.exchange.request_edits_for(endpoint, head, connection, &mut edits);
        edits
    }
}

/// Who has to be asked, beside this process.
fn service(auth: &Auth) -> Option<String> {
    match auth {
        Auth::Forward(forward) => Some(forward.url.to_string()),
        Auth::Jwt(JwtAuth { keys: JwtKeys::Url { url, .. }, .. }) => Some(url.to_string()),
        Auth::Basic(_) | Auth::Jwt(_) => None,
    }
}
