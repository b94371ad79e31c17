//! The proxy's config, another one each time. What stays is the listener under test and a pool of which most stays.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// What configs are made of.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The listener under test.
    pub listen: SocketAddr,
    /// One that comes and goes.
    pub other: SocketAddr,
    pub admin: &'a Path,
    /// Where the proxy keeps what it wants to remember.
    pub state: &'a Path,
    pub endpoints: &'a [SocketAddr],
    pub form: Form,
}

/// What the operation under way needs of the pool under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// Requests wait while no endpoint is there.
    Waits,
    /// Endpoints are found by name, in a pool whose own name has this number.
    Named(u64),
}

/// The host name of every endpoint in the form [`Form::Named`].
pub const NAME: &str = "endpoint.prove.test";

/// Wrong in a way that no version will take.
pub const BROKEN: &str = "listeners: [this is no listener\n";

impl Settings<'_> {
    /// The config with this number: one endpoint is away each time, weights change, and there are routes, a pool and
    /// a listener that the one before did not have.
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
