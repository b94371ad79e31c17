//! The path of a request: what is matched, what goes on, and what the log says of it.

use super::{Exchange, Failure};
use crate::routing::{RequestHead, path};

impl Exchange {
    /// Finds the form of the path that is matched and goes on. `Some`: the carrier puts it in the place of the path that
    /// was sent, before it asks for anything else.
    pub fn normal_path<H: RequestHead>(&mut self, head: &H) -> Result<Option<String>, Failure> {
        let path = head.path();
        match path::normal(path, self.listener().paths) {
            Ok(normal) => {
                let sent = self.record.text.target();
                let changes = normal != path;
                // The carrier has escaped something already; in a target in absolute form, the path is in its middle.
                let differs = changes || !(sent.starts_with(path) || sent.contains(path));
                if differs {
                    self.record.path = Some(normal.as_ref().into());
                }
                Ok(changes.then(|| normal.into_owned()))
            }
            Err(fault) => {
                self.record.detail = Some(fault.reason().into());
                Err(Failure::BadRequest)
            }
        }
    }
}
