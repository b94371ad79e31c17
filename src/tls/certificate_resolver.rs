//! Chooses the certificate for a client by its SNI.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// What a client gets whose SNI no certificate matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownNames {
    /// The certificates of the first one's first name.
    Default,
    /// A failed handshake.
    Refuse,
}

/// Finds certificates by name. An exact name has precedence over a wildcard.
#[derive(Debug)]
pub struct CertificateResolver {
    keys: Vec<Arc<CertifiedKey>>,
    /// Indexes of the certificates of a name, in the config's order.
    exact: HashMap<String, Vec<usize>>,
    /// The same for wildcards, by the name after `*.`.
    wildcards: HashMap<String, Vec<usize>>,
    /// For clients whose name is not known; `None`: they are refused.
    default: Option<Vec<usize>>,
}

impl CertificateResolver {
    pub fn new(certificates: &[Certificate], unknown: UnknownNames) -> Self {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut wildcards: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcards.entry(parent.to_owned()).or_default().push(index),
                    None => exact.entry(name.clone()).or_default().push(index),
                }
            }
        }
        let keys = certificates.iter().map(|certificate| certificate.key.clone()).collect();
        let first_name = certificates.first().and_then(|first| first.names.first());
        let of_first = first_name.and_then(|name| match name.strip_prefix("*.") {
            Some(parent) => wildcards.get(parent).cloned(),
            None => exact.get(name).cloned(),
        });
        let default = match unknown {
            UnknownNames::Default => Some(of_first.unwrap_or_else(|| vec![0])),
            UnknownNames::Refuse => None,
        };
        Self { keys, exact, wildcards, default }
    }

    /// The index of the first certificate for a name in lower case; `None`: the client is refused.
    pub fn find(&self, name: Option<&str>) -> Option<usize> {
        self.candidates(name)?.first().copied()
    }

    fn candidates(&self, name: Option<&str>) -> Option<&[usize]> {
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
        let known = name.and_then(|name| {
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(name).or_else(|| self.wildcards.get(parent?))
        });
        known.or(self.default.as_ref()).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = self.candidates(name.as_deref())?;
        let keys = || candidates.iter().filter_map(|index| self.keys.get(*index));
        let usable = keys().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or_else(|| keys().next()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(default: Option<Vec<usize>>) -> CertificateResolver {
        let names = |names: &[(&str, usize)]| {
            names.iter().map(|(name, index)| ((*name).to_owned(), vec![*index])).collect()
        };
        let exact = names(&[("a.example", 0), ("x.b.example", 2)]);
        CertificateResolver { keys: Vec::new(), exact, wildcards: names(&[("b.example", 1)]), default }
    }

    #[test]
    fn an_exact_name_comes_first_and_a_wildcard_is_one_label() {
        let resolver = resolver(None);
        let cases = [
            ("a.example", Some(0)),
            ("a.example.", Some(0)),
            ("x.b.example", Some(2)),
            ("y.b.example", Some(1)),
            ("b.example", None),
            ("z.y.b.example", None),
            ("example", None),
        ];
        for (name, index) in cases {
            assert_eq!(resolver.find(Some(name)), index, "{name}");
        }
        assert_eq!(resolver.find(None), None);
    }

    #[test]
    fn who_asks_for_nothing_known_gets_the_first_unless_refused() {
        let resolver = resolver(Some(vec![0]));
        assert_eq!((resolver.find(Some("c.example")), resolver.find(None)), (Some(0), Some(0)));
    }
}
