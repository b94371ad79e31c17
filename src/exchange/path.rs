//! The path of a request: the normal form that is matched, forwarded and logged.

use super::{Exchange, Failure};
use crate::routing::{RequestHead, path};

impl Exchange {
    /// Finds the normal form of the path, which is matched and forwarded. `Some`: the engine puts it in the place of
    /// the path that was sent, before it asks for anything else.
    pub fn normalize_path<H: RequestHead>(&mut self, head: &H) -> Result<Option<String>, Failure> {
        let path = head.path();
        match path::normalize(path, self.listener().paths) {
            Ok(normal) => {
                let sent = self.record.text.target();
                let changes = normal != path;
                // The engine may have escaped something already. A target in absolute form has the path in its middle.
                let differs = changes || !(sent.starts_with(path) || sent.contains(path));
                if differs {
                    self.record.path = Some(normal.as_ref().into());
                }
                Ok(changes.then(|| normal.into_owned()))
            }
            Err(fault) => {
                self.record.unusual_mut().detail = Some(fault.reason().into());
                Err(Failure::BadRequest)
            }
        }
    }
}
