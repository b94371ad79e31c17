//! The successor's end of the channel to its predecessor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, Type};

use crate::pool::live_state::LiveState;
use crate::server::fd_passing;
use crate::server::upgrade::message::{Handed, Message, SUCCESSOR};

/// How long each message of the handover may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A longer reason is cut.
const REASON_BYTES_MAX: usize = 16 << 10;

/// The channel to the predecessor.
#[derive(Debug, Clone)]
pub struct Predecessor {
    channel: Arc<OwnedFd>,
    /// The predecessor's version knows the messages about live state.
    tells_live: bool,
}

impl Predecessor {
    /// Takes the channel from standard input, which is empty from then on.
    pub fn of_process() -> Option<Self> {
        std::env::var_os(SUCCESSOR)?;
        let channel = io::stdin().as_fd().try_clone_to_owned().ok()?;
        // The variable may have been inherited by way of another program.
        SockRef::from(&channel).r#type().ok().filter(|is| *is == Type::SEQPACKET)?;
        SockRef::from(&channel).set_read_timeout(Some(LIMIT)).ok()?;
        let nothing = std::fs::File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(&nothing).ok()?;
        Some(Self::over(channel))
    }

    pub(super) fn over(channel: OwnedFd) -> Self {
        Self { channel: Arc::new(channel), tells_live: false }
    }

    /// Receives the predecessor's sockets. If it dies meanwhile, those that have arrived are kept, and the other
    /// addresses are free to be bound.
    pub fn sockets(&mut self) -> Vec<(Handed, OwnedFd)> {
        let mut all = Vec::new();
        while let Some((message, descriptors)) = self.next() {
            if let Some(Message::Sockets { sockets, last, live }) = message {
                all.extend(sockets.into_iter().zip(descriptors));
                self.tells_live = live;
                if last {
                    break;
                }
            }
        }
        all
    }

    /// Asks for the live state of endpoints and names; empty if the predecessor's version does not know the question.
    /// `None`: it has not answered, or not completely.
    pub fn live_state(&self) -> Option<LiveState> {
        let mut all = LiveState::default();
        if !self.tells_live {
            return Some(all);
        }
        self.send(&Message::LiveWanted).ok()?;
        loop {
            if let (Some(Message::Live { state, last }), _) = self.next()? {
                all.add(state);
                if last {
                    return Some(all);
                }
            }
        }
    }

    /// The next message (`None`: unknown to this version) and its descriptors; `None`: there are no more messages.
    pub(super) fn next(&self) -> Option<(Option<Message>, Vec<OwnedFd>)> {
        let (message, descriptors) = fd_passing::receive(&*self.channel).ok()?;
        (!message.is_empty()).then(|| (Message::parse(&message), descriptors))
    }

    /// Tells the predecessor why this process does not serve yet.
    pub fn report_waiting(&self, reason: &str) {
        if self.tells_live {
            self.tell(&Message::Waiting { reason: cut(reason) });
        }
    }

    /// Sends a message. A predecessor that is dead does not need it.
    pub fn tell(&self, message: &Message) {
        let _ = self.send(message);
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        fd_passing::send(&*self.channel, &message.to_bytes(), &[])
    }

    /// Tells the predecessor that this process ends, and why. Returns whether that was sent: the predecessor reports
    /// it.
    pub fn refuse(&self, reason: &str, invalid_config: bool) -> bool {
        self.send(&Message::Failed { reason: cut(reason), invalid_config }).is_ok()
    }

    /// Blocks until the predecessor has handed everything over, or is dead. Until then it serves, and may kill this
    /// process.
    pub fn wait_until_it_lets_go(&self) {
        let _ = SockRef::from(&*self.channel).set_read_timeout(None);
        while self.next().is_some_and(|(message, _)| !matches!(message, Some(Message::Yours))) {}
    }

    /// Blocks until the predecessor has exited.
    pub fn wait_until_gone(&self) {
        let _ = SockRef::from(&*self.channel).set_read_timeout(None);
        while self.next().is_some() {}
    }

    /// Whether the predecessor has exited.
    pub fn is_gone(&self) -> bool {
        let mut channel = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        let ended = |events: PollFlags| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        poll(&mut channel, PollTimeout::ZERO).is_ok() && channel.iter().filter_map(PollFd::revents).any(ended)
    }
}

fn cut(reason: &str) -> String {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.get(..end).unwrap_or_default().to_owned()
}
