//! The process that this one succeeds, as seen from here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, Type};

use crate::server::descriptors;
use crate::server::upgrade::message::{Handed, Message, SUCCESSOR};

/// How long it may take to hand its sockets over.
const LIMIT: Duration = Duration::from_secs(5);

/// Reasons that are longer are cut.
const REASON_BYTES_MAX: usize = 16 << 10;

/// The channel to it.
#[derive(Debug, Clone)]
pub struct Predecessor(Arc<OwnedFd>);

impl Predecessor {
    /// Takes the channel from standard input, which is empty from then on.
    pub fn of_process() -> Option<Self> {
        std::env::var_os(SUCCESSOR)?;
        let channel = io::stdin().as_fd().try_clone_to_owned().ok()?;
        // The variable may have been left to something that another program has started.
        SockRef::from(&channel).r#type().ok().filter(|is| *is == Type::SEQPACKET)?;
        SockRef::from(&channel).set_read_timeout(Some(LIMIT)).ok()?;
        let nothing = std::fs::File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(&nothing).ok()?;
        Some(Self(Arc::new(channel)))
    }

    /// What it hands over. If it dies meanwhile, what has arrived is ours, and the rest is free to be bound.
    pub fn sockets(&self) -> Vec<(Handed, OwnedFd)> {
        let mut all = Vec::new();
        while let Ok((message, descriptors)) = descriptors::receive(&*self.0)
            && let Some(Message::Sockets { sockets, last }) = Message::parse(&message)
        {
            all.extend(sockets.into_iter().zip(descriptors));
            if last {
                break;
            }
        }
        all
    }

    /// It may be dead; then nobody needs to know.
    pub fn tell(&self, message: &Message) {
        let _ = self.send(message);
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        descriptors::send(&*self.0, &message.to_bytes(), &[])
    }

    /// This process ends, and says why; returns whether that one will pass it on.
    pub fn refuse(&self, reason: &str, invalid_config: bool) -> bool {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        let reason = reason.get(..end).unwrap_or_default().to_owned();
        self.send(&Message::Failed { reason, invalid_config }).is_ok()
    }

    /// Waits until it has said that everything is ours now, or is dead. Until then it serves, and may still end us.
    pub fn wait_until_it_lets_go(&self) {
        let _ = SockRef::from(&*self.0).set_read_timeout(None);
        while let Ok((message, _)) = descriptors::receive(&*self.0)
            && !message.is_empty()
            && Message::parse(&message) != Some(Message::Yours)
        {}
    }

    /// Waits for its end.
    pub fn wait_until_gone(&self) {
        let _ = SockRef::from(&*self.0).set_read_timeout(None);
        while descriptors::receive(&*self.0).is_ok_and(|(message, _)| !message.is_empty()) {}
    }
}
