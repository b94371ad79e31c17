//! Requests of commands to a running process, found by an address or by its config file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Exit, fail, fail_as_invalid, print, print_error};
use crate::admin::client::{self, ClientError, Request, Response};
use crate::admin::{Address, address::AddressError};
use crate::config::{self, AdminListen, LoadError, Report, Secret};

/// The token for `--admin`. An argument would be visible to everybody who lists the processes.
const TOKEN_VARIABLE: &str = "EVENKEEL_ADMIN_TOKEN";

#[derive(Debug, clap::Args)]
pub struct AdminTarget {
    /// The config file of the running process; its admin address is asked.
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// The admin address to ask: unix:/path or 127.0.0.1:9900. A token is taken from EVENKEEL_ADMIN_TOKEN.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Address>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AdminRequestError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Config(LoadError),
    #[error("{} is invalid as it is now, so its admin address is not known: see `evenkeel check`, or use --admin ADDRESS", file.display())]
    Invalid { file: PathBuf, report: Box<Report> },
    #[error("{} says `admin: {{ listen: off }}`, so there is nobody to ask", .0.display())]
    Off(PathBuf),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Address(#[from] AddressError),
}

// === impl AdminTarget ===

impl AdminTarget {
    pub(super) fn get(&self, path: &str) -> Result<Response, AdminRequestError> {
        self.send(Request::get(path))
    }

    pub(super) fn send(&self, request: Request<'_>) -> Result<Response, AdminRequestError> {
        if let Some(address) = &self.admin {
            let token = std::env::var(TOKEN_VARIABLE).ok();
            return Ok(client::send(address, request, token.as_deref())?);
        }
        let file = self.config.as_deref().unwrap_or(Path::new(super::DEFAULT_CONFIG));
        let admin = match config::load_admin(file) {
            Ok(admin) => admin,
            // No file was named and the default one cannot be read: a process without a file has the default socket.
            Err(LoadError::Io { .. }) if self.config.is_none() => {
                return Ok(client::send_to_default(request)?);
            }
            Err(LoadError::Invalid(report)) => {
                return Err(AdminRequestError::Invalid { file: file.to_owned(), report: Box::new(report) });
            }
            Err(error) => return Err(AdminRequestError::Config(error)),
        };
        let address = match admin.listen {
            AdminListen::Off => return Err(AdminRequestError::Off(file.to_owned())),
            AdminListen::Default => return Ok(client::send_to_default(request)?),
            AdminListen::Unix(path) => Address::Unix(path),
            AdminListen::Tcp(address) => Address::Tcp(address),
        };
        Ok(client::send(&address, request, admin.token.as_ref().map(Secret::expose))?)
    }

    /// The body of a 200; anything else is an error.
    pub(super) fn get_ok(&self, path: &str) -> Result<String, AdminRequestError> {
        let response = self.get(path)?;
        match response.status {
            200 => Ok(response.body),
            status => Err(AdminRequestError::Refused(format!(
                "the admin server answered {status}: {}",
                response.body.trim()
            ))),
        }
    }
}

/// Has the running process perform an operation, and prints the outcome.
pub(super) fn perform(target: &AdminTarget, path: &str, body: &str, limit: Duration) -> Exit {
    match target.send(Request::post(path, body, limit)) {
        Ok(Response { status: 200, body }) => {
            print(&body);
            Exit::Done
        }
        Ok(Response { status: 422, body }) => fail_as_invalid(&body),
        Ok(Response { body, .. }) => fail(body.trim_end()),
        Err(error) => cannot_ask(&error),
    }
}

/// Prints why no process was asked. If the config file is invalid, its report comes first.
pub(super) fn cannot_ask(error: &AdminRequestError) -> Exit {
    if let AdminRequestError::Invalid { report, .. } = error {
        print_error(report);
        print_error(error);
        return Exit::InvalidConfig;
    }
    fail(error)
}
