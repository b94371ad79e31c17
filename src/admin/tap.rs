//! `/api/v1/tap`: requests as they end, as a stream that lasts until its reader goes.

mod order;
mod stream;

use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;

use super::accept::{Caller, write_in_time};
use super::named_file;
use super::serve::{App, Reply};
pub use order::TapOrder;
use stream::{Stream, StreamForm};

const PATH: &str = "/api/v1/tap";

/// Whether this is a request for a tap.
pub(super) fn is_asked_for(session: &ServerSession) -> bool {
    session.req_header().uri.path() == PATH
}

impl App {
    /// Answers a request for a tap, to its end.
    pub(super) async fn tap(&self, session: ServerSession, caller: &Caller) {
        let method = session.req_header().method.clone();
        match self.open_tap(&session, caller).await {
            Ok(stream) => stream.run(session).await,
            Err(refusal) => write_in_time(session, refusal.into_response(&method)).await,
        }
    }

    async fn open_tap(&self, session: &ServerSession, caller: &Caller) -> Result<Stream, Reply> {
        let request = session.req_header();
        let query = request.uri.query().unwrap_or_default();
        if let Some(refusal) = named_file::refusal(query, self.process.as_ref()).await {
            return Err(Reply::text(StatusCode::MISDIRECTED_REQUEST, refusal));
        }
        if let Some(refusal) = self.refusal(PATH, &request.headers) {
            return Err(refusal);
        }
        if request.method != Method::GET {
            return Err(Reply::not_allowed("GET", "only GET is answered here\n"));
        }
        let order =
            TapOrder::of(query).map_err(|fault| Reply::text(StatusCode::BAD_REQUEST, fault + "\n"))?;
        if order.request.secrets && !caller.is_root() {
            let remedy = "secrets are shown to root on the unix socket alone: ask without `secrets`\n";
            return Err(Reply::text(StatusCode::FORBIDDEN, remedy));
        }
        let form = StreamForm::of(&request.headers, order.request.format);
        // The number of taps is the limit, not that of other requests.
        match self.process.taps().open(order.request) {
            Ok(tap) => Ok(Stream { tap, form, count: order.count, limit: order.limit }),
            Err(full) => Err(Reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{full}\n"))),
        }
    }
}
