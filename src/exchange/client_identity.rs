//! Who is at the other end of a client's connection, as far as it is known before there is a request.

use crate::telemetry::record::ClientAddress;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientIdentity {
    /// The connection's peer speaks for itself.
    Peer(ClientAddress),
    /// The peer passes on the connection of a client that it has named.
    Relayed { client: ClientAddress, by: ClientAddress },
    /// The peer passes on the connection of a client that it could not name.
    Anonymous { by: ClientAddress },
}

impl ClientIdentity {
    /// What is nearest to the client: its own address, if that is known.
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
