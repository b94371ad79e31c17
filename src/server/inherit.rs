//! Sockets that were open before this process started: its predecessor's in an upgrade, and a service manager's.
//! Listeners with the same addresses take them over; all others are bound as at any start.

mod predecessor;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use socket2::{SockRef, Type};
use tokio::sync::watch;

use super::bind::{self, Bound, BoundAddress};
use super::listen_socket::ListenSockets;
use super::upgrade::message::{Handed, Message, Role};
use super::{fd_passing, fd_store};
use crate::config::{AdminListen, ListenAddress, Listener};
use crate::pool::Pool;
use crate::pool::live_state::LiveState;
use crate::snapshot::Snapshot;
use crate::socket_file::{Claim, SocketFile};
pub use predecessor::Predecessor;

/// How often a successor checks whether it can serve all pools.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Inherited sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    predecessor: Option<Predecessor>,
    handed: Vec<(Handed, OwnedFd)>,
    activated: Vec<Activated>,
}

/// A socket from the service manager: of a socket unit, or of the descriptor store.
#[derive(Debug)]
struct Activated {
    name: String,
    socket: OwnedFd,
    /// A listener has a copy of it.
    taken: bool,
}

/// The takeover from a predecessor, and what is left to do once this process serves.
pub struct Takeover {
    predecessor: Option<Predecessor>,
    admin: Vec<Claim>,
    /// Sockets that were handed over, and that no listener here uses.
    unused: Vec<Handed>,
    /// The predecessor has been told that this process can serve, or that it will not.
    said: Mutex<bool>,
    /// The pools in which the predecessor has an endpoint for a request; `None`: not known.
    served: Mutex<Option<HashSet<String>>>,
    /// This process has taken over from its predecessor.
    begun: watch::Sender<bool>,
    /// This process serves, with or without a predecessor.
    serves: watch::Sender<bool>,
    /// The predecessor has exited.
    gone: watch::Sender<bool>,
    /// The files of unix sockets in `unused`.
    unused_files: Mutex<Vec<SocketFile>>,
    /// Names in the service manager's store, of sockets that no listener uses any more.
    stale: Mutex<Vec<String>>,
}

// === impl InheritedSockets ===

impl InheritedSockets {
    /// Call this once, at the start: it takes standard input and the descriptors that the environment names.
    pub fn receive() -> Self {
        let mut activated = activated();
        // Sockets of a socket unit come first: the store may have copies of them.
        activated.sort_by_key(|activated| fd_store::is_ours(&activated.name));
        let mut inherited = Self { activated, ..Self::default() };
        if let Some(mut predecessor) = Predecessor::of_process() {
            inherited.handed = predecessor.sockets();
            inherited.predecessor = Some(predecessor);
        }
        inherited
    }

    pub fn predecessor(&self) -> Option<Predecessor> {
        self.predecessor.clone()
    }

    /// Takes the inherited socket at this listener's address, if there is one: of several that the predecessor has
    /// handed over, the one of the same name, or else one whose name no other listener has.
    pub fn take(&mut self, listener: &Listener, all: &[Listener]) -> Option<io::Result<Bound>> {
        let written = listener.address.to_string();
        let has = |handed: &Handed, listener: &Listener| handed.name == *listener.name;
        let own = |handed: &Handed| has(handed, listener);
        let nobodys = |handed: &Handed| {
            !all.iter().any(|other| has(handed, other) && other.address.to_string() == handed.written)
        };
        let of = |handed: &Handed| handed.role == Role::Listener && handed.written == written;
        let found = (self.handed.iter().position(|(handed, _)| of(handed) && own(handed)))
            .or_else(|| self.handed.iter().position(|(handed, _)| of(handed) && nobodys(handed)));
        if let Some(found) = found {
            let (handed, socket) = self.handed.swap_remove(found);
            return Some(bind::handed(listener, socket, handed.exclusive));
        }
        let is_it = |activated: &&mut Activated| !activated.taken && activated.is_at(&listener.address);
        let Activated { name, socket, taken } = self.activated.iter_mut().find(is_it)?;
        *taken = true;
        let copy = socket.try_clone();
        Some(copy.and_then(|socket| bind::activated(listener, socket, fd_store::is_ours(name))))
    }

    /// Lets the listeners of another config take the service manager's sockets: those that had taken them are gone.
    pub fn put_back(&mut self) {
        self.activated.iter_mut().for_each(|activated| activated.taken = false);
    }

    pub fn take_admin(&mut self, listen: &AdminListen) -> Option<OwnedFd> {
        let written = listen.to_string();
        let is_it = |(handed, _): &(Handed, OwnedFd)| handed.role == Role::Admin && handed.written == written;
        let found = self.handed.iter().position(is_it)?;
        Some(self.handed.swap_remove(found).1)
    }

    /// Closes the sockets that were not taken. `admin`: the claims to the files of inherited admin sockets.
    pub fn settle(self, admin: Vec<Claim>) -> Takeover {
        let (mut stale, mut unused_files) = (Vec::new(), Vec::new());
        for address in self.handed.iter().filter_map(|(_, socket)| bind::local(socket)) {
            stale.push(fd_store::name(&address));
            if let BoundAddress::Unix(path) = &address {
                unused_files.push(SocketFile::of_another(path));
            }
        }
        for Activated { name, .. } in self.activated.iter().filter(|activated| !activated.taken) {
            if fd_store::is_ours(name) {
                stale.push(name.clone());
            } else {
                log::warn!(name = name.as_str(); "no listener has the address of a socket from the service manager");
            }
        }
        Takeover {
            predecessor: self.predecessor,
            admin,
            unused: self.handed.into_iter().map(|(handed, _)| handed).collect(),
            said: Mutex::new(false),
            served: Mutex::default(),
            begun: watch::Sender::new(false),
            serves: watch::Sender::new(false),
            gone: watch::Sender::new(false),
            unused_files: Mutex::new(unused_files),
            stale: Mutex::new(stale),
        }
    }
}

/// The reason why one of the pools in `served` (`None`: of all pools) has no endpoint for a request.
fn unserved_pool(snapshot: &Snapshot, served: Option<&HashSet<String>>) -> Option<String> {
    let is_served = |pool: &&Arc<Pool>| served.is_none_or(|served| served.contains(&**pool.name()));
    snapshot.pools().iter().filter(is_served).find(|pool| !pool.serves()).map(|pool| pool.why_unavailable())
}

/// The sockets that systemd passes (sd_listen_fds(3)): numbered from 3, and only for the process that it has started.
fn activated() -> Vec<Activated> {
    let Ok(found) = sd_notify::listen_fds() else { return Vec::new() };
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    found
        .filter_map(|number| {
            let name = names.next().unwrap_or_default().to_owned();
            Some(Activated { name, socket: fd_passing::adopt(number).ok()?, taken: false })
        })
        .collect()
}

// === impl Activated ===

impl Activated {
    /// Whether this is a listening stream socket at that address.
    fn is_at(&self, address: &ListenAddress) -> bool {
        let socket = SockRef::from(&self.socket);
        let listens =
            socket.is_listener().unwrap_or(false) && socket.r#type().is_ok_and(|is| is == Type::STREAM);
        let Ok(local) = socket.local_addr() else { return false };
        listens
            && match address {
                ListenAddress::Inet(wanted) => local.as_socket() == Some(*wanted),
                ListenAddress::AnyAddress(port) => local.as_socket().is_some_and(|local| {
                    let all = local.is_ipv4() || socket.only_v6().is_ok_and(|only| !only);
                    all && local.ip().is_unspecified() && local.port() == *port
                }),
                ListenAddress::Unix(path) => local.as_pathname() == Some(path),
            }
    }
}

// === impl Takeover ===

impl Takeover {
    /// Returns once this process has taken over from its predecessor; at once if it has none.
    pub async fn begun(&self) {
        if self.predecessor.is_some() {
            // This cannot fail: the sender is in `self`.
            let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
        }
    }

    /// Returns once this process serves, with or without a predecessor.
    pub async fn serves(&self) {
        // This cannot fail: the sender is in `self`.
        let _ = self.serves.subscribe().wait_for(|serves| *serves).await;
    }

    /// Returns once the predecessor has drained and exited; at once if there was none.
    pub async fn predecessor_gone(&self) {
        if self.predecessor.is_some() {
            let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
        }
    }

    pub fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Asks the predecessor for the live state of its pools. Call this right before the pools are built.
    pub fn live_state(&self) -> LiveState {
        let Some(predecessor) = &self.predecessor else { return LiveState::default() };
        let Some(live) = predecessor.live_state() else {
            log::warn!("the process before this one does not say what it knows of endpoints");
            return LiveState::default();
        };
        let served = live.pools.iter().filter(|pool| pool.serves).map(|pool| pool.name.clone());
        *self.served.lock() = Some(served.collect());
        live
    }

    /// Returns once each pool that the predecessor can serve has an endpoint here, too; if those are not known, each
    /// pool. Meanwhile the predecessor serves, and it ends this process if this takes too long.
    pub async fn can_serve_as_well(&self, snapshot: &ArcSwap<Snapshot>) {
        let Some(predecessor) = &self.predecessor else { return };
        let served = std::mem::take(&mut *self.served.lock());
        let mut said = None;
        loop {
            let unserved = unserved_pool(&snapshot.load(), served.as_ref());
            let Some(reason) = unserved.filter(|_| !predecessor.is_gone()) else { return };
            if said.as_ref() != Some(&reason) {
                log::warn!(reason = reason.as_str(); "not ready yet, the process before this one goes on");
                predecessor.report_waiting(&reason);
                said = Some(reason);
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Tells the predecessor that this process can serve, and returns once it may; at once if there is no predecessor.
    ///
    /// Until then the predecessor may kill this process, so no client may have been accepted.
    pub async fn may_begin(&self) {
        let Some(predecessor) = self.predecessor.clone() else { return };
        if !self.send_once(|| {
            predecessor.tell(&Message::ready(self.unused.clone()));
            true
        }) {
            // This process has withdrawn, and ends.
            std::future::pending::<()>().await;
        }
        let its_word = tokio::task::spawn_blocking(move || predecessor.wait_until_it_lets_go());
        // An error means that the runtime ends, and the process with it.
        let _ = its_word.await;
    }

    /// Tells the predecessor that this process will not succeed it; `false`: it is too late, this process serves, or is
    /// about to.
    pub fn withdraws(&self, reason: &str) -> bool {
        let Some(predecessor) = &self.predecessor else { return false };
        // If the predecessor is gone, only this process is left to serve.
        self.send_once(|| predecessor.refuse(reason, false))
    }

    /// Calls `say`, which tells the predecessor how this start ends, unless that has been told already. Returns whether
    /// `say` has told it.
    fn send_once(&self, say: impl FnOnce() -> bool) -> bool {
        let mut said = self.said.lock();
        if *said {
            return false;
        }
        *said = say();
        *said
    }

    /// Clients are served from now on. Without a predecessor, tells the service manager; a predecessor has done that.
    pub fn begin(&self, listen_sockets: &Arc<ListenSockets>) {
        listen_sockets.own_files();
        let Some(predecessor) = self.predecessor.clone() else {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            self.store(listen_sockets);
            self.serves.send_replace(true);
            return;
        };
        self.admin.iter().for_each(Claim::own);
        self.unused_files.lock().drain(..).for_each(|file| file.claim().own());
        self.begun.send_replace(true);
        self.store(listen_sockets);
        self.serves.send_replace(true);
        let gone = self.gone.clone();
        tokio::task::spawn_blocking(move || {
            predecessor.wait_until_gone();
            gone.send_replace(true);
        });
    }

    fn store(&self, listen_sockets: &ListenSockets) {
        self.stale.lock().drain(..).for_each(|name| fd_store::forget(&name));
        listen_sockets.store();
    }
}
