//! The messages between a predecessor and its successor. They may be of different versions: fields may be added here,
//! and none removed. A message that the other side may not know is sent only if a field of an earlier message has
//! announced that it does: older versions take an unknown message for the end of the channel.

use serde::{Deserialize, Serialize};

use crate::pool::live_state::LiveState;
use crate::server::fd_passing::MESSAGE_BYTES_MAX;

/// The environment variable of a successor, whose standard input is the channel to its predecessor.
pub const SUCCESSOR: &str = "EVENKEEL_SUCCESSOR";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// From the intermediate process, before all others.
    Launched { pid: i32 },
    /// From the predecessor: listening sockets, one descriptor for each. `live`: it knows `LiveWanted` and `Waiting`.
    Sockets {
        sockets: Vec<Handed>,
        last: bool,
        #[serde(default)]
        live: bool,
    },
    /// From the successor, right before it builds its pools: asks for the live state.
    LiveWanted,
    /// From the predecessor: a part of the live state.
    Live { state: LiveState, last: bool },
    /// From the successor: why it does not serve yet.
    Waiting { reason: String },
    /// From the successor: it can serve, and begins once it has got `Yours`.
    Ready {
        version: String,
        /// Sockets that it does not use; `None`: its version does not say, or they are too many for a message.
        #[serde(default)]
        left: Option<Vec<Handed>>,
    },
    /// From the successor or the intermediate process: it ends, for this reason.
    Failed { reason: String, invalid_config: bool },
    /// From the predecessor: everything is the successor's. The service manager has been told of the new main process,
    /// so this cannot be undone.
    Yours,
}

/// A socket that is handed over, as the predecessor's config names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    pub role: Role,
    /// The listener's name; empty for the admin address.
    pub name: String,
    /// The address as the config writes it: with port 0 where the system chose one.
    pub written: String,
    /// No service manager has opened it. Older versions do not say.
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
    /// Leaves the list of unused sockets out if it does not fit into a message: the predecessor then empties all
    /// queues.
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

    /// A message that was cut would be taken for the end of the successor.
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
