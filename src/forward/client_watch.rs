//! Notices that a client has gone, while its request is served or waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::{ClientStream, Notice};
use crate::net::arrivals::Arrivals;

/// How often a client is asked whose going does not wake the task.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Watches one client for one request.
#[derive(Default)]
pub struct ClientWatch {
    /// When the client is asked next; `None`: there is no need.
    next: Option<Pin<Box<Sleep>>>,
    /// It is to be noticed at once.
    at_once: bool,
    /// Asks the client whenever something arrives.
    arrivals: Option<Arrivals>,
}

impl ClientWatch {
    /// For a client whose place others want: it is noticed at once, at the cost of a descriptor, where bytes are unread.
    pub fn at_once() -> Self {
        Self { at_once: true, ..Self::default() }
    }

    /// An error if the client has gone; otherwise the task is woken in time to find out.
    pub fn poll(&mut self, context: &mut Context<'_>, client: &mut impl ClientStream) -> io::Result<()> {
        if client.poll_gone(context)? == Notice::Wake {
            (self.next, self.arrivals) = (None, None);
            return Ok(());
        }
        let ask = |client: &mut _| match ClientStream::has_gone(client) {
            true => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            false => Ok(()),
        };
        if std::mem::take(&mut self.at_once) {
            self.arrivals = client.arrivals();
        }
        while let Some(Poll::Ready(arrived)) = self.arrivals.as_mut().map(|all| all.poll_next(context)) {
            ask(client)?;
            self.arrivals = self.arrivals.take().filter(|all| arrived.is_ok() && !all.is_over());
        }
        while self.next.get_or_insert_with(|| Box::pin(sleep(ASK_EVERY))).as_mut().poll(context).is_ready() {
            self.next = None;
            ask(client)?;
        }
        Ok(())
    }
}
