//! Opens what a process needs to start: logs, listening sockets, the admin socket. All of it can fail, and so it comes
//! before the config is in force.

use std::sync::Arc;
use std::time::SystemTime;

use super::StartError;
use super::inherit::InheritedSockets;
use super::listen_socket::{ListenSockets, SocketChange};
use super::reload::InitialConfig;
use crate::admin::{self, AdminSocket};
use crate::config::{self, AdminListen, Config};
use crate::exchange::Failure;
use crate::telemetry::{Telemetry, access};

/// The logs and sockets that a config names, open.
pub struct Opened {
    pub telemetry: Arc<Telemetry>,
    pub listen_sockets: Arc<ListenSockets>,
    pub sockets: SocketChange,
    pub admin: Vec<AdminSocket>,
}

/// Opens what `config` names, and returns the config that the process starts with. If that fails while a config is
/// unconfirmed, the process starts with the other of the two (the unconfirmed one or the one before it): it would serve
/// nothing otherwise. A successor fails instead as long as its predecessor serves.
pub fn open(
    config: Config,
    initial_config: &mut InitialConfig,
    inherited: &mut InheritedSockets,
    started: SystemTime,
) -> Result<(Config, Opened), StartError> {
    let error = match Opened::of(&config, inherited, started) {
        Ok(opened) => return Ok((config, opened)),
        Err(error) if inherited.predecessor().is_some_and(|predecessor| !predecessor.is_gone()) => {
            return Err(error);
        }
        Err(error) => error,
    };
    let Some(other) = initial_config.fall_back(config, error.to_string()) else { return Err(error) };
    inherited.put_back();
    match Opened::of(&other, inherited, started) {
        Ok(opened) => Ok((other, opened)),
        Err(of_the_other) => {
            log::error!(reason:% = of_the_other; "cannot start with the other config either");
            Err(error)
        }
    }
}

impl Opened {
    fn of(
        config: &Config,
        inherited: &mut InheritedSockets,
        started: SystemTime,
    ) -> Result<Self, StartError> {
        let access_log = access::AccessLog::start(&config.access_log, config.server.threads)
            .map_err(StartError::AccessLog)?;
        let telemetry = Arc::new(Telemetry::new(access_log, started));
        telemetry.metrics.begin_failures(Failure::ALL.iter().map(|failure| failure.label()));
        let listen_sockets = Arc::new(ListenSockets::new(telemetry.metrics.clone()));
        let sockets = listen_sockets.prepare_with(&config.listeners, inherited)?;
        let admin = open_admin(&config.admin, inherited)?;
        Ok(Self { telemetry, listen_sockets, sockets, admin })
    }
}

fn open_admin(
    config: &config::Admin,
    inherited: &mut InheritedSockets,
) -> Result<Vec<AdminSocket>, admin::BindError> {
    let mut sockets = Vec::new();
    for listen in &config.listen {
        match inherited.take_admin(listen) {
            Some(socket) => sockets.push(AdminSocket::inherited(config, listen, socket)?),
            None => sockets.extend(bind_admin(config, listen)?),
        }
    }
    Ok(sockets)
}

/// The default socket was not asked for: if it cannot be opened, the process serves its clients without it.
fn bind_admin(config: &config::Admin, listen: &AdminListen) -> Result<Option<AdminSocket>, admin::BindError> {
    match AdminSocket::bind(config, listen) {
        Err(error) if *listen == AdminListen::Default && error.is_about_the_directory() => {
            match config.listen.len() {
                1 => {
                    log::error!(reason:% = error; "no admin address: commands and probes cannot reach this process")
                }
                _ => {
                    log::warn!(reason:% = error; "no admin socket: commands need the token of an admin address")
                }
            }
            Ok(None)
        }
        bound => bound.map(Some),
    }
}
