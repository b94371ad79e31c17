//! `Expect: 100-continue` (RFC 9110, section 10.1.1): the client waits for `100 Continue` before it sends its body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long an endpoint that was sent the expectation may be silent before the client is told to go on: many servers
/// never send `100 Continue`, and some clients wait for it without end.
const SILENCE: Duration = Duration::from_millis(500);

/// When the client is told to send its body although the endpoint has not asked for it.
#[derive(Default)]
pub struct Expectation {
    due: Option<Pin<Box<Sleep>>>,
}

impl Expectation {
    pub fn begin(&mut self) {
        self.due = Some(Box::pin(sleep(SILENCE)));
    }

    /// The client has been told, or does not wait.
    pub fn end(&mut self) {
        self.due = None;
    }

    /// Ready once, when the client is to be told.
    pub fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(due) = &mut self.due else { return Poll::Pending };
        due.as_mut().poll(context).map(|()| self.end())
    }
}
