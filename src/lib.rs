//! evenkeel: a load balancer and HTTP reverse proxy.
//!
//! `ARCHITECTURE.md` describes the modules. Calls go down only: the command line and the server at the top, then the
//! two engines, then `exchange`, and at the bottom the modules that know no socket, no clock and no global.

pub mod admin;
pub mod auth;
mod authority;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod config_diff;
mod directory;
pub mod endpoint;
pub mod endpoint_connections;
mod escape;
pub mod exchange;
pub mod explain;
mod fair_queue;
mod file;
pub mod forward;
mod header_field;
pub mod histogram;
mod htpasswd;
pub mod http1;
mod human;
mod jwks;
pub mod key_file;
pub mod lifecycle;
pub mod listener_state;
mod log_throttle;
pub mod message;
pub mod mirror;
pub mod net;
pub mod networks;
mod os_error;
mod part;
mod percent;
pub mod permits;
pub mod pool;
pub mod proxy;
pub mod rate_limit;
pub mod recent_times;
pub mod replay;
pub mod routing;
pub mod server;
pub mod sharded_counter;
pub mod simulate;
pub mod snapshot;
mod socket_file;
pub mod telemetry;
pub mod template;
mod terminal;
pub mod tls;
pub mod wait_queue;
mod websocket;
pub mod worker;
