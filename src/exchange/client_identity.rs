//! Whose connection it is, as far as the connection and its PROXY header tell before there is a request.

use crate::telemetry::record::ClientAddress;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientIdentity {
    /// The peer is the client.
    Peer(ClientAddress),
    /// The peer forwards the connection of a client whose address it has named.
    Relayed { client: ClientAddress, by: ClientAddress },
    /// The peer forwards the connection of a client whose address it does not know.
    Anonymous { by: ClientAddress },
}

impl ClientIdentity {
    /// The client's own address, or the peer's if the client's is not known.
    pub fn address(&self) -> &ClientAddress {
        match self {
            Self::Peer(address) | Self::Relayed { client: address, .. } | Self::Anonymous { by: address } => {
                address
            }
        }
    }

    /// The peer of the connection.
    pub fn peer(&self) -> &ClientAddress {
        match self {
            Self::Peer(peer) | Self::Relayed { by: peer, .. } | Self::Anonymous { by: peer } => peer,
        }
    }
}
