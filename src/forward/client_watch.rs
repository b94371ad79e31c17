//! Notices that a client has gone, while its request is served or waits.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::{ClientStream, Notice};

/// How often a client is asked whose going does not wake the task.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Watches one client for one request.
#[derive(Default)]
pub struct ClientWatch {
    /// When the client is asked next; `None`: there is no need.
    next: Option<Pin<Box<Sleep>>>,
}

impl ClientWatch {
    /// An error if the client has gone; otherwise the task is woken in time to find out.
    pub fn poll(&mut self, context: &mut Context<'_>, client: &mut impl ClientStream) -> io::Result<()> {
        if client.poll_gone(context)? == Notice::Wake {
            self.next = None;
            return Ok(());
        }
        while self.next.get_or_insert_with(|| Box::pin(sleep(ASK_EVERY))).as_mut().poll(context).is_ready() {
            self.next = None;
            if client.has_gone() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}
