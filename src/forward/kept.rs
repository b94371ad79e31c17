//! What is kept of a request's body while it is served.

use std::rc::Rc;

use super::mirror::Copying;
use crate::body::WholeBody;
use crate::exchange::MirroredBody;
use crate::message::Framing;
use crate::worker::Worker;

#[derive(Default)]
pub(super) struct Kept {
    /// All of it, if it was received before an endpoint was chosen.
    pub body: Option<Box<WholeBody>>,
    /// A copy for the route's mirror, as far as it has come.
    pub mirror: Option<Box<Copying>>,
}

impl Kept {
    /// How the endpoint gets the body, where the client has sent it as `sent` says. Many endpoints read no chunks.
    pub fn framing(&self, sent: Framing) -> Framing {
        match &self.body {
            Some(body) if body.trailers.is_empty() => Framing::Length(body.data.len() as u64),
            _ => sent,
        }
    }

    /// What a copy knows of the body; `framing`: as the endpoint gets it.
    pub fn mirrored_body(&self, framing: Framing) -> MirroredBody {
        match (&self.body, framing) {
            (Some(body), _) => MirroredBody::Whole { length: body.data.len() as u64 },
            (None, Framing::None | Framing::Length(0)) => MirroredBody::Whole { length: 0 },
            (None, Framing::Length(length)) => MirroredBody::Coming { announced: Some(length) },
            (None, Framing::Chunked | Framing::UntilClose) => MirroredBody::Coming { announced: None },
        }
    }

    /// Sends the copy if the whole body is there.
    pub fn mirror_whole(&mut self, worker: &Rc<Worker>, framing: Framing) {
        if let MirroredBody::Whole { .. } = self.mirrored_body(framing)
            && let Some(copying) = self.mirror.take()
        {
            copying.send(worker, self.body.as_deref().cloned().unwrap_or_default());
        }
    }

    /// The body is sent again from its beginning.
    pub fn rewind(&mut self) {
        if let Some(copying) = &mut self.mirror {
            copying.restart();
        }
    }
}
