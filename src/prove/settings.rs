//! The proxy's config, another one each time. What stays is the listener under test and a pool of which most stays.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// What configs are made of.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// The listener under test.
    pub(super) listen: SocketAddr,
    /// One that comes and goes.
    pub(super) other: SocketAddr,
    pub(super) admin: &'a Path,
    /// Where the proxy keeps what it wants to remember.
    pub(super) state: &'a Path,
    pub(super) endpoints: &'a [SocketAddr],
}

/// Wrong in a way that no version will take.
pub(super) const BROKEN: &str = "listeners: [this is no listener\n";

impl Settings<'_> {
    /// The config with this number: one endpoint is away each time, weights change, and there are routes, a pool and
    /// a listener that the one before did not have.
    pub(super) fn yaml(&self, number: usize) -> String {
        let Self { listen, other, .. } = self;
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
            "routes:\n  - {{ name: tested, pool: tested }}\n\
             \x20 - {{ name: other-{number}, match: {{ paths: [/other-{number}] }}, pool: other-{number} }}\n\
             pools:\n  tested:\n    health_check: {{ interval: 5s, timeout: 5s }}\n    endpoints:\n"
        );
        let away = number % self.endpoints.len().max(1);
        for (at, endpoint) in self.endpoints.iter().enumerate().filter(|(at, _)| *at != away) {
            let _ = writeln!(yaml, "      - {{ address: '{endpoint}', weight: {} }}", 1 + (number + at) % 3);
        }
        if let Some(endpoint) = self.endpoints.get(away) {
            let _ = writeln!(yaml, "  other-{number}: ['{endpoint}']");
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn yaml(number: usize) -> String {
        let endpoints: Vec<SocketAddr> =
            (1..=4).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let listen = SocketAddr::from(([127, 0, 0, 1], 20_000));
        let other = SocketAddr::from(([127, 0, 0, 1], 20_001));
        let (admin, state) = (Path::new("/tmp/it's mine/admin.sock"), Path::new("/tmp/it's mine/state"));
        Settings { listen, other, admin, state, endpoints: &endpoints }.yaml(number)
    }

    #[test]
    fn every_config_is_valid_and_another_one() {
        for number in 0..12 {
            if let Err(report) = config::parse(&yaml(number), "test") {
                panic!("{report}");
            }
            assert_ne!(yaml(number), yaml(number + 1));
        }
    }

    #[test]
    fn the_broken_one_is_broken() {
        assert!(config::parse(BROKEN, "test").is_err());
    }
}
