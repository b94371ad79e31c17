//! The proxy as a Pingora service: gives Pingora the sockets that are bound already, and says when it is ready.

use std::os::fd::IntoRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::listening;
use pingora_core::services::{Service, ServiceReadyNotifier, ServiceWithDependents};
use pingora_proxy::HttpProxy;

use super::entrance::Entrances;
use crate::lifecycle::Lifecycle;
use crate::pool::SupervisorHandle;
use crate::proxy::{BoundAddress, Carrier};

/// Nothing that is sent waits in a buffer: Pingora flushes a body of known length only at its end, and a client that is
/// sent an event at a time would wait for it.
const BUFFERS: L4BufferSettings = L4BufferSettings { read: Some(4096), write: Some(0) };

pub struct Front {
    proxy: listening::Service<HttpProxy<Carrier>>,
    entrances: Arc<Entrances>,
    supervisor: SupervisorHandle,
    lifecycle: Arc<Lifecycle>,
}

impl Front {
    pub fn new(
        mut proxy: listening::Service<HttpProxy<Carrier>>,
        entrances: Arc<Entrances>,
        supervisor: SupervisorHandle,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        for bound in &*entrances.subscribe().borrow() {
            let config = match &bound.address {
                BoundAddress::Inet(address) => ListenerConfig::tcp(address.to_string()),
                BoundAddress::Unix(path) => ListenerConfig::uds(path.to_string_lossy()),
            };
            proxy.add_listener(config.l4_buffer(BUFFERS));
        }
        Self { proxy, entrances, supervisor, lifecycle }
    }

    /// Pingora finds a listening socket by its address in a table meant for upgrades; what it finds it does not bind.
    fn hand_over(&mut self, fds: &ListenFds) {
        for entrance in &*self.entrances.subscribe().borrow() {
            let key = match &entrance.address {
                BoundAddress::Inet(address) => address.to_string(),
                BoundAddress::Unix(path) => path.to_string_lossy().into_owned(),
            };
            match entrance.duplicate() {
                Ok(socket) => fds.lock().add(key, socket.into_raw_fd()),
                Err(error) => log::error!(reason:% = error; "listener lost"),
            }
        }
    }
}

#[async_trait]
impl ServiceWithDependents for Front {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        // Clients wait in the sockets' queues for the moment that the first probes take.
        self.supervisor.clone().first_round().await;
        fds.iter().for_each(|fds| self.hand_over(fds));
        let (entrances, mut stop) = (self.entrances.clone(), shutdown.clone());
        tokio::spawn(async move {
            if stop.wait_for(|stopping| *stopping).await.is_ok() {
                entrances.close();
            }
        });
        announce_ready(&self.lifecycle);
        ready.notify_ready();
        Service::start_service(&mut self.proxy, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        "proxy"
    }

    fn threads(&self) -> Option<usize> {
        None
    }
}

/// Says that clients are served from now on: to the log, and to a service manager.
pub fn announce_ready(lifecycle: &Lifecycle) {
    lifecycle.ready();
    log::info!("ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
