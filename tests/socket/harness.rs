//! What the scenarios are made of: a proxy in a process of its own, scripted endpoints, and a client that sees bytes.

mod client;
mod config;
pub mod dnsmasq;
mod endpoint;
pub mod frames;
mod gate;
pub mod http2;
pub mod http2_endpoint;
mod load;
mod proxy;
mod request;
mod response;
mod stream;
mod tls;
mod wait;
mod websocket;

pub use client::Client;
pub use config::{Engine, ProxyBuilder, engine, lacks, nobody};
pub use endpoint::{Endpoint, Exchange, Seen, nobody_listens, silent_network};
pub use gate::Gate;
pub use load::{SteadyLoad, load};
pub use proxy::{Ended, Event, Proxy, Record};
pub use response::{End, Response};
pub use stream::Stream;
pub use tls::{Authority, Issued, Oddity, TlsClient, Trusting, ask, handshake};
pub use wait::{SOON, eventually, lasted, within};
pub use websocket::{ASKS_FOR_WEBSOCKET, SWITCHING};
