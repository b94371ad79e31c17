//! Header policy: what is told about the client, what is kept from either side, what is rewritten.

mod forwarded;
mod hidden;
mod hop_by_hop;
mod request_id;
