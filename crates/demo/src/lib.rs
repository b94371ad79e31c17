//! Three small HTTP endpoints to balance over, for trying the proxy without writing a config.
//!
//! Each has its own name, loopback port and listening socket, so that one can stop and come back while the others go
//! on. They run on a separate thread, apart from the proxy's workers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::runtime::Runtime;

mod answer;
mod endpoint;
mod report;
#[cfg(test)]
mod tests;

/// The names, and the ports that are tried first: easy to remember, and the same at every start when they are free.
const ENDPOINTS: [(&str, u16); 3] = [("a", 3001), ("b", 3002), ("c", 3003)];

/// The running demo endpoints; dropping this stops them.
#[derive(Debug)]
pub struct Endpoints {
    addresses: Vec<(String, SocketAddr)>,
    runtime: Option<Runtime>,
}

impl Endpoints {
    /// Starts all three, each on its usual port or, where that is taken, on any free one.
    pub fn start() -> io::Result<Self> {
        Self::start_on(&ENDPOINTS)
    }

    /// The name and the bound address of each, in order.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    fn start_on(wanted: &[(&str, u16)]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("demo")
            .enable_all()
            .build()?;
        let mut addresses = Vec::with_capacity(wanted.len());
        for &(name, port) in wanted {
            let listener = runtime.block_on(bind_near(port))?;
            let address = listener.local_addr()?;
            addresses.push((name.to_owned(), address));
            runtime.spawn(endpoint::run(name.to_owned(), address, listener));
        }
        Ok(Self { addresses, runtime: Some(runtime) })
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        // Dropping a runtime panics within an async context; a shutdown in the background is allowed anywhere.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Binds the wanted port on loopback, or any free one.
async fn bind_near(port: u16) -> io::Result<tokio::net::TcpListener> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match tokio::net::TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}
