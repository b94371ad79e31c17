//! Which listener a request comes to: by its scheme and port, by the address in its URL, or by name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Question;
use super::question::QuestionError;
use crate::authority;
use crate::config::{ListenAddress, Listener};

/// The most listeners that an error names.
const NAMED_MAX: usize = 8;

/// The listener, and why this one. `bound` gives the address of a listener as it is bound.
pub fn choose<'a>(
    listeners: &'a [Arc<Listener>],
    question: &Question,
    bound: &dyn Fn(&Listener) -> Option<SocketAddr>,
) -> Result<(&'a Arc<Listener>, String), QuestionError> {
    let known = || named(&listeners.iter().collect::<Vec<_>>());
    if let Some(name) = &question.listener {
        let found = listeners.iter().find(|listener| *listener.name == **name);
        let found =
            found.ok_or_else(|| QuestionError::UnknownListener { name: name.clone(), known: known() })?;
        let why = match (found.tls.is_some(), question.secure) {
            (true, false) => "chosen by name; it has TLS, so the request comes by https",
            (false, true) => "chosen by name; it has no TLS, so the request comes by http",
            _ => "chosen by name",
        };
        return Ok((found, why.to_owned()));
    }
    let scheme = if question.secure { "https" } else { "http" };
    let of_scheme: Vec<&Arc<Listener>> =
        listeners.iter().filter(|listener| listener.tls.is_some() == question.secure).collect();
    let port = question.port();
    let of_port: Vec<&Arc<Listener>> =
        of_scheme.iter().copied().filter(|listener| port_of(listener, bound) == Some(port)).collect();
    let ip = ip_of(question);
    let of_ip: Vec<&Arc<Listener>> = of_port
        .iter()
        .copied()
        .filter(|listener| ip.is_some() && ip_of_listener(listener, bound) == ip)
        .collect();
    match (&*of_ip, &*of_port, &*of_scheme) {
        ([one], _, _) => Ok((one, format!("{scheme} at this address and port"))),
        (_, [one], _) => Ok((one, format!("{scheme} on port {port}"))),
        (_, [], [one]) => Ok((one, format!("none has port {port}; it is the only one of {scheme}"))),
        (_, [], []) => {
            let what = if question.secure { "TLS, as https wants it" } else { "no TLS, as http wants it" };
            Err(QuestionError::NoListener { what: what.to_owned(), known: known() })
        }
        (_, [], several) => {
            let what = format!("{scheme}, and none of them port {port}");
            Err(QuestionError::Ambiguous { what, known: named(several) })
        }
        (_, several, _) => {
            Err(QuestionError::Ambiguous { what: format!("{scheme} on port {port}"), known: named(several) })
        }
    }
}

fn named(listeners: &[&Arc<Listener>]) -> String {
    let one = |listener: &&Arc<Listener>| {
        let tls = if listener.tls.is_some() { ", TLS" } else { "" };
        format!("{} ({}{tls})", listener.name, listener.address)
    };
    let others = listeners.len().saturating_sub(NAMED_MAX);
    let mut all: Vec<String> = listeners.iter().take(NAMED_MAX).map(one).collect();
    all.extend((others > 0).then(|| format!("and {others} others")));
    all.join(", ")
}

fn port_of(listener: &Listener, bound: &dyn Fn(&Listener) -> Option<SocketAddr>) -> Option<u16> {
    bound(listener).map(|address| address.port()).or(match &listener.address {
        ListenAddress::Inet(address) => Some(address.port()),
        ListenAddress::AnyAddress(port) => Some(*port),
        ListenAddress::Unix(_) => None,
    })
}

fn ip_of_listener(listener: &Listener, bound: &dyn Fn(&Listener) -> Option<SocketAddr>) -> Option<IpAddr> {
    bound(listener).map(|address| address.ip()).or(match &listener.address {
        ListenAddress::Inet(address) => Some(address.ip()),
        ListenAddress::AnyAddress(_) | ListenAddress::Unix(_) => None,
    })
}

/// The address in the URL, if it has one.
fn ip_of(question: &Question) -> Option<IpAddr> {
    let host = authority::host(&question.authority);
    authority::ipv6(host).map(IpAddr::from).or_else(|| host.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ExplainRequest;
    use crate::config;

    fn chosen(listeners: &str, url: &str, name: Option<&str>) -> Result<(String, String), String> {
        let text =
            format!("listeners: [{listeners}]\nroutes: [{{ pool: p }}]\npools: {{ p: [10.0.0.1:80] }}\n");
        let config = config::parse(&text, "t").unwrap_or_else(|report| panic!("{report}"));
        let listeners: Vec<Arc<Listener>> = config.listeners.into_iter().map(Arc::new).collect();
        let request = ExplainRequest {
            method: "GET".into(),
            url: url.into(),
            listener: name.map(Into::into),
            ..Default::default()
        };
        let question = Question::new(&request).expect("a question");
        choose(&listeners, &question, &|_| None)
            .map(|(listener, why)| (listener.name.to_string(), why))
            .map_err(|error| error.to_string())
    }

    const THREE: &str = "{ name: a, address: ':80' }, { name: b, address: '127.0.0.1:81' }, \
         { name: c, address: '10.0.0.1:81' }";

    #[test]
    fn scheme_and_port_choose_and_the_only_one_needs_neither() {
        for (listeners, url, name, expected) in [
            (THREE, "http://a.example/", None, "a"),
            (THREE, "http://127.0.0.1:81/", None, "b"),
            (THREE, "http://10.0.0.1:81/", None, "c"),
            (THREE, "http://a.example/", Some("c"), "c"),
            ("{ name: a, address: ':8080' }", "http://a.example/", None, "a"),
        ] {
            assert_eq!(chosen(listeners, url, name).expect(url).0, expected, "{url}");
        }
        let (_, why) =
            chosen("{ name: a, address: ':8080' }", "http://a.example/", None).expect("the only one");
        assert_eq!(why, "none has port 80; it is the only one of http");
    }

    #[test]
    fn what_cannot_be_chosen_is_named() {
        for (url, name, words) in [
            ("http://a.example:81/", None, "several listeners have http on port 81: b (127.0.0.1:81), c (10"),
            ("http://a.example:99/", None, "several listeners have http, and none of them port 99: a (:80)"),
            ("https://a.example/", None, "no listener has TLS, as https wants it: the listeners are a (:80)"),
            ("http://a.example/", Some("d"), "there is no listener d: the listeners are a (:80), b"),
        ] {
            let error = chosen(THREE, url, name).expect_err(url);
            assert!(error.contains(words), "{error}");
        }
    }
}
