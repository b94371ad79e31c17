//! What the process that goes and the one that comes say to each other. They may be of different versions: fields may
//! be added here, and none removed. A message that the other side may not know is sent only where it has said that it
//! does, by a field of one that it must know: versions before took it for the end.

use serde::{Deserialize, Serialize};

use crate::pool::live_state::LiveState;
use crate::server::fd_passing::MESSAGE_BYTES_MAX;

/// Set for a successor: its standard input is the channel to the process before it.
pub const SUCCESSOR: &str = "EVENKEEL_SUCCESSOR";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// From the process in between, the first of all.
    Launched { pid: i32 },
    /// From the old one: listening sockets, one descriptor for each. `live`: it knows `LiveWanted` and `Waiting`.
    Sockets {
        sockets: Vec<Handed>,
        last: bool,
        #[serde(default)]
        live: bool,
    },
    /// From the new one, when it is about to make its pools: it wants the live state.
    LiveWanted,
    /// From the old one: a part of it.
    Live { state: LiveState, last: bool },
    /// From the new one: why it does not serve yet.
    Waiting { reason: String },
    /// From the new one: it can serve, and begins once it is told that everything is its own.
    Ready {
        version: String,
        /// Sockets that it does not want; `None`: it does not say, or they are too many for a message.
        #[serde(default)]
        left: Option<Vec<Handed>>,
    },
    /// From the new one: it ends, and why.
    Failed { reason: String, invalid_config: bool },
    /// From the old one: it has told the service manager who is the main process now, and cannot undo it any more.
    Yours,
}

/// A socket as the config of the old process has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    pub role: Role,
    /// Of the listener; empty for the admin address.
    pub name: String,
    /// The address as it is written, so with port 0 where the system chose one.
    pub written: String,
    /// No service manager has opened it. Versions before do not say.
    #[serde(default, rename = "private")]
    pub exclusive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Listener,
    Admin,
}

impl Message {
    /// Who does not say which sockets it leaves can serve all the same: the process before it serves all queues empty.
    pub fn ready(left: Vec<Handed>) -> Self {
        let ready = |left| Self::Ready { version: env!("CARGO_PKG_VERSION").to_owned(), left };
        let all = ready(Some(left));
        if all.to_bytes().len() > MESSAGE_BYTES_MAX { ready(None) } else { all }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fd_passing::{pair, receive, send};

    /// What is cut is no message, and the process before it would take this one for ended.
    #[test]
    fn a_successor_that_leaves_many_sockets_is_heard() {
        let left_of = |count| {
            let handed = |index| Handed {
                role: Role::Listener,
                name: format!("listener-{index}"),
                written: format!("127.0.0.1:{index}"),
                exclusive: true,
            };
            let (ours, theirs) = pair().expect("a pair");
            let ready = Message::ready((0..count).map(handed).collect());
            send(&theirs, &ready.to_bytes(), &[]).expect("sent");
            match Message::parse(&receive(&ours).expect("whole").0) {
                Some(Message::Ready { left, .. }) => left.map(|left| left.len()),
                other => panic!("it is ready, not {other:?}"),
            }
        };
        assert_eq!(left_of(100), Some(100));
        assert_eq!(left_of(5_000), None);
    }
}
