//! Requests of commands to a running process, found by an address or by its config file.

use std::path::{Path, PathBuf};

use http::StatusCode;

use super::config_file::ConfigFile;
use super::{Exit, fail, fail_to_load, print, print_error, print_json};
use crate::admin::client::{self, ClientError, Request, Response};
use crate::admin::{Address, Status, address::AddressError};
use crate::config::{self, Admin, AdminListen, LoadError, Report, Secret};

/// The token for `--admin`. An argument would be visible to everybody who lists the processes.
const TOKEN_VARIABLE: &str = "EVENKEEL_ADMIN_TOKEN";

#[derive(Debug, clap::Args)]
pub struct AdminTarget {
    #[command(flatten)]
    config: ConfigFile,
    /// The admin address to ask: unix:/path or 127.0.0.1:9900. A token is taken from EVENKEEL_ADMIN_TOKEN.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["file", "config"])]
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
    pub(super) fn new(file: Option<PathBuf>, admin: Option<Address>) -> Self {
        Self { config: ConfigFile::new(file), admin }
    }

    pub(super) fn get(&self, path: &str) -> Result<Response, AdminRequestError> {
        self.send(Request::get(path))
    }

    pub(super) fn send(&self, request: Request<'_>) -> Result<Response, AdminRequestError> {
        if let Some(address) = &self.admin {
            let token = std::env::var(TOKEN_VARIABLE).ok();
            return Ok(client::send(address, request, token.as_deref())?);
        }
        let file = self.config.path();
        match config::load_admin(file) {
            Ok(admin) => AdminOf::new(file, admin)?.send(request, self.config.named().is_some()),
            // No file was named and the default one cannot be read: a process without a file has the default socket.
            Err(LoadError::Io { .. } | LoadError::NoConfig(_)) if self.config.named().is_none() => {
                Ok(client::send_to_default(request)?)
            }
            Err(error) => Err(unknown(file, error)),
        }
    }

    /// Has the process carry out an order, and prints its answer.
    pub(super) fn order(&self, request: Request<'_>, json: bool) -> Exit {
        match self.send(request) {
            Ok(Response { status: 200, body }) if json => {
                print_json(&body);
                Exit::Done
            }
            Ok(Response { status: 200, body }) => {
                print(&body);
                Exit::Done
            }
            Ok(Response { body, .. }) => fail(body.trim_end()),
            Err(error) => cannot_ask(&error),
        }
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

/// The admin section of a file.
pub(super) struct AdminOf {
    /// An absolute path.
    file: PathBuf,
    admin: Admin,
}

/// The admin section of a file with this text.
pub(super) fn of_text(text: &str, file: &Path) -> Result<AdminOf, AdminRequestError> {
    match config::admin_of(text, &file.display().to_string()) {
        Ok(admin) => AdminOf::new(file, admin),
        Err(error) => Err(unknown(file, error)),
    }
}

fn unknown(file: &Path, error: LoadError) -> AdminRequestError {
    match error {
        LoadError::Invalid(report) => {
            AdminRequestError::Invalid { file: file.to_owned(), report: Box::new(report) }
        }
        error => AdminRequestError::Config(error),
    }
}

// === impl AdminOf ===

impl AdminOf {
    fn new(file: &Path, admin: Admin) -> Result<Self, AdminRequestError> {
        let file = std::path::absolute(file)
            .map_err(|why| AdminRequestError::Config(LoadError::Io { path: file.to_owned(), why }))?;
        Ok(Self { file, admin })
    }

    /// Asks the process at the file's admin address. `must_run_it`: a process that runs another file refuses.
    ///
    /// A unix socket is preferred: it says who listens, and needs no token.
    pub(super) fn send(
        &self,
        request: Request<'_>,
        must_run_it: bool,
    ) -> Result<Response, AdminRequestError> {
        let Self { file, admin } = self;
        let request = if must_run_it { request.of_file(file) } else { request };
        let unix = admin.listen.iter().find_map(|listen| match listen {
            AdminListen::Unix(path) => Some(Address::Unix(path.clone())),
            _ => None,
        });
        let tcp = admin.listen.iter().find_map(|listen| match listen {
            AdminListen::Tcp(address) => Some(Address::Tcp(*address)),
            _ => None,
        });
        match (unix, tcp) {
            (Some(unix), _) => Ok(client::send(&unix, request, None)?),
            (None, Some(tcp)) => self.send_to_default_or(&tcp, request, must_run_it),
            (None, None) if admin.listen.is_empty() => Err(AdminRequestError::Off(file.clone())),
            (None, None) => Ok(client::send_to_default(request)?),
        }
    }

    /// Asks the process on a default socket that runs this file; or, unless it must run this one, whatever file the
    /// process at the TCP address runs; or else the process at that address.
    fn send_to_default_or(
        &self,
        tcp: &Address,
        request: Request<'_>,
        must_run_it: bool,
    ) -> Result<Response, AdminRequestError> {
        let token = self.admin.token.as_ref().map(Secret::expose);
        if let Some(response) = send_to_default_of(&self.file, request)? {
            return Ok(response);
        }
        let running = if must_run_it { None } else { running_file(tcp, token) };
        if let Some(file) = running
            && let Some(response) = send_to_default_of(&file, request)?
        {
            return Ok(response);
        }
        Ok(client::send(tcp, request, token)?)
    }
}

/// The answer of the process on a default socket that runs the file; `None`: there is none, and nothing was done.
fn send_to_default_of(file: &Path, request: Request<'_>) -> Result<Option<Response>, ClientError> {
    match client::send_to_default(request.of_file(file)) {
        Ok(response) => Ok(Some(response).filter(|it| it.status != StatusCode::MISDIRECTED_REQUEST)),
        Err(error) if error.is_nobody() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The config file of the process at an address, if it tells.
fn running_file(address: &Address, token: Option<&str>) -> Option<PathBuf> {
    let response = client::send(address, Request::get("/status"), token).ok()?;
    let status: Status = serde_json::from_str(&response.body).ok()?;
    status.file.map(PathBuf::from)
}

/// Prints why no process was asked. If the config file is invalid, its report comes first.
pub(super) fn cannot_ask(error: &AdminRequestError) -> Exit {
    if let AdminRequestError::Invalid { report, .. } = error {
        print_error(report);
        print_error(error);
        return Exit::InvalidConfig;
    }
    match error {
        AdminRequestError::Config(error) => fail_to_load(error),
        _ => fail(error),
    }
}
