//! The configs of the tested proxy. Each differs from the one before, but the listener under test and most of the pool
//! under test stay.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// The parts of a config.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The listener under test.
    pub listen: SocketAddr,
    /// The address of a listener that every second config has.
    pub other: SocketAddr,
    pub admin: &'a Path,
    /// The proxy's state directory.
    pub state: &'a Path,
    pub endpoints: &'a [SocketAddr],
    pub form: Form,
}

/// The form of the pool under test, as the present operation needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// Requests wait while no endpoint is healthy.
    Waits,
    /// Endpoints are found by host name, in a pool whose name contains this number.
    Named(u64),
}

/// The host name of every endpoint in the form [`Form::Named`].
pub const NAME: &str = "endpoint.prove.test";

/// A config that every version refuses.
pub const BROKEN: &str = "listeners: [this is no listener\n";

impl Settings<'_> {
    /// The config with this number. It leaves another endpoint out of the pool under test than the one before, changes
    /// weights, and has a route, a pool and a listener that the one before did not have.
    pub fn yaml(&self, number: usize) -> String {
        let Self { listen, other, form, .. } = self;
        let (pool, keys) = match form {
            Form::Plain => ("tested".to_owned(), ""),
            Form::Waits => ("tested".to_owned(), "    when_none_healthy: { wait: 30s }\n"),
            Form::Named(number) => (format!("tested-{number}"), "    resolve: 1s\n"),
        };
        let [admin, state] =
            [self.admin, self.state].map(|path| path.display().to_string().replace('\'', "''"));
        let mut yaml = format!(
            "server: {{ drain: 3s, upgrade_timeout: 10s, state: '{state}' }}\n\
             admin: {{ listen: 'unix:{admin}' }}\n\
             log: {{ format: text }}\n\
             access_log: {{ output: off }}\n\
             listeners:\n  - {{ name: tested, address: '{listen}', h2c: true }}\n"
        );
        if !number.is_multiple_of(2) {
            let _ = writeln!(yaml, "  - {{ name: other-{number}, address: '{other}' }}");
        }
        let _ = write!(
            yaml,
            "routes:\n  - {{ name: tested, pool: {pool} }}\n\
             \x20 - {{ name: other-{number}, match: {{ paths: [/other-{number}] }}, pool: other-{number} }}\n\
             pools:\n  {pool}:\n    health_check: {{ interval: 2s, timeout: 2s }}\n{keys}    endpoints:\n"
        );
        let away = number % self.endpoints.len().max(1);
        for (at, endpoint) in self.endpoints.iter().enumerate().filter(|(at, _)| *at != away) {
            let (address, weight) = (self.address(*endpoint), 1 + (number + at) % 3);
            let _ = writeln!(yaml, "      - {{ address: '{address}', weight: {weight} }}");
        }
        if let Some(endpoint) = self.endpoints.get(away) {
            let _ = writeln!(yaml, "  other-{number}: ['{}']", self.address(*endpoint));
        }
        yaml
    }

    fn address(&self, endpoint: SocketAddr) -> String {
        match self.form {
            Form::Named(_) => format!("{NAME}:{}", endpoint.port()),
            Form::Plain | Form::Waits => endpoint.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_config_is_another_one() {
        for form in [Form::Plain, Form::Waits, Form::Named(7)] {
            for number in 0..12 {
                assert_ne!(yaml(number, form), yaml(number + 1, form));
            }
        }
    }

    fn yaml(number: usize, form: Form) -> String {
        let [listen, other, endpoints @ ..] =
            [1, 2, 3, 4, 5, 6].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (admin, state) = (Path::new("admin.sock"), Path::new("state"));
        Settings { listen, other, admin, state, endpoints: &endpoints, form }.yaml(number)
    }
}
